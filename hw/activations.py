"""From unified-buffer data to the array's left edge: padding, then the stagger of the rows."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hpu.hw import emit
from hpu.hw.delay import DelayLine
from hpu.hw.skew import Skew

__all__ = ["ACTIVATION_STAGES", "Activations"]

#: Cycles from unified-buffer data to lane 0 at the array.
ACTIVATION_STAGES = 2


class Activations(wiring.Component):
    """Activations of row r of the array, ``ACTIVATION_STAGES`` + r cycles after their data.

    In the cycle of a row's ``data``: ``live``; per lane group ``inside`` takes the data,
    ``outside`` takes ``pad``, neither gives zero.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "data": In(8 * config.rows),
                "live": In(1),
                "inside": In(config.row_groups),
                "outside": In(config.row_groups),
                "pad": In(8),
                "act": Out(8 * config.rows),
            }
        )

    def elaborate(self, platform):
        m = Module()
        group = self._config.group
        live = Signal()
        m.d.sync += live.eq(self.live)
        for index in range(self._config.row_groups):
            lanes = Signal(8 * group, name=f"lanes_{index}", reset_less=True)
            with m.If(self.inside[index]):
                m.d.sync += lanes.eq(self.data.word_select(index, 8 * group))
            with m.Elif(self.live):
                m.d.sync += lanes.eq(Mux(self.outside[index], self.pad.replicate(group), 0))
            delay = DelayLine(width=8 * group + 1, cycles=index * group)
            skew = Skew(group=group)
            setattr(m.submodules, f"delay_{index}", delay)
            setattr(m.submodules, f"skew_{index}", emit.instance(skew, "skew"))
            m.d.comb += [
                delay.i.eq(Cat(lanes, live)),
                skew.i.eq(delay.o[:-1]),
                skew.live.eq(delay.o[-1]),
                self.act.word_select(index, 8 * group).eq(skew.o),
            ]
        return m
