"""MATMUL of the functional machine: gather per tap, one product, accumulate.

The compiled loops multiply bytes; numpy multiplies in float32, which is exact for int8 over at
most 256 rows. Only the rows and columns that the weight tile holds are computed; the rest of the
array multiplies zeros.
"""

import ctypes
from collections.abc import Mapping

import numpy as np

from hpu.hw.csr import FaultCause
from hpu.sim import native
from hpu.sim.access import Tap, count_of, matmul_taps
from hpu.sim.state import FaultError, Reader, State, Step, Tile

__all__ = ["prepare_matmul"]

Values = Mapping[str, int]


def prepare_matmul(state: State, values: Values) -> Step:
    """MATMUL as a step; its tile is taken when it runs."""
    count = count_of(values)
    if values["acc"] + count > state.config.acc_depth:
        raise FaultError(FaultCause.ADDRESS)
    taps = list(matmul_taps(values))
    gather = _Gather(state, values, taps)
    library = native.library()
    product = _Compiled(library, gather) if library is not None else _Numpy(gather)

    def run() -> None:
        if values["new_weights"]:
            state.tile = state.fifo.popleft()
        product.multiply(state.tile)

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
        self.state, self.values = state, values
        self._tap_pieces = state.piece_slice(0, values["tap_groups"]).stop
        self._parts = [(tap, self._reader(tap)) for tap in taps]
        inside = {tap.index for tap in taps if tap.whole(values)}
        self._padded = [index for index in range(values["taps"]) if index not in inside]
        padding = np.full(state.piece.itemsize, values["pad"], np.int8)
        self._padding = state.pieces(padding)[0]

    def _reader(self, tap: Tap) -> Reader:
        width = self.values["tap_groups"]
        return Reader(self.state, self.state.ub, tap.box, tap.index * width, width)

    def taps(self) -> list[native.Tap] | None:
        """The taps for the compiled loops, where words stand in steps."""
        width, found = self.values["tap_groups"] * self.state.config.group, []
        for tap, reader in self._parts:
            if reader.place is None:
                return None
            address, steps = reader.place
            place = (tap.index * width, width)
            found.append(native.Tap(address, native.Steps(*steps), *tap.ys, *tap.xs, *place))
        return found

    def activations(self, rows: int) -> np.ndarray:
        """int8 [elements, rows]: what the first ``rows`` rows of the array are fed."""
        count, size = count_of(self.values), self.state.piece.itemsize
        pieces = self._pieces(-(-rows // size)).reshape(count, -(-rows // size))
        return pieces.view(np.int8)[:, :rows]

    def _pieces(self, pieces: int) -> np.ndarray:
        """[n, y, x, pieces] of the array's first rows."""
        values, width = self.values, self._tap_pieces
        shape = (values["n_count"], values["y_count"], values["x_count"], pieces)
        out = self.state.scratch("pieces", shape, self.state.piece)
        out[..., values["taps"] * width :] = 0
        for index in self._padded:
            out[..., index * width : (index + 1) * width] = self._padding
        for tap, reader in self._parts:
            part = out[:, slice(*tap.ys), slice(*tap.xs), tap.index * width :][..., :width]
            part[...] = reader.pieces()[..., : part.shape[-1]]
        return out


class _Numpy:
    """The product in float32."""

    def __init__(self, gather: _Gather):
        self._gather, self._state, self._values = gather, gather.state, gather.values
        self._target = slice(self._values["acc"], self._values["acc"] + count_of(self._values))

    def multiply(self, tile: Tile) -> None:
        """Multiply the activations with ``tile`` into the accumulators."""
        assert isinstance(tile, np.ndarray)
        shape = (count_of(self._values), len(tile))
        activations = self._state.scratch("activations", shape, np.dtype(np.float32))
        activations[...] = self._gather.activations(len(tile))
        sums = self._state.scratch("sums", (shape[0], tile.shape[1]), np.dtype(np.float32))
        np.matmul(activations, tile, out=sums)
        part = self._state.acc[self._target, : tile.shape[1]]
        if self._values["accumulate"]:
            part += sums.astype(np.int32)
        else:
            np.copyto(part, sums, casting="unsafe")
        _settle(self._state, self._target, tile.shape[1], self._values["accumulate"])


class _Compiled:
    """The product by the compiled loops; numpy gathers what reaches around the memory's end."""

    def __init__(self, library: ctypes.CDLL, gather: _Gather):
        self._multiply, self._gather = library.hpu_matmul, gather
        self._state, values = gather.state, gather.values
        self._used = values["taps"] * values["tap_groups"] * self._state.config.group
        taps = gather.taps()
        self._direct = taps is not None
        self._taps = native.array([native.Tap()] if taps is None else taps)
        acc = self._state.acc[values["acc"] :]
        self._op = native.Matmul(
            native.Loop(values["n_count"], values["y_count"], values["x_count"]),
            len(self._taps),
            values["accumulate"],
            values["pad"],
            self._used,
            self._taps,
            acc.ctypes.data,
            acc.strides[0] // acc.itemsize,
            self._state.acc_width[values["acc"] :].ctypes.data,
        )
        self._address = ctypes.addressof(self._op)

    def multiply(self, tile: Tile) -> None:
        """Multiply the activations with ``tile`` into the accumulators."""
        assert isinstance(tile, native.NativeTile)
        gathered = None if self._direct else self._gathered()
        self._multiply(self._address, tile.address)
        del gathered  # until here it must not move

    def _gathered(self) -> np.ndarray:
        """The activations, and the only tap set to them."""
        found = np.ascontiguousarray(self._gather.activations(self._used))
        loop, width = self._op.loop, self._used
        steps = native.Steps(loop.y * loop.x * width, loop.x * width, width)
        self._taps[0] = native.Tap(found.ctypes.data, steps, 0, loop.y, 0, loop.x, 0, width)
        return found


def _settle(state: State, target: slice, width: int, accumulate: int) -> None:
    """Note how wide the accumulators of ``target`` are now; clear what was wider."""
    if accumulate:
        np.maximum(state.acc_width[target], width, out=state.acc_width[target])
        return
    before = int(state.acc_width[target].max())
    if before > width:
        state.acc[target, width:before] = 0
    state.acc_width[target] = width
