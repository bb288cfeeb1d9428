"""VECTOR of the functional machine by the compiled loops, where words stand in steps."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from hpu.hw.isa import Operand, Reduce, Source
from hpu.sim import native
from hpu.sim.access import Tap, loop, window_taps
from hpu.sim.state import Reader, State, Writer

__all__ = ["compiled_vector"]

Values = Mapping[str, int]
#: ``enum Reduce`` of the loops; accumulators have no taps.
_REDUCE = {Reduce.NONE: 1, Reduce.SUM: 1, Reduce.MAX: 2, Reduce.DOT: 3}
_ACCUMULATORS = 4
_OPERAND = {Operand.NONE: 0, Operand.ADD: 1, Operand.MUL: 2}
_CONSTANTS = ("s_zero", "b_zero", "s_mult", "b_mult", "shift", "out_zero", "low", "high")


def compiled_vector(state: State, values: Values, writer: Writer) -> Callable[[], None] | None:
    """A function that runs the instruction; ``None`` where numpy must.

    That is without a compiler, and where an operand reaches around the end of its memory or a
    result is written twice.
    """
    library = native.library()
    taps, other = _taps(state, values), _other(state, values)
    if library is None or taps is None or other is None or writer.place is None:
        return None
    return native.call(library.hpu_vector, _operation(state, values, writer, taps, other))


def _taps(state: State, values: Values) -> list[native.Tap] | None:
    """The windows' taps; none for accumulators, ``None`` where one reaches around."""
    if values["source"] == Source.ACC:
        return []
    first = values["s_group"] * state.config.group
    found = []
    for tap in window_taps(values):
        weights = 8 * values["weights"] + tap.index if values["reduce"] == Reduce.DOT else 0
        made = _tap(state, values, tap, state.params[weights, first:])
        if made is None:
            return None
        found.append(made)
    return found


def _other(state: State, values: Values) -> list[native.Tap] | None:
    """The second operand, if there is one."""
    if values["operand"] == Operand.NONE:
        return []
    whole = Tap(0, loop(values, "b"), (0, values["y_count"]), (0, values["x_count"]))
    made = _tap(state, values, whole, state.params[0])
    return None if made is None else [made]


def _tap(state: State, values: Values, tap: Tap, weights: np.ndarray) -> native.Tap | None:
    reader = Reader(state, state.ub, tap.box, values["s_group"], values["d_width"])
    if reader.place is None:
        return None
    address, steps = reader.place
    return native.Tap(address, native.Steps(*steps), *tap.ys, *tap.xs, 0, 0, weights.ctypes.data)


def _operation(
    state: State,
    values: Values,
    writer: Writer,
    taps: Sequence[native.Tap],
    other: Sequence[native.Tap],
) -> native.Vector:
    first, group = values["s_group"] * state.config.group, state.config.group
    own = values["source"] == Source.ACC
    assert writer.place is not None
    target, steps = writer.place
    op = native.Vector(
        loop=native.Loop(values["n_count"], values["y_count"], values["x_count"]),
        lanes=values["d_width"] * group,
        reduce=_ACCUMULATORS if own else _REDUCE[Reduce(values["reduce"])],
        taps=len(taps),
        a_zero=values["a_zero"],
        requantise=values["requantise"],
        zero=values["zero"],
        operand=_OPERAND[Operand(values["operand"])],
        copies=values["d_copies"],
        acc_step=state.config.cols,
        columns=state.config.cols,
        acc=state.acc[values["a_base"] if own else 0 :, first:].ctypes.data,
        tap=native.array(taps),
        record=state.params[8 * values["params"] :, first:].ctypes.data,
        other=native.array(other),
        target=target,
        step=native.Steps(*steps),
        **{name: values[name] for name in _CONSTANTS},
    )
    if values["use_table"]:
        op.table = state.tables[256 * values["table"] :, first:].ctypes.data
    return op
