"""The AXI4 read side: three readers with IDs of their own share the address and data channels."""

from amaranth.hdl import Const, Module, ResetInserter, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, Signature
from amaranth.utils import exact_log2

from hpu.hw.axi import AxiRead, BurstSplitter, ReadId, burst_layout, run_layout
from hpu.hw.config import Config
from hpu.hw.queues import MemoryQueue

__all__ = ["ReadClient", "ReadEngine", "ReadPort", "beat_layout", "read_depth"]


def beat_layout(config: Config) -> data.StructLayout:
    """One beat of read data; ``error``: it came with SLVERR or DECERR."""
    return data.StructLayout({"data": unsigned(8 * config.axi_bytes), "error": unsigned(1)})


def read_depth(config: Config) -> int:
    """Beats a reader holds or has asked for: covers the latency at one beat a cycle."""
    need = config.dram_latency + 3 * config.burst_beats
    return 1 << (need - 1).bit_length()


class ReadClient(Signature):
    """A reader of :class:`ReadPort`: bursts it asks for; beats that arrive, always accepted."""

    def __init__(self, config: Config):
        super().__init__(
            {
                "request": Out(stream.Signature(burst_layout(config))),
                "arrive": In(1),
                "beat": In(beat_layout(config)),
            }
        )


class ReadPort(wiring.Component):
    """Takes the readers' bursts in turn and routes each beat by RID. RREADY is always high.

    ``clients`` are in the order of :class:`hpu.hw.axi.ReadId`. ``counted`` pulses once per data
    beat.
    """

    def __init__(self, *, config: Config):
        self._config = config
        super().__init__(
            {
                "axi": Out(AxiRead(config)),
                "clients": In(ReadClient(config)).array(len(ReadId)),
                "counted": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._address(m)
        self._data(m)
        return m

    def _address(self, m):
        axi = self.axi
        free = Signal()
        turn = Signal(range(len(ReadId)))
        m.d.comb += [
            free.eq(~axi.arvalid | axi.arready),
            axi.arsize.eq(exact_log2(self._config.axi_bytes)),
            axi.arburst.eq(1),
            axi.arcache.eq(0b0011),
        ]
        with m.If(axi.arready):
            m.d.sync += axi.arvalid.eq(0)
        with m.Switch(turn):
            for first in range(len(ReadId)):
                with m.Case(first):
                    self._grant(m, first, free, turn)

    def _grant(self, m, first, free, turn):
        order = [(first + k) % len(ReadId) for k in range(len(ReadId))]
        taken = Const(0, 1)
        for index in order:
            request = self.clients[index].request
            grant = request.valid & ~taken
            m.d.comb += request.ready.eq(free & ~taken)
            with m.If(grant & free):
                m.d.sync += [
                    turn.eq((index + 1) % len(ReadId)),
                    self.axi.arvalid.eq(1),
                    self.axi.arid.eq(index),
                    self.axi.araddr.eq(request.p.addr),
                    self.axi.arlen.eq(request.p.count - 1),
                ]
            taken = taken | request.valid

    def _data(self, m):
        axi = self.axi
        valid, rid = Signal(), Signal.like(axi.rid)
        beat = Signal(beat_layout(self._config))
        m.d.comb += [axi.rready.eq(1), self.counted.eq(valid)]
        m.d.sync += valid.eq(axi.rvalid)
        with m.If(axi.rvalid):
            m.d.sync += [rid.eq(axi.rid), beat.data.eq(axi.rdata), beat.error.eq(axi.rresp[1])]
        for index, client in enumerate(self.clients):
            m.d.comb += [client.beat.eq(beat), client.arrive.eq(valid & (rid == index))]


class ReadEngine(wiring.Component):
    """Reads runs into a beat queue, asking ahead as far as the queue has room.

    ``overflow`` is high while the next burst would lie beyond the address space and every beat
    asked for has been taken from ``beats``. Under ``stop`` it forgets its runs and discards what
    arrives; ``idle`` is high when nothing is outstanding.
    """

    def __init__(self, *, config: Config, beats_bits: int, depth: int):
        if depth < 2 * config.burst_beats:
            raise ValueError(f"depth must be at least two bursts, not {depth!r}")
        self._config, self._bits, self._depth = config, beats_bits, depth
        super().__init__(
            {
                "runs": In(stream.Signature(run_layout(config, unsigned(beats_bits)))),
                "client": Out(ReadClient(config)),
                "beats": Out(stream.Signature(beat_layout(config))),
                "overflow": Out(1),
                "stop": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, client = self._config, self.client
        split = BurstSplitter(config=config, beats_bits=self._bits)
        queue = MemoryQueue(shape=beat_layout(config), depth=self._depth + 1)
        m.submodules.split = ResetInserter(self.stop)(split)
        m.submodules.queue = ResetInserter(self.stop)(queue)
        wiring.connect(m, wiring.flipped(self.runs), split.runs)
        wiring.connect(m, queue.o, wiring.flipped(self.beats))
        flying = Signal(range(self._depth + 1))
        asked, granted = Signal.like(split.bursts.p.count), Signal()
        room = flying + queue.level + split.bursts.p.count <= self._depth
        m.d.comb += [
            client.request.payload.eq(split.bursts.payload),
            client.request.valid.eq(split.bursts.valid & room & ~self.stop),
            granted.eq(client.request.valid & client.request.ready),
            split.bursts.ready.eq(granted),
            queue.i.payload.eq(client.beat),
            queue.i.valid.eq(client.arrive),
            self.idle.eq(flying == 0),
            self.overflow.eq(split.overflow & self.idle & (queue.level == 0)),
        ]
        with m.If(granted):
            m.d.comb += asked.eq(split.bursts.p.count)
        with m.If(granted | client.arrive):
            m.d.sync += flying.eq(flying + asked - client.arrive)
        return m
