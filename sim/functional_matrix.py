"""MATMUL of the functional machine: gather per tap, one float32 product, accumulate.

Products of int8 over at most 256 rows are exact in float32. Only the rows and columns that the
weight tile holds are computed; the rest of the array multiplies zeros.
"""

from collections.abc import Mapping

import numpy as np

from hpu.hw.csr import FaultCause
from hpu.sim.access import Tap, count_of, matmul_taps
from hpu.sim.state import FaultError, Reader, State, Step

__all__ = ["prepare_matmul"]

Values = Mapping[str, int]


def prepare_matmul(state: State, values: Values) -> Step:
    """MATMUL as a step; its tile is taken when it runs."""
    count = count_of(values)
    if values["acc"] + count > state.config.acc_depth:
        raise FaultError(FaultCause.ADDRESS)
    taps = list(matmul_taps(values))
    gather = _Gather(state, values, taps)
    target = slice(values["acc"], values["acc"] + count)

    def run() -> None:
        if values["new_weights"]:
            state.tile = state.fifo.popleft()
        tile = state.tile
        sums = state.scratch("sums", (count, tile.shape[1]), np.dtype(np.float32))
        np.matmul(gather.activations(len(tile)), tile, out=sums)
        if values["accumulate"]:
            _accumulate(state, target, sums)
        else:
            _overwrite(state, target, sums)

    useful = _useful(values, taps)
    return Step(
        run,
        {"MATMUL_COUNT": 1, "MATRIX_USEFUL": useful, "MATRIX_PADDING": count - useful},
    )


def _useful(values: Values, taps: list[Tap]) -> int:
    """Rows of the loop with a tap inside the image."""
    inside = np.zeros((values["y_count"], values["x_count"]), bool)
    for tap in taps:
        inside[slice(*tap.ys), slice(*tap.xs)] = True
    return values["n_count"] * int(inside.sum())


class _Gather:
    """The activations of one MATMUL."""

    def __init__(self, state: State, values: Values, taps: list[Tap]):
        self._state, self._values = state, values
        self._tap_pieces = state.piece_slice(0, values["tap_groups"]).stop
        self._parts = [(tap, self._reader(tap)) for tap in taps]
        inside = {tap.index for tap in taps if tap.whole(values)}
        self._padded = [index for index in range(values["taps"]) if index not in inside]
        padding = np.full(state.piece.itemsize, values["pad"], np.int8)
        self._padding = state.pieces(padding)[0]

    def _reader(self, tap: Tap) -> Reader:
        width = self._values["tap_groups"]
        return Reader(self._state, self._state.ub, tap.box, tap.index * width, width)

    def activations(self, rows: int) -> np.ndarray:
        """float32 [elements, rows]: what the first ``rows`` rows of the array are fed."""
        count, size = count_of(self._values), self._state.piece.itemsize
        pieces = self._pieces(-(-rows // size)).reshape(count, -(-rows // size))
        out = self._state.scratch("activations", (count, rows), np.dtype(np.float32))
        out[...] = pieces.view(np.int8)[:, :rows]
        return out

    def _pieces(self, pieces: int) -> np.ndarray:
        """[n, y, x, pieces] of the array's first rows."""
        values, width = self._values, self._tap_pieces
        shape = (values["n_count"], values["y_count"], values["x_count"], pieces)
        out = self._state.scratch("pieces", shape, self._state.piece)
        out[..., values["taps"] * width :] = 0
        for index in self._padded:
            out[..., index * width : (index + 1) * width] = self._padding
        for tap, reader in self._parts:
            part = out[:, slice(*tap.ys), slice(*tap.xs), tap.index * width :][..., :width]
            part[...] = reader.pieces()[..., : part.shape[-1]]
        return out


def _overwrite(state: State, target: slice, sums: np.ndarray) -> None:
    width, before = sums.shape[1], int(state.acc_width[target].max())
    np.copyto(state.acc[target, :width], sums, casting="unsafe")
    if before > width:
        state.acc[target, width:before] = 0
    state.acc_width[target] = width


def _accumulate(state: State, target: slice, sums: np.ndarray) -> None:
    width = sums.shape[1]
    state.acc[target, :width] += sums.astype(np.int32)
    np.maximum(state.acc_width[target], width, out=state.acc_width[target])
