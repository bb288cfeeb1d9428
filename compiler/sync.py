"""Tokens: orders every pair of conflicting accesses of different units, with few tokens.

Instructions come in program order. Where one touches words that an earlier one of another unit
wrote, or writes words that it read, the earlier must be done first. A unit knows what it waited for
and what that had waited for; only what it does not know yet costs a token. On one channel both the
givers and the takers follow program order, so that the k-th take meets the k-th gift.
"""

import bisect
from collections.abc import Sequence

import numpy as np

from hpu.compiler.emit import Emitted, Memory, Span
from hpu.hw.config import Config
from hpu.hw.isa import Unit

__all__ = ["insert_tokens"]

_UNITS = len(Unit)
_MAX_TOKENS = 255


def insert_tokens(instructions: Sequence[Emitted], config: Config) -> bytes:
    """The program's bytes with ``wait`` and ``signal`` set, in the same order."""
    history = _History(instructions)
    channels = _Channels(len(instructions), config)
    for index, instruction in enumerate(instructions):
        channels.order(index, instruction.unit, history.conflicts(instruction))
        history.record(index, instruction)
    return b"".join(
        instruction.with_tokens(int(wait), int(signal))
        for instruction, wait, signal in zip(
            instructions, channels.wait, channels.signal, strict=True
        )
    )


class _History:
    """For every word of every memory and every unit: the last instruction that touched it."""

    def __init__(self, instructions: Sequence[Emitted]) -> None:
        sizes = dict.fromkeys(Memory, 0)
        for instruction in instructions:
            for span in (*instruction.reads, *instruction.writes):
                sizes[span.memory] = max(sizes[span.memory], span.high)
        self._written = {m: _never(size) for m, size in sizes.items()}
        self._read = {m: _never(size) for m, size in sizes.items()}
        self._writers: dict[Memory, set[Unit]] = {m: set() for m in Memory}
        self._readers: dict[Memory, set[Unit]] = {m: set() for m in Memory}

    def conflicts(self, instruction: Emitted) -> list[int]:
        """Per unit, the latest earlier instruction that must be done before this one; -1: none."""
        latest = [-1] * _UNITS
        for span in instruction.reads:
            self._meet(latest, span, self._written, self._writers[span.memory])
        for span in instruction.writes:
            self._meet(latest, span, self._written, self._writers[span.memory])
            self._meet(latest, span, self._read, self._readers[span.memory])
        latest[instruction.unit] = -1
        return latest

    @staticmethod
    def _meet(
        latest: list[int], span: Span, table: dict[Memory, np.ndarray], units: set[Unit]
    ) -> None:
        for unit in units:
            last = table[span.memory][unit, span.low : span.high].max(initial=-1)
            latest[unit] = max(latest[unit], int(last))

    def record(self, index: int, instruction: Emitted) -> None:
        """Remember what instruction ``index`` touches."""
        unit = instruction.unit
        for span in instruction.reads:
            self._read[span.memory][unit, span.low : span.high] = index
            self._readers[span.memory].add(unit)
        for span in instruction.writes:
            self._written[span.memory][unit, span.low : span.high] = index
            self._writers[span.memory].add(unit)


def _never(size: int) -> np.ndarray:
    return np.full((_UNITS, size), -1, np.int32)


class _Channels:
    """What every unit knows of the others, and the tokens that tell it more."""

    def __init__(self, count: int, config: Config) -> None:
        self.wait = np.zeros(count, np.uint8)
        self.signal = np.zeros(count, np.uint8)
        #: Per unit, the latest instruction of every unit that is done when its next one starts.
        self._known = [[-1] * _UNITS for _ in range(_UNITS)]
        #: The same for every instruction at its end.
        self._clocks: list[tuple[int, ...]] = []
        #: Per channel (giver, taker), the instructions that take, in order.
        self._takers: dict[tuple[int, int], list[int]] = {}
        self._last = [-1] * _UNITS
        #: Instructions dispatched and not begun may hold back this many more takes.
        self._limit = max(1, _MAX_TOKENS - config.queue_depth - 8)

    def order(self, index: int, unit: Unit, latest: list[int]) -> None:
        """Let instruction ``index`` of ``unit`` start after the ``latest`` of every other unit."""
        known = self._known[unit]
        for giver in sorted(range(_UNITS), key=lambda u: -latest[u]):
            if latest[giver] > known[giver]:
                self._add(index, unit, giver, latest[giver])
        known[unit] = index
        self._last[unit] = index
        self._clocks.append(tuple(known))

    def _add(self, index: int, unit: Unit, giver: int, source: int) -> None:
        takers = self._takers.setdefault((giver, unit), [])
        if len(takers) - bisect.bisect_right(takers, source) >= self._limit:
            source = self._last[giver]  # a later gift stands for all before it: fewer are out
        self.signal[source] |= 1 << unit
        self.wait[index] |= 1 << giver
        takers.append(index)
        known = self._known[unit]
        known[:] = map(max, known, self._clocks[source])
