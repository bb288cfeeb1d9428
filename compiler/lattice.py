"""Loops over words of the unified buffer, for instructions that have three of them."""

import dataclasses
import math
from collections.abc import Iterator

__all__ = ["Lattice"]

_U16 = (1 << 16) - 1
_LOOPS = ("n", "y", "x")


@dataclasses.dataclass(frozen=True)
class Lattice:
    """Nested loops, the outermost first, that step through several operands at once.

    ``bases`` are the operands' first words; every loop is a count and the words that each operand
    goes on per step.
    """

    bases: tuple[int, ...]
    loops: tuple[tuple[int, tuple[int, ...]], ...]

    @property
    def words(self) -> int:
        """Words of each operand that are gone through."""
        return math.prod(size for size, _ in self.loops)

    def extent(self, operand: int) -> tuple[int, int]:
        """Low and high (exclusive) words of an operand."""
        low = high = self.bases[operand]
        for size, steps in self.loops:
            low += min(steps[operand] * (size - 1), 0)
            high += max(steps[operand] * (size - 1), 0)
        return low, high + 1

    def merged(self) -> "Lattice":
        """The same walk with loops joined that are one walk in every operand."""
        loops: list[tuple[int, tuple[int, ...]]] = []
        for size, steps in self.loops:
            if size == 1:
                continue
            if loops and loops[-1][1] == tuple(step * size for step in steps):
                loops[-1] = (loops[-1][0] * size, steps)
            else:
                loops.append((size, steps))
        return Lattice(self.bases, tuple(loops))

    def pieces(self, limit: int = _U16) -> Iterator["Lattice"]:
        """The walk in order, in parts of at most ``limit`` words and three loops."""
        limit = min(limit, _U16)
        whole = self.merged()
        if len(whole.loops) <= len(_LOOPS) and whole.words <= limit:
            yield whole
            return
        size, steps = whole.loops[0]
        inner = whole.words // size
        deep = len(whole.loops) > len(_LOOPS)
        count = 1 if deep else max(-(-size // -(-size // max(limit // inner, 1))), 1)
        for low in range(0, size, count):
            part = (min(count, size - low), steps)
            bases = tuple(b + low * s for b, s in zip(whole.bases, steps, strict=True))
            yield from Lattice(bases, (part, *whole.loops[1:])).pieces(limit)

    def counts(self) -> dict[str, int]:
        """The instruction's loop counts."""
        sizes = [size for size, _ in self._padded()]
        return {f"{name}_count": size for name, size in zip(_LOOPS, sizes, strict=True)}

    def strides(self, side: str, operand: int) -> dict[str, int]:
        """Base and steps of an operand, as the fields ``side``_base, ``side``_n …"""
        fields = {f"{side}_base": self.bases[operand]}
        for name, (_, steps) in zip(_LOOPS, self._padded(), strict=True):
            fields[f"{side}_{name}"] = steps[operand]
        return fields

    def _padded(self) -> list[tuple[int, tuple[int, ...]]]:
        assert len(self.loops) <= len(_LOOPS)
        still = (1, (0,) * len(self.bases))
        return [still] * (len(_LOOPS) - len(self.loops)) + list(self.loops)
