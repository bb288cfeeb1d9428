"""Small queues of the control and DMA blocks, with streams at both ends."""

from amaranth.hdl import Module, Mux, Shape, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["MemoryQueue", "RegisterQueue"]


class RegisterQueue(wiring.Component):
    """A queue of ``depth`` entries in a register file, one entry in and out per cycle.

    An entry written when empty is the head a cycle later.
    """

    def __init__(self, *, shape: data.Layout | Shape, depth: int):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        self._shape, self._depth = shape, depth
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = Shape.cast(self._shape).width
        m.submodules.entries = entries = Memory(shape=width, depth=self._depth, init=[])
        write, read = entries.write_port(), entries.read_port(domain="comb")
        push, pop = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(self.level != self._depth),
            self.o.valid.eq(self.level != 0),
            push.eq(self.i.valid & self.i.ready),
            pop.eq(self.o.valid & self.o.ready),
            write.en.eq(push),
            write.data.eq(self.i.payload),
            Value.cast(self.o.payload).eq(read.data),
        ]
        m.d.sync += self.level.eq(self.level + push - pop)
        for port, moves in ((write, push), (read, pop)):
            place = Signal(range(self._depth), name="tail" if port is write else "head")
            m.d.comb += port.addr.eq(place)
            with m.If(moves):
                m.d.sync += place.eq(Mux(place == self._depth - 1, 0, place + 1))
        return m


class MemoryQueue(wiring.Component):
    """A queue of ``depth`` entries in a synchronous memory, one entry in and out per cycle.

    One of depth 2 passes an entry every other cycle. An entry written to an empty queue stands at
    the head two cycles later. ``level`` counts every entry.
    """

    def __init__(self, *, shape: data.Layout | Shape, depth: int):
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth!r}")
        self._shape, self._depth = shape, depth
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = Shape.cast(self._shape).width
        m.submodules.fifo = inner = fifo.SyncFIFOBuffered(width=width, depth=self._depth)
        m.d.comb += [
            inner.w_data.eq(self.i.payload),
            inner.w_en.eq(self.i.valid),
            self.i.ready.eq(inner.w_rdy),
            Value.cast(self.o.payload).eq(inner.r_data),
            self.o.valid.eq(inner.r_rdy),
            inner.r_en.eq(self.o.ready),
            self.level.eq(inner.level),
        ]
        return m
