"""LOAD, WEIGHTS and STORE of the functional machine."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from hpu.hw.csr import FaultCause
from hpu.hw.isa import Space
from hpu.sim.access import Box, count_of, dram_rows, loop, weight_rows
from hpu.sim.state import FaultError, Reader, State, Step, Writer, require_small

__all__ = ["prepare_load", "prepare_store", "prepare_weights"]

Values = Mapping[str, int]


def _bytes_of(state: State, rows: Box, chunks: int) -> Box:
    """Byte addresses of ``chunks`` chunks of every row.

    Raises
    ------
    FaultError
        AXI, when the memory does not have the whole beat of every byte.
    """
    box = Box(rows.base, (*rows.counts, chunks * state.config.group), (*rows.strides, 1))
    beat = state.config.axi_bytes
    if not box.inside(len(state.dram) // beat * beat):
        raise FaultError(FaultCause.AXI)
    return box


def prepare_load(state: State, values: Values) -> Step:
    """LOAD as a step."""
    require_small(values)
    memory = {Space.UB: state.ub, Space.PARAM: state.params, Space.TABLE: state.tables}[
        Space(values["space"])
    ]
    moves = list(_load_moves(state, values, memory))
    source = _bytes_of(state, dram_rows(values, state.config), values["width"])
    rows = source.view(state.dram.view(memory.dtype))

    def run() -> None:
        for writer, lanes in moves:
            writer.write(rows[..., :lanes])

    return Step(run, {"LOAD_COUNT": 1, "LOAD_ROWS": count_of(values)})


def _load_moves(state: State, values: Values, memory: np.ndarray) -> Iterator[tuple[Writer, int]]:
    """A writer for every copy, and how many of the row's lanes the memory has there."""
    width = values["width"] * state.config.group
    box = loop(values, "d")
    for copy in range(values["copies"]):
        first = values["group"] * state.config.group + copy * width
        lanes = max(0, min(width, memory.shape[1] - first))
        yield Writer(memory, box, slice(first, first + lanes)), lanes


def prepare_weights(state: State, values: Values) -> Step:
    """WEIGHTS as a step: one more tile in the FIFO."""
    source = _bytes_of(state, weight_rows(values, state.config), values["width"])
    rows = source.view(state.dram.view(np.int8))

    def run() -> None:
        state.fifo.append(rows.astype(np.float32))

    return Step(run, {"WEIGHTS_COUNT": 1, "WEIGHTS_ROWS": values["rows"]})


def prepare_store(state: State, values: Values) -> Step:
    """STORE as a step."""
    require_small(values)
    first, lanes = values["group"] * state.config.group, values["width"] * state.config.group
    source = Reader(state.ub, loop(values, "a"), slice(first, first + lanes))
    target = _bytes_of(state, dram_rows(values, state.config), values["width"])
    write = _dram_writer(state.dram.view(np.int8), target)
    return Step(lambda: write(source.read()), {"STORE_COUNT": 1, "STORE_ROWS": count_of(values)})


def _dram_writer(dram: np.ndarray, target: Box) -> Callable[[np.ndarray], None]:
    """A function that writes rows in order: where rows overlap the last one stays."""
    if target.distinct():
        view = target.view(dram)

        def write(data: np.ndarray) -> None:
            view[...] = data

        return write
    places = target.addresses().ravel()
    unique, last = np.unique(places[::-1], return_index=True)
    last = places.size - 1 - last

    def write_last(data: np.ndarray) -> None:
        dram[unique] = data.ravel()[last]

    return write_last
