"""A memory of block RAM behind a memory port."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from hpu.hw.config import Config
from hpu.hw.memory_port import MemoryStreams, response_layout
from hpu.hw.queues import RegisterQueue

__all__ = ["BlockMemory"]


class BlockMemory(wiring.Component):
    """``2 ** config.addr_bits`` bytes; a request per cycle, its response two cycles later."""

    def __init__(self, *, config: Config, managers: int):
        self._config = config
        self._layout = response_layout(config, managers)
        super().__init__({"streams": In(MemoryStreams(config, managers))})

    def elaborate(self, platform):
        m = Module()
        config, request = self._config, self.streams.request
        depth = 1 << config.addr_bits - exact_log2(config.axi_bytes)
        m.submodules.memory = memory = Memory(shape=8 * config.axi_bytes, depth=depth, init=[])
        m.submodules.queue = queue = RegisterQueue(shape=self._layout, depth=3)
        write, read = memory.write_port(granularity=8), memory.read_port()
        valid, tag = Signal(), Signal.like(request.p.tag, reset_less=True)
        taken = request.valid & request.ready
        m.d.comb += [
            request.ready.eq(queue.level + valid < 3),
            write.addr.eq(request.p.addr),
            write.data.eq(request.p.data),
            read.addr.eq(request.p.addr),
            read.en.eq(taken & ~request.p.tag.write),
            queue.i.valid.eq(valid),
            queue.i.p.data.eq(read.data),
            queue.i.p.tag.eq(tag),
        ]
        with m.If(taken & request.p.tag.write):
            m.d.comb += write.en.eq(request.p.strobe)
        m.d.sync += [valid.eq(taken), tag.eq(request.p.tag)]
        wiring.connect(m, queue.o, wiring.flipped(self.streams.response))
        return m
