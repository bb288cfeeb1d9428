"""Delay lines: the same bits, a fixed number of cycles later."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["DelayLine"]

#: Delays from this on are held in a memory instead of registers.
_MEMORY_FROM = 6


class DelayLine(wiring.Component):
    """``o`` is ``i`` of ``cycles`` cycles ago, and zero for as long after reset.

    A delay of zero is a wire. Short delays are registers; long ones are a circular memory with one
    read and one write port, which never read and write one word in one cycle.

    Parameters
    ----------
    width
        Bits.
    cycles
        Delay.
    """

    def __init__(self, *, width: int, cycles: int):
        if not (isinstance(width, int) and width > 0):
            raise ValueError(f"width must be a positive integer, not {width!r}")
        if not (isinstance(cycles, int) and cycles >= 0):
            raise ValueError(f"cycles must be a non-negative integer, not {cycles!r}")
        self._width = width
        self._cycles = cycles
        super().__init__({"i": In(width), "o": Out(width)})

    @property
    def cycles(self) -> int:
        """Delay."""
        return self._cycles

    def elaborate(self, platform):
        m = Module()
        if self._cycles < _MEMORY_FROM:
            self._registers(m)
        else:
            self._memory(m)
        return m

    def _registers(self, m):
        value = self.i
        for index in range(self._cycles):
            stage = Signal(self._width, name=f"stage_{index}")
            m.d.sync += stage.eq(value)
            value = stage
        m.d.comb += self.o.eq(value)

    def _memory(self, m):
        m.submodules.memory = memory = Memory(shape=self._width, depth=self._cycles, init=[])
        write, read = memory.write_port(), memory.read_port()
        place, following = Signal(range(self._cycles)), Signal(range(self._cycles))
        filled, valid = Signal(), Signal()
        last = place == self._cycles - 1
        m.d.comb += [
            following.eq(Mux(last, 0, place + 1)),
            write.en.eq(1),
            write.addr.eq(place),
            write.data.eq(self.i),
            # The word that the next cycle overwrites: written cycles-1 cycles ago.
            read.addr.eq(following),
            self.o.eq(Mux(valid, read.data, 0)),
        ]
        m.d.sync += [place.eq(following), filled.eq(filled | last), valid.eq(filled | last)]
