"""What a streamed window sweep reads, and after how many words each window is complete.

Every word of the image part under the windows passes once, row after row and image after image. A
window's result is due when its last column and row have passed; one that reaches beyond the image
is due as many words later as if the rows, and the images, went on without a gap. Then the windows
come in the order of the loops and no two in one step (docs/hw/vector.md).
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hpu.hw import isa
from hpu.hw.config import Config
from hpu.hw.ports import instruction_layout

__all__ = ["PREPARE", "VectorStream"]

#: Cycles from ``start`` to the numbers' being there.
PREPARE = 3
_ADDRESS = 24


class VectorStream(wiring.Component):
    """Numbers of the streamed instruction in ``values``, ``PREPARE`` cycles after ``start``.

    ``rows`` by ``cols`` words are read of every image, the first at ``base``. ``first`` steps come
    before the one that completes the first window; from one window to the next it is ``x_gap``,
    ``y_gap`` where a row ends, and ``n_gap`` where an image ends, each less by one.
    """

    def __init__(self, *, config: Config):
        gap = config.window_cols.bit_length() + 2
        super().__init__(
            {
                "values": In(instruction_layout(isa.BY_OPCODE[isa.Opcode.VECTOR])),
                "start": In(1),
                "base": Out(_ADDRESS),
                "rows": Out(16),
                "cols": Out(16),
                "first": Out(gap),
                "x_gap": Out(gap),
                "y_gap": Out(gap),
                "n_gap": Out(gap),
            }
        )

    def elaborate(self, platform):
        m = Module()
        v = self.values
        begun = Signal(2)
        m.d.sync += begun.eq(Cat(self.start, begun[0]))
        y = _Axis(m, "y", self.start, v.y0, v.y_count, v.y_step, v.ky_count, v.image_rows)
        x = _Axis(m, "x", self.start, v.x0, v.x_count, v.x_step, v.kx_count, v.image_cols)
        row = Signal(_ADDRESS)  # address of the first row that is read
        with m.If(begun[0]):
            m.d.sync += row.eq(v.a_base + _times(y.ahead, v.a_ky))
            m.d.sync += [self.rows.eq(y.extent), self.cols.eq(x.extent)]
        with m.If(begun[1]):
            m.d.sync += [
                self.base.eq(row + _times(x.ahead, v.a_kx)),
                self.first.eq(_times(y.lead, self.cols) + x.lead),
                self.x_gap.eq(v.x_step - 1),
                self.y_gap.eq(_times(v.y_step[:2], self.cols) - x.span - 1),
                self.n_gap.eq(_times((self.rows - y.span)[:2], self.cols) - x.span - 1),
            ]
        return m


class _Axis:
    """One axis a cycle after ``start``: ``span`` of the first elements, ``ahead`` of the image's
    edge, ``lead`` of a window's last element to the first that is read, and the ``extent`` read.
    """

    def __init__(self, m, name, start, place, count, step, kernel, size):
        self.span = Signal(17, name=f"{name}_span")
        self.ahead = Signal(2, name=f"{name}_ahead")
        self.lead = Signal(2, name=f"{name}_lead")
        self.extent = Signal(16, name=f"{name}_extent")
        low, end = Signal(16, name=f"{name}_low"), Signal(signed(20), name=f"{name}_end")
        span = Mux(step == 1, count - 1, (count - 1) << 1)
        outside = place < 0
        with m.If(start):
            m.d.sync += [
                self.span.eq(span),
                self.ahead.eq(Mux(outside, -place, 0)),
                self.lead.eq(kernel - 1 + Mux(outside, place, 0)),
                low.eq(Mux(outside, 0, place)),
                end.eq(place + span + kernel),
            ]
        m.d.comb += self.extent.eq(Mux(end < size, end, size) - low)


def _times(factor, value):
    """``value`` times a two-bit number."""
    return Mux(factor[0], value, 0) + Mux(factor[1], value << 1, 0)
