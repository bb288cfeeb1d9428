"""Memories of the functional machine, and prepared accesses to them."""

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from hpu.hw.config import Config
from hpu.hw.csr import FaultCause
from hpu.sim.access import Box, count_of
from hpu.sim.native import NativeTile, library

__all__ = [
    "MAX_ELEMENTS",
    "FaultError",
    "Reader",
    "State",
    "Step",
    "Tile",
    "Writer",
    "as_tile",
    "last_of",
    "require_small",
]

Tile: TypeAlias = NativeTile | np.ndarray
#: Elements of the largest loop that the functional simulator runs as one instruction.
MAX_ELEMENTS = 1 << 26


_TYPES = ((1, "u1"), (2, "u2"), (4, "u4"), (8, "u8"), (16, "c16"))
#: Types that numpy copies as a whole; complex numbers are its only 16-byte ones.
_PIECES = {size: np.dtype(name) for size, name in _TYPES}


class FaultError(Exception):
    """The instruction stops the machine with ``cause``."""

    def __init__(self, cause: FaultCause):
        super().__init__(cause.name)
        self.cause = cause


@dataclasses.dataclass(frozen=True)
class Step:
    """A prepared instruction: ``run`` moves the data, ``counts`` is added to the counters."""

    run: Callable[[], None]
    counts: Mapping[str, int]


def as_tile(weights: np.ndarray) -> "Tile":
    """int8 [rows, columns] as MATMUL takes it: for the compiled loops, or float32."""
    return NativeTile(weights) if library() is not None else weights.astype(np.float32)


class State:
    """Every memory of one machine, zero at first; the arrays are written in place, never replaced.

    ``dram`` uint8 [dram_bytes]; ``ub`` int8 [ub_depth, lanes]; ``acc`` int32 [acc_depth, cols];
    ``params`` uint8 [8·param_sets, cols]; ``tables`` int8 [256·tables, cols]. ``tile`` is the
    array's present tile and ``fifo`` the tiles after it, without the zeros around.
    Columns of ``acc`` from ``acc_width`` of the word on are known to be zero.
    """

    def __init__(self, config: Config, dram_bytes: int):
        self.config = config
        self.dram = np.zeros(dram_bytes, np.uint8)
        self.ub = np.zeros((config.ub_depth, config.lanes), np.int8)
        self.acc = np.zeros((config.acc_depth, config.cols), np.int32)
        self.acc_width = np.zeros(config.acc_depth, np.intp)
        self.params = np.zeros((8 * config.param_sets, config.cols), np.uint8)
        self.tables = np.zeros((256 * config.tables, config.cols), np.int8)
        self.tile: Tile = as_tile(np.zeros((0, 0), np.int8))
        self.fifo: deque[Tile] = deque()
        self.piece = _PIECES[min(config.group, 16)]
        self._scratch: dict[str, np.ndarray] = {}

    def pieces(self, memory: np.ndarray) -> np.ndarray:
        """A byte array as pieces: what moves at once, a lane group or 16 bytes of a wider one."""
        return memory.view(self.piece)

    def piece_slice(self, group: int, width: int) -> slice:
        """Pieces of ``width`` lane groups from ``group`` on."""
        per_group = self.config.group // self.piece.itemsize
        return slice(group * per_group, (group + width) * per_group)

    def scratch(self, name: str, shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
        """Memory of ``shape``, contents undefined, valid until the next call with ``name``."""
        size = math.prod(shape)
        if name not in self._scratch or self._scratch[name].size < size:
            self._scratch[name] = np.empty(size, kind)
        return self._scratch[name][:size].reshape(shape)


def require_small(values: Mapping[str, int], elements: int | None = None) -> None:
    """Refuse an instruction whose loop no simulation ends.

    Raises
    ------
    ValueError
        When the loop has more than ``MAX_ELEMENTS`` elements.
    """
    elements = count_of(values) if elements is None else elements
    if elements > MAX_ELEMENTS:
        raise ValueError(f"loop must be at most {MAX_ELEMENTS} elements, not {elements!r}")


class _OnChip:
    """Lane groups ``group`` … ``group + width`` - 1 of the words of ``memory`` in ``box``.

    Raises
    ------
    FaultError
        ADDRESS, when a word is beyond the memory.
    """

    def __init__(self, state: State, memory: np.ndarray, box: Box, group: int, width: int):
        self._pieces = state.pieces(memory)[:, state.piece_slice(group, width)]
        self._words: np.ndarray | None = None
        box = box.reduced()
        if box.inside(len(memory)):
            self._view = box.view(self._pieces)
        else:
            self._words = box.words()
            if self._words.size and self._words.max() >= len(memory):
                raise FaultError(FaultCause.ADDRESS)

    @property
    def place(self) -> tuple[int, tuple[int, ...]] | None:
        """Address and byte steps of n, y and x, where words stand in such steps."""
        if self._words is not None:
            return None
        return self._view.ctypes.data, self._view.strides[:3]


class Reader(_OnChip):
    """A prepared read."""

    def pieces(self) -> np.ndarray:
        """Shape ``box.counts + (pieces,)``; possibly a view."""
        return self._view if self._words is None else self._pieces[self._words]

    def lanes(self) -> np.ndarray:
        """int8 of shape ``box.counts + (lanes,)``, a copy."""
        return np.array(self.pieces(), order="C").view(np.int8)


class Writer(_OnChip):
    """A prepared write of ``copies`` copies side by side, each ``width`` lane groups wide.

    Where a word occurs twice the last element stays.
    """

    def __init__(
        self,
        state: State,
        memory: np.ndarray,
        box: Box,
        group: int,
        width: int,
        copies: int = 1,
    ):
        super().__init__(state, memory, box, group, width * copies)
        self.copies = copies
        self._last: np.ndarray | None = None
        if self._words is not None or not box.distinct():
            self._words, self._last = last_of(box.words())
        else:
            pieces = state.piece_slice(0, width).stop
            self._view = self._view.reshape(*box.counts, copies, pieces)  # still a view

    def write(self, data: np.ndarray) -> None:
        """``data``: pieces of one copy, shape ``box.counts + (pieces,)``."""
        if self._last is None:
            self._view[...] = data[..., None, :]
        else:
            rows = data.reshape(math.prod(data.shape[:-1]), data.shape[-1])
            self._pieces[self._words] = np.tile(rows[self._last], (1, self.copies))


def last_of(addresses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each address once, and the last place (flat) at which it stands."""
    flat = addresses.ravel()
    unique, place = np.unique(flat[::-1], return_index=True)
    return unique, flat.size - 1 - place
