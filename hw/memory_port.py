"""Several AXI4 managers on one memory: bursts in turn, one beat at a time."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hpu.hw.axi import ID_BITS, Axi4
from hpu.hw.config import Config

__all__ = ["MemoryPort", "MemoryStreams", "request_layout", "response_layout", "tag_layout"]


def tag_layout(managers: int) -> data.StructLayout:
    """Who asked for a beat; ``last`` of its burst."""
    return data.StructLayout(
        {
            "manager": unsigned(max(1, ceil_log2(managers))),
            "write": unsigned(1),
            "id": unsigned(ID_BITS),
            "last": unsigned(1),
        }
    )


def request_layout(config: Config, managers: int) -> data.StructLayout:
    """A beat to read, or to write where ``strobe`` has a bit for the byte; ``addr`` in beats."""
    return data.StructLayout(
        {
            "addr": unsigned(config.addr_bits - exact_log2(config.axi_bytes)),
            "data": unsigned(8 * config.axi_bytes),
            "strobe": unsigned(config.axi_bytes),
            "tag": tag_layout(managers),
        }
    )


def response_layout(config: Config, managers: int) -> data.StructLayout:
    """The beat read, or one that has been written (``data`` then mean nothing)."""
    return data.StructLayout({"data": unsigned(8 * config.axi_bytes), "tag": tag_layout(managers)})


class MemoryStreams(wiring.Signature):
    """Requests to a memory, and its responses in the same order, one for each."""

    def __init__(self, config: Config, managers: int):
        super().__init__(
            {
                "request": Out(stream.Signature(request_layout(config, managers))),
                "response": In(stream.Signature(response_layout(config, managers))),
            }
        )


class MemoryPort(wiring.Component):
    """Bursts of ``managers`` AXI4 managers as requests to one ``memory``.

    Bursts are incrementing ones of whole beats. They are taken in turn over the managers' read
    and write channels, in one cycle each, and go out a beat per cycle. A burst read after the
    write response of another sees its bytes. Nothing of one manager waits for another's but for
    its burst's end and for responses that that one does not take.
    """

    def __init__(self, *, config: Config, managers: int):
        if not (isinstance(managers, int) and managers > 0):
            raise ValueError(f"managers must be a positive integer, not {managers!r}")
        self._config = config
        self._managers = managers
        super().__init__(
            {
                "managers": In(Axi4(config)).array(managers),
                "memory": Out(MemoryStreams(config, managers)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._request(m)
        self._respond(m)
        return m

    def _request(self, m):
        request = self.memory.request
        active, addr, left = Signal(), Signal.like(request.p.addr), Signal(8)
        tag = Signal.like(request.p.tag)
        with m.If(~active):
            self._accept(m, active, addr, left, tag)
        with m.Elif(request.valid & request.ready):
            m.d.sync += [addr.eq(addr + 1), left.eq(left - 1), active.eq(left != 0)]
        m.d.comb += [
            request.valid.eq(active & ~tag.write),
            request.p.addr.eq(addr),
            request.p.tag.eq(tag),
            request.p.tag.last.eq(left == 0),
        ]
        with m.Switch(tag.manager):
            for index, manager in enumerate(self.managers):
                with m.Case(index):
                    self._write_beat(m, manager, request, active & tag.write)

    @staticmethod
    def _write_beat(m, manager, request, writing):
        m.d.comb += [request.p.data.eq(manager.wdata), request.p.strobe.eq(manager.wstrb)]
        with m.If(writing):
            m.d.comb += [request.valid.eq(manager.wvalid), manager.wready.eq(request.ready)]

    def _accept(self, m, active, addr, left, tag):
        """The next channel, in turn, that has an address."""
        channels = [(k, write) for k in range(self._managers) for write in (0, 1)]
        asks = Signal(len(channels))
        taken = Signal(range(len(channels)))
        turn = Signal(range(len(channels)))
        m.d.comb += asks.eq(Cat(self._channel(k, w)["valid"] for k, w in channels))
        m.d.comb += taken.eq(_next(asks, turn))
        with m.If(asks.any()):
            m.d.sync += [active.eq(1), turn.eq(taken)]
        shift = exact_log2(self._config.axi_bytes)
        with m.Switch(taken):
            for index, (k, write) in enumerate(channels):
                channel = self._channel(k, write)
                with m.Case(index):
                    m.d.comb += channel["ready"].eq(asks[index])
                    m.d.sync += [
                        addr.eq(channel["addr"] >> shift),
                        left.eq(channel["len"]),
                        tag.manager.eq(k),
                        tag.write.eq(write),
                        tag.id.eq(channel["id"]),
                    ]

    def _channel(self, index, write):
        prefix = "aw" if write else "ar"
        manager = self.managers[index]
        names = ("valid", "ready", "addr", "len", "id")
        return {name: getattr(manager, prefix + name) for name in names}

    def _respond(self, m):
        """Beats read go to their manager; of beats written only a burst's last is told."""
        response = self.memory.response
        tag = response.p.tag
        m.d.comb += response.ready.eq(tag.write & ~tag.last)
        for index, manager in enumerate(self.managers):
            mine = response.valid & (tag.manager == index)
            m.d.comb += [
                manager.rvalid.eq(mine & ~tag.write),
                manager.rdata.eq(response.p.data),
                manager.rid.eq(tag.id),
                manager.rlast.eq(tag.last),
                manager.bvalid.eq(mine & tag.write & tag.last),
                manager.bid.eq(tag.id),
            ]
            with m.If((manager.rvalid & manager.rready) | (manager.bvalid & manager.bready)):
                m.d.comb += response.ready.eq(1)


def _next(asks, turn):
    """The first bit set after bit ``turn``, around the end; bit 0 when none is."""
    first = Const(0)
    for index in reversed(range(len(asks))):
        first = Mux(asks[index], index, first)
    later = first
    for index in reversed(range(len(asks))):
        later = Mux(asks[index] & (index > turn), index, later)
    return later
