"""LOAD, WEIGHTS and STORE of the functional machine."""

import functools
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from hpu.hw.csr import FaultCause
from hpu.hw.isa import Space, TileSource
from hpu.sim import native
from hpu.sim.access import Box, count_of, dram_rows, loop, tile_words, weight_rows
from hpu.sim.state import (
    FaultError,
    Reader,
    State,
    Step,
    Tile,
    Writer,
    as_tile,
    last_of,
    require_small,
)

__all__ = ["prepare_load", "prepare_store", "prepare_weights"]

Values = Mapping[str, int]


def _dram_pieces(state: State, rows: Box, chunks: int) -> tuple[np.ndarray, Box]:
    """DRAM as pieces, and the places in it of ``chunks`` chunks of every row.

    Raises
    ------
    FaultError
        AXI, when the memory does not have the whole beat of every byte.
    """
    whole = len(state.dram) // state.config.axi_bytes * state.config.axi_bytes
    size = state.piece.itemsize  # divides the chunk, and so every row's address
    row = chunks * state.config.group // size
    strides = tuple(stride // size for stride in rows.strides)
    box = Box(rows.base // size, (*rows.counts, row), (*strides, 1))
    if not box.inside(whole // size):
        raise FaultError(FaultCause.AXI)
    return state.pieces(state.dram[:whole]), box


def prepare_load(state: State, values: Values) -> Step:
    """LOAD as a step."""
    require_small(values)
    memory = {Space.UB: state.ub, Space.PARAM: state.params, Space.TABLE: state.tables}[
        Space(values["space"])
    ]
    dram, source = _dram_pieces(state, dram_rows(values, state.config), values["width"])
    rows = source.view(dram)
    moves = [
        _copier(rows[..., columns], writer)
        for writer, columns in _load_moves(state, values, memory)
    ]

    def run() -> None:
        for move in moves:
            move()

    return Step(run, {"LOAD_COUNT": 1, "LOAD_ROWS": count_of(values)})


def _load_moves(state: State, values: Values, memory: np.ndarray) -> Iterator[tuple[Writer, slice]]:
    """Writers of the copies, and the part of the row that each has lanes for."""
    box, first, width = loop(values, "d"), values["group"], values["width"]
    groups = memory.shape[1] // state.config.group
    whole = max(0, min(values["copies"], (groups - first) // width))
    yield Writer(state, memory, box, first, width, whole), state.piece_slice(0, width)
    first += whole * width
    if whole < values["copies"] and first < groups:
        rest = groups - first
        yield Writer(state, memory, box, first, rest), state.piece_slice(0, rest)


def _copier(rows: np.ndarray, writer: Writer) -> Callable[[], None]:
    """A function that writes ``rows``, pieces of DRAM [n, y, x, pieces]."""
    library = native.library()
    if library is None or writer.place is None:
        return functools.partial(writer.write, rows)
    target, steps = writer.place
    op = native.Move(
        native.Loop(*rows.shape[:3]),
        rows.shape[3] * rows.itemsize,
        writer.copies,
        rows.ctypes.data,
        native.Steps(*rows.strides[:3]),
        target,
        native.Steps(*steps),
    )
    return native.call(library.hpu_move, op)


def prepare_weights(state: State, values: Values) -> Step:
    """WEIGHTS as a step: one more tile in the FIFO."""
    rows, keeper = _tile_rows(state, values), _Keeper()

    def run() -> None:
        state.fifo.append(keeper.tile(np.ascontiguousarray(rows()).view(np.int8)))

    return Step(run, {"WEIGHTS_COUNT": 1, "WEIGHTS_ROWS": values["rows"]})


class _Keeper:
    """The tile of a WEIGHTS, made anew only when its bytes are other ones than the last time."""

    def __init__(self) -> None:
        self._bytes: bytes | None = None
        self._tile: Tile | None = None

    def tile(self, weights: np.ndarray) -> Tile:
        """``weights``, int8 [rows, columns] without gaps, as a tile."""
        found = weights.tobytes()
        if self._tile is None or found != self._bytes:
            self._bytes, self._tile = found, as_tile(weights)
        return self._tile


def _tile_rows(state: State, values: Values) -> Callable[[], np.ndarray]:
    """A function that gives the tile's rows as pieces."""
    if values["source"] == TileSource.UB:
        return Reader(state, state.ub, tile_words(values), 0, values["width"]).pieces
    dram, source = _dram_pieces(state, weight_rows(values, state.config), values["width"])
    rows = source.view(dram)
    return lambda: rows


def prepare_store(state: State, values: Values) -> Step:
    """STORE as a step."""
    require_small(values)
    source = Reader(state, state.ub, loop(values, "a"), values["group"], values["width"])
    rows = dram_rows(values, state.config)
    write = _dram_writer(*_dram_pieces(state, rows, values["width"]))
    return Step(lambda: write(source.pieces()), {"STORE_COUNT": 1, "STORE_ROWS": count_of(values)})


def _dram_writer(dram: np.ndarray, target: Box) -> Callable[[np.ndarray], None]:
    """A function that writes rows in order: where rows overlap the last one stays."""
    if target.distinct():
        view = target.view(dram)

        def write(data: np.ndarray) -> None:
            view[...] = data

        return write
    unique, last = last_of(target.addresses())

    def write_last(data: np.ndarray) -> None:
        dram[unique] = data.ravel()[last]

    return write_last
