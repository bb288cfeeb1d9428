"""The triangle of registers that staggers the lanes of a lane group."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Skew"]


class Skew(wiring.Component):
    """Lane k of ``i``, 8 bits wide, stands in lane k of ``o`` k + 1 cycles later.

    ``live`` marks the rows that matter; without one on its way nothing moves.
    """

    def __init__(self, *, group: int):
        self._group = group
        super().__init__({"i": In(8 * group), "live": In(1), "o": Out(8 * group)})

    def elaborate(self, platform):
        m = Module()
        stages = Signal(self._group)
        m.d.sync += stages.eq((stages << 1) | self.live)
        with m.If(self.live | stages.any()):
            for lane in range(self._group):
                value = self.i.word_select(lane, 8)
                for index in range(lane + 1):
                    stage = Signal(8, name=f"lane_{lane}_{index}", reset_less=True)
                    m.d.sync += stage.eq(value)
                    value = stage
                m.d.comb += self.o.word_select(lane, 8).eq(value)
        return m
