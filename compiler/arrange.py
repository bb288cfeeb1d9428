"""Places in the unified buffer for all tensors at once, by a solver.

First fit places tensors one after another, and may leave gaps that are too small for the next. A
tensor is a rectangle, as wide as it lives and as high as its words; the solver moves all of them up
and down until none overlap. Its effort is counted, not timed, so that the same network gets the
same places anywhere.
"""

from collections.abc import Mapping

from ortools.sat.python import cp_model

__all__ = ["arrange"]

#: The solver's effort, in its own measure of time.
_EFFORT = 2.0


def arrange(
    lives: Mapping[str, tuple[int, int]],
    words: Mapping[str, int],
    depth: int,
    effort: float = _EFFORT,
) -> dict[str, int] | None:
    """The first word of every tensor, below ``depth`` and apart from those that live with it.

    Parameters
    ----------
    lives:
        First and last operation that touches each tensor.
    words:
        Words of each tensor, at least 1.
    depth:
        Words of the unified buffer.
    effort:
        Most deterministic time of the solver.

    Returns
    -------
    ``None`` when there is no room, or the effort does not find any.
    """
    if _fullest(lives, words) > depth:
        return None
    model = cp_model.CpModel()
    bases = {name: model.new_int_var(0, depth - words[name], name) for name in lives}
    model.add_no_overlap_2d(
        [
            model.new_fixed_size_interval_var(first, last + 1 - first, "")
            for first, last in lives.values()
        ],
        [model.new_fixed_size_interval_var(bases[name], words[name], "") for name in lives],
    )
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.max_deterministic_time = effort
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    return {name: solver.value(base) for name, base in bases.items()}


def _fullest(lives: Mapping[str, tuple[int, int]], words: Mapping[str, int]) -> int:
    """The most words that live at one operation."""
    changes: dict[int, int] = {}
    for name, (first, last) in lives.items():
        changes[first] = changes.get(first, 0) + words[name]
        changes[last + 1] = changes.get(last + 1, 0) - words[name]
    live = most = 0
    for index in sorted(changes):
        live += changes[index]
        most = max(most, live)
    return most
