"""Small queues of the control and DMA blocks, with streams at both ends."""

import itertools

from amaranth.hdl import Module, Shape, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["MemoryQueue", "RegisterQueue"]


class RegisterQueue(wiring.Component):
    """A queue of ``depth`` registers; an entry written when empty is the head a cycle later."""

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
        entries = [Signal(Shape.cast(self._shape), name=f"entry{k}") for k in range(self._depth)]
        push, pop, place = Signal(), Signal(), Signal(range(self._depth + 1))
        m.d.comb += [
            self.i.ready.eq(self.level != self._depth),
            self.o.valid.eq(self.level != 0),
            Value.cast(self.o.payload).eq(entries[0]),
            push.eq(self.i.valid & self.i.ready),
            pop.eq(self.o.valid & self.o.ready),
            place.eq(self.level - pop),
        ]
        m.d.sync += self.level.eq(place + push)
        with m.If(pop):
            for entry, following in itertools.pairwise(entries):
                m.d.sync += entry.eq(following)
        with m.If(push):
            for k, entry in enumerate(entries):
                with m.If(place == k):
                    m.d.sync += entry.eq(self.i.payload)
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
