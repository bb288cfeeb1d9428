"""Nested loops, and sums of turn times stride over them, kept by additions only."""

from amaranth.hdl import Module, Shape, Signal, Value

__all__ = ["Loops"]


class Loops:
    """Loops of ``counts`` turns by level, the outermost first.

    ``start`` begins the first turn of all; ``advance`` goes on to the next turn of the innermost
    loop that has one left. ``turn`` has the bit of that loop, and no bit in the last turn of all,
    which ``end`` marks.
    """

    def __init__(
        self, m: Module, *, name: str, counts: dict[str, Value], start: Value, advance: Value
    ):
        self._m, self._name, self._levels = m, name, tuple(counts)
        self._start, self._advance = start, advance
        size = len(counts)
        self.ends = Signal(size, name=f"{name}_ends")
        self.turn = Signal(size, name=f"{name}_turn")
        for index, (level, count) in enumerate(counts.items()):
            left = Signal(16, name=f"{name}_{level}_left")
            m.d.comb += [
                self.ends[index].eq(left == 1),
                self.turn[index].eq(self.ends[index:] == (1 << size - index) - 2),
            ]
            with m.If(start | (advance & self._inside(index - 1))):
                m.d.sync += left.eq(count)
            with m.Elif(advance & self.turn[index]):
                m.d.sync += left.eq(left - 1)
        self.end = self.ends.all()

    def _inside(self, index: int) -> Value:
        """Whether the loop ``index`` or one around it takes its next turn."""
        return self.turn[: index + 1].any()

    def sum(self, name: str, shape: Shape, first: Value, strides: dict[str, Value]) -> Signal:
        """``first`` plus the strides of all turns taken, modulo ``shape``.

        Every level holds the sum at its present turn with the loops inside it at their first.
        """
        m = self._m
        sums = [Signal(shape, name=f"{name}_{level}") for level in self._levels]
        following = Signal(shape, name=f"{name}_next")
        with m.Switch(self.turn):
            for index, level in enumerate(self._levels):
                with m.Case(1 << index):
                    m.d.comb += following.eq(sums[index] + strides.get(level, 0))
        for index, value in enumerate(sums):
            with m.If(self._start):
                m.d.sync += value.eq(first)
            with m.Elif(self._advance & self._inside(index)):
                m.d.sync += value.eq(following)
        return sums[-1]
