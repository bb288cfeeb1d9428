"""The figure of the cycle model: how far it is from the machine in RTL."""

from collections.abc import Mapping, Sequence

from hpu.hw.config import by_name
from hpu.runtime.bench_figures import Found, figure

__all__ = ["judged"]

#: Largest error of one program; the figure itself is the mean.
_WORST = 3.0


@figure(
    "cycle_model_error",
    unit="%",
    bar="mean at most 1 %, worst at most 3 %, over 30 programs at lab-16 and 5 at hai-v1 or more",
    reached=lambda error: error <= 1,
)
def cycle_model_error() -> Found:
    """Mean error of the predicted cycles, in percent of the cycles in RTL."""
    from hpu.runtime.bench_networks import predicted
    from hpu.runtime.cycle_check import compare, layers, small_networks

    lab, full = by_name("lab-16"), by_name("hai-v1")
    programs = [*layers(lab, 36, seed=0, edge=20, channels=60)]
    programs += small_networks(lab, edge=16, channels=20)
    found = {"lab-16": compare(programs, lab)}
    programs = [*layers(full, 6, seed=0, edge=14, channels=300)]
    programs += small_networks(full, edge=10, channels=64)
    programs.append(("mlp1", predicted("mlp1", 168).program))
    found["hai-v1"] = compare(programs, full)
    errors = {name: [100 * abs(one.error) for one in parts] for name, parts in found.items()}
    return Found(*judged(errors))


def judged(errors: Mapping[str, Sequence[float]]) -> tuple[float, str]:
    """The mean of all ``errors`` in percent, by configuration, and each one's numbers in words.

    Raises
    ------
    AssertionError
        When one is larger than the worst may be.
    """
    texts: list[str] = []
    everything: list[float] = []
    for name, parts in errors.items():
        mean, worst = sum(parts) / len(parts), max(parts)
        texts.append(f"{name}: {len(parts)} programs, mean {mean:.3f} %, worst {worst:.3f} %")
        everything += parts
    detail = "; ".join(texts)
    assert max(everything) <= _WORST, f"the worst error is more than {_WORST:g} %: {detail}"
    return sum(everything) / len(everything), detail
