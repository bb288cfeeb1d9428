"""Memories of the functional machine, and prepared accesses to them."""

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Mapping

import numpy as np

from hpu.hw.config import Config
from hpu.hw.csr import FaultCause
from hpu.sim.access import Box, count_of

__all__ = ["MAX_ELEMENTS", "FaultError", "Reader", "State", "Step", "Writer", "require_small"]

#: Elements of the largest loop that the functional simulator runs as one instruction.
MAX_ELEMENTS = 1 << 26


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


def _no_tile() -> np.ndarray:
    return np.zeros((0, 0), np.float32)


class State:
    """Every memory of one machine, zero at first; the arrays are written in place, never replaced.

    ``dram`` uint8 [dram_bytes]; ``ub`` int8 [ub_depth, lanes]; ``acc`` int32 [acc_depth, cols];
    ``params`` uint8 [8·param_sets, cols]; ``tables`` int8 [256·tables, cols]. ``tile`` is the
    array's present tile and ``fifo`` the tiles after it: float32 [rows, columns] without the zeros
    around.
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
        self.tile = _no_tile()
        self.fifo: deque[np.ndarray] = deque()
        self._scratch = [np.zeros(0, np.float32), np.zeros(0, np.float32)]

    def scratch(self, which: int, shape: tuple[int, ...]) -> np.ndarray:
        """float32 of ``shape``, contents undefined, valid until the next call with ``which``."""
        size = int(np.prod(shape))
        if self._scratch[which].size < size:
            self._scratch[which] = np.empty(size, np.float32)
        return self._scratch[which][:size].reshape(shape)


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
    """Words of ``memory`` at the addresses of ``box``, lanes ``columns``.

    Raises
    ------
    FaultError
        ADDRESS, when a word is beyond the memory.
    """

    def __init__(self, memory: np.ndarray, box: Box, columns: slice):
        self._lanes = memory[:, columns]
        self._words: np.ndarray | None = None
        if box.inside(len(memory)):
            self._view = box.view(self._lanes)
        else:
            self._words = box.words()
            if self._words.size and self._words.max() >= len(memory):
                raise FaultError(FaultCause.ADDRESS)


class Reader(_OnChip):
    """A prepared read."""

    def read(self) -> np.ndarray:
        """Shape ``box.counts + (lanes,)``; possibly a view."""
        return self._view if self._words is None else self._lanes[self._words]


class Writer(_OnChip):
    """A prepared write; where an address occurs twice the last element stays."""

    def __init__(self, memory: np.ndarray, box: Box, columns: slice):
        super().__init__(memory, box, columns)
        self._last: np.ndarray | None = None
        if self._words is not None or not box.distinct():
            words = box.words().ravel()
            reverse = np.unique(words[::-1], return_index=True)
            self._words, self._last = reverse[0], words.size - 1 - reverse[1]

    def write(self, data: np.ndarray) -> None:
        """``data``: shape ``box.counts + (lanes,)``."""
        if self._last is None:
            self._view[...] = data
        else:
            rows = data.reshape(math.prod(data.shape[:-1]), data.shape[-1])
            self._lanes[self._words] = rows[self._last]
