"""VECTOR of the functional machine, on the lane groups that it writes only."""

from collections.abc import Callable, Mapping

import numpy as np

from hpu.hw.csr import FaultCause
from hpu.hw.isa import Operand, Reduce, Source
from hpu.sim import numerics
from hpu.sim.access import Tap, count_of, loop, window_taps
from hpu.sim.functional_compiled import compiled_vector
from hpu.sim.state import FaultError, Reader, State, Step, Writer, require_small

__all__ = ["prepare_vector"]

Values = Mapping[str, int]
Array = np.ndarray


def prepare_vector(state: State, values: Values) -> Step:
    """VECTOR as a step."""
    require_small(values)
    group = state.config.group
    first, width = values["s_group"] * group, values["d_width"] * group
    lanes = slice(first, first + width)
    source = _source(state, values, lanes)
    finish = [*_scaling(state, values, lanes), *_combination(state, values)]
    finish += [*_clip(values), *_lookup(state, values, lanes)]
    target = (values["d_group"], values["d_width"], values["d_copies"])
    writer = Writer(state, state.ub, loop(values, "d"), *target)

    def run() -> None:
        result = source()
        for stage in finish:
            result = stage(result)
        writer.write(state.pieces(result))

    run = compiled_vector(state, values, writer) or run
    return Step(run, {"VECTOR_COUNT": 1, "VECTOR_WORDS": count_of(values)})


def _shape(values: Values) -> tuple[int, int, int]:
    return values["n_count"], values["y_count"], values["x_count"]


def _source(state: State, values: Values, lanes: slice) -> Callable[[], Array]:
    """The first operand, int32 [n, y, x, lanes], reduced."""
    if values["source"] == Source.ACC:
        return _accumulators(state, values, lanes)
    require_small(values, values["ky_count"] * values["kx_count"])
    groups = values["s_group"], values["d_width"]
    parts = [(tap, Reader(state, state.ub, tap.box, *groups)) for tap in window_taps(values)]
    if values["reduce"] == Reduce.MAX:
        return lambda: _maximum(values, parts, lanes)
    if values["reduce"] == Reduce.DOT:
        return lambda: _dot(state, values, parts, lanes)
    return lambda: _sum(values, parts, lanes)


def _accumulators(state: State, values: Values, lanes: slice) -> Callable[[], Array]:
    last = values["a_base"] + count_of(values)
    if last > state.config.acc_depth:
        raise FaultError(FaultCause.ADDRESS)
    view = state.acc[values["a_base"] : last, lanes]
    return lambda: view.reshape(*_shape(values), -1)


def _sum(values: Values, parts: list[tuple[Tap, Reader]], lanes: slice) -> Array:
    total = np.zeros((*_shape(values), lanes.stop - lanes.start), np.int32)
    for tap, reader in parts:
        part = total[:, slice(*tap.ys), slice(*tap.xs)]
        part += reader.lanes()
        if values["a_zero"]:
            part -= np.int32(values["a_zero"])
    return total


def _dot(state: State, values: Values, parts: list[tuple[Tap, Reader]], lanes: slice) -> Array:
    """The zero point's share, the same for every n, is taken off at the end."""
    first = 8 * values["weights"]
    total = np.zeros((*_shape(values), lanes.stop - lanes.start), np.int32)
    zeros = np.zeros(total.shape[1:], np.int32)
    for tap, reader in parts:
        weights = state.params[first + tap.index, lanes].view(np.int8).astype(np.int32)
        place = slice(*tap.ys), slice(*tap.xs)
        total[:, *place] += reader.lanes() * weights
        zeros[place] += weights
    if values["a_zero"]:
        total -= zeros * np.int32(values["a_zero"])
    return total


def _maximum(values: Values, parts: list[tuple[Tap, Reader]], lanes: slice) -> Array:
    best = np.full((*_shape(values), lanes.stop - lanes.start), -128, np.int8)
    empty = np.ones((values["y_count"], values["x_count"]), bool)
    for tap, reader in parts:
        part = best[:, slice(*tap.ys), slice(*tap.xs)]
        np.maximum(part, reader.lanes(), out=part)
        empty[slice(*tap.ys), slice(*tap.xs)] = False
    result = best.astype(np.int32)
    result -= np.int32(values["a_zero"])
    result[:, empty] = -255
    return result


def _scaling(state: State, values: Values, lanes: slice) -> list[Callable[[Array], Array]]:
    """From int32 to int8."""
    if not values["requantise"]:
        return [lambda wide: np.clip(wide, -128, 127).astype(np.int8)]
    record = state.params[8 * values["params"] : 8 * values["params"] + 8, lanes]

    def requantise(wide: Array) -> Array:
        halves = np.ascontiguousarray(record.T).view("<i4")  # bias; mantissa and shift
        mantissa, shift = halves[:, 1] & 0xFFFFFF, (halves[:, 1] >> 24) & 0xFF
        return numerics.requantise(wide + halves[:, 0], mantissa, shift, values["zero"])

    return [requantise]


def _combination(state: State, values: Values) -> list[Callable[[Array], Array]]:
    if values["operand"] == Operand.NONE:
        return []
    other = Reader(state, state.ub, loop(values, "b"), values["s_group"], values["d_width"])
    adds = values["operand"] == Operand.ADD
    names = ["s_zero", "b_zero", "s_mult", *(["b_mult"] if adds else []), "shift", "out_zero"]
    constants = [values[name] for name in names]
    combine = numerics.add if adds else numerics.multiply
    return [lambda own: combine(own, other.lanes(), *constants)]


def _clip(values: Values) -> list[Callable[[Array], Array]]:
    """``min(max(s, low), high)``: high wins where low is above it."""
    low, high = np.int8(values["low"]), np.int8(values["high"])
    if (low, high) == (-128, 127):
        return []
    return [lambda result: np.minimum(np.maximum(result, low), high)]


def _lookup(state: State, values: Values, lanes: slice) -> list[Callable[[Array], Array]]:
    if not values["use_table"]:
        return []
    table = state.tables[256 * values["table"] : 256 * values["table"] + 256, lanes]

    def look_up(result: Array) -> Array:
        places = result.view(np.uint8)
        if (table == table[:, :1]).all():  # one function for every column
            return np.take(table[:, 0], places)
        return np.take_along_axis(table, places.reshape(-1, table.shape[1]), 0).reshape(
            places.shape
        )

    return [look_up]
