"""The AXI4 write side: bursts with their data, and the responses that end an instruction."""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, exact_log2

from hpu.hw.axi import AxiWrite, burst_layout
from hpu.hw.config import Config
from hpu.hw.queues import RegisterQueue
from hpu.hw.rows import write_beat_layout

__all__ = ["WritePort"]

#: Bursts whose response is outstanding.
_BURSTS = 8


class WritePort(wiring.Component):
    """Writes bursts; the beats come in the bursts' order.

    ``done`` pulses for the response of a burst marked ``last``; ``failed`` pulses for a response of
    SLVERR or DECERR, with the index of its instruction. Under ``stop`` takes nothing more, fills
    the bursts already asked for with beats whose strobes are off, and drops the responses. ``idle``
    is high when nothing is outstanding. ``counted`` pulses once per data beat.
    """

    def __init__(self, *, config: Config):
        self._config = config
        super().__init__(
            {
                "bursts": In(stream.Signature(burst_layout(config))),
                "beats": In(stream.Signature(write_beat_layout(config))),
                "axi": Out(AxiWrite(config)),
                "done": Out(1),
                "failed": Out(1),
                "failed_pc": Out(32),
                "counted": Out(1),
                "stop": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        counts = RegisterQueue(shape=unsigned(bits_for(self._config.burst_beats)), depth=_BURSTS)
        tag = data.StructLayout({"last": unsigned(1), "pc": unsigned(32)})
        tags = RegisterQueue(shape=tag, depth=_BURSTS)
        m.submodules.counts, m.submodules.tags = counts, tags
        self._address(m, counts, tags)
        self._data(m, counts)
        self._response(m, tags)
        m.d.comb += self.idle.eq(~tags.o.valid)
        return m

    def _address(self, m, counts, tags):
        axi, bursts = self.axi, self.bursts
        asked = Signal()
        m.d.comb += [
            axi.awsize.eq(exact_log2(self._config.axi_bytes)),
            axi.awburst.eq(1),
            axi.awcache.eq(0b0011),
            bursts.ready.eq(
                (~axi.awvalid | axi.awready) & counts.i.ready & tags.i.ready & ~self.stop
            ),
            asked.eq(bursts.valid & bursts.ready),
            counts.i.valid.eq(asked),
            counts.i.payload.eq(bursts.p.count),
            tags.i.valid.eq(asked),
            tags.i.p.last.eq(bursts.p.last),
            tags.i.p.pc.eq(bursts.p.pc),
        ]
        with m.If(axi.awready):
            m.d.sync += axi.awvalid.eq(0)
        with m.If(asked):
            m.d.sync += [
                axi.awvalid.eq(1),
                axi.awaddr.eq(bursts.p.addr),
                axi.awlen.eq(bursts.p.count - 1),
            ]

    def _data(self, m, counts):
        axi, beats = self.axi, self.beats
        place = Signal.like(counts.o.payload, init=1)  # of the next beat in its burst, from 1
        free, taken, ends = Signal(), Signal(), Signal()
        m.d.comb += [
            free.eq((~axi.wvalid | axi.wready) & counts.o.valid),
            beats.ready.eq(free & ~self.stop),
            taken.eq(free & (beats.valid | self.stop)),
            ends.eq(place == counts.o.payload),
            counts.o.ready.eq(taken & ends),
            self.counted.eq(axi.wvalid & axi.wready),
        ]
        with m.If(axi.wready):
            m.d.sync += axi.wvalid.eq(0)
        with m.If(taken):
            strobe = Cat(bit.replicate(self._config.group) for bit in beats.p.strobe)
            m.d.sync += [
                axi.wvalid.eq(1),
                axi.wlast.eq(ends),
                axi.wdata.eq(beats.p.data),
                axi.wstrb.eq(strobe),
                place.eq(place + 1),
            ]
            with m.If(self.stop):
                m.d.sync += axi.wstrb.eq(0)
            with m.If(ends):
                m.d.sync += place.eq(1)

    def _response(self, m, tags):
        axi = self.axi
        m.d.comb += [
            axi.bready.eq(1),
            tags.o.ready.eq(axi.bvalid),
            self.done.eq(axi.bvalid & tags.o.p.last & ~axi.bresp[1]),
            self.failed.eq(axi.bvalid & axi.bresp[1]),
            self.failed_pc.eq(tags.o.p.pc),
        ]
