"""AXI4 and AXI4-Lite ports, and the splitter that cuts runs of beats into bursts."""

import enum

from amaranth.hdl import Module, Mux, Shape, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, Signature
from amaranth.utils import bits_for, exact_log2

from hpu.hw.config import Config

__all__ = [
    "ID_BITS",
    "Axi4",
    "AxiLite",
    "AxiRead",
    "AxiWrite",
    "BurstSplitter",
    "ReadId",
    "Response",
    "burst_layout",
    "run_layout",
]

ID_BITS = 2


class ReadId(enum.IntEnum):
    """ARID of each reader; responses of one ID come in order."""

    FETCH = 0
    LOAD = 1
    WEIGHTS = 2


class Response(enum.IntEnum):
    """RRESP and BRESP; those with bit 1 set are errors."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def _address(prefix: str, config: Config) -> dict[str, wiring.Member]:
    return {
        f"{prefix}id": Out(ID_BITS),
        f"{prefix}addr": Out(config.addr_bits),
        f"{prefix}len": Out(8),
        f"{prefix}size": Out(3, init=exact_log2(config.axi_bytes)),
        f"{prefix}burst": Out(2, init=1),
        f"{prefix}cache": Out(4, init=0b0011),
        f"{prefix}prot": Out(3),
        f"{prefix}valid": Out(1),
        f"{prefix}ready": In(1),
    }


def _read(config: Config) -> dict[str, wiring.Member]:
    return {
        **_address("ar", config),
        "rid": In(ID_BITS),
        "rdata": In(8 * config.axi_bytes),
        "rresp": In(2),
        "rlast": In(1),
        "rvalid": In(1),
        "rready": Out(1),
    }


def _write(config: Config) -> dict[str, wiring.Member]:
    return {
        **_address("aw", config),
        "wdata": Out(8 * config.axi_bytes),
        "wstrb": Out(config.axi_bytes),
        "wlast": Out(1),
        "wvalid": Out(1),
        "wready": In(1),
        "bid": In(ID_BITS),
        "bresp": In(2),
        "bvalid": In(1),
        "bready": Out(1),
    }


class AxiRead(Signature):
    """Read channels of an AXI4 manager: incrementing bursts of whole beats."""

    def __init__(self, config: Config):
        super().__init__(_read(config))


class AxiWrite(Signature):
    """Write channels of an AXI4 manager: incrementing bursts of whole beats with strobes."""

    def __init__(self, config: Config):
        super().__init__(_write(config))


class Axi4(Signature):
    """An AXI4 manager port: read and write channels."""

    def __init__(self, config: Config):
        super().__init__({**_write(config), **_read(config)})


class AxiLite(Signature):
    """An AXI4-Lite manager port of 32-bit data; ``addr_bits`` bits of byte address."""

    def __init__(self, addr_bits: int):
        super().__init__(
            {
                "awaddr": Out(addr_bits),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(32),
                "wstrb": Out(4),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(addr_bits),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(32),
                "rresp": In(2),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )


def run_layout(config: Config, beats: Shape) -> data.StructLayout:
    """A contiguous run of beats.

    ``addr`` is the byte address of the first byte wanted (its beat is the first of the run), with
    one more bit that is set when the address lies beyond the address space. ``last`` marks the last
    run of instruction ``pc``.
    """
    return data.StructLayout(
        {
            "addr": unsigned(config.addr_bits + 1),
            "beats": beats,
            "last": unsigned(1),
            "pc": unsigned(32),
        }
    )


def burst_layout(config: Config) -> data.StructLayout:
    """One burst of ``count`` beats from byte address ``addr``; ``last`` of instruction ``pc``."""
    return data.StructLayout(
        {
            "addr": unsigned(config.addr_bits),
            "count": unsigned(bits_for(config.burst_beats)),
            "last": unsigned(1),
            "pc": unsigned(32),
        }
    )


class BurstSplitter(wiring.Component):
    """Cuts runs into bursts, one a cycle.

    A burst ends at the next multiple of ``burst_beats`` beats, so it is never longer than that and
    never crosses 4 KiB. At a burst beyond the address space it raises ``overflow`` and stays there.
    """

    def __init__(self, *, config: Config, beats_bits: int):
        self._config = config
        self._beats = unsigned(beats_bits)
        super().__init__(
            {
                "runs": In(stream.Signature(run_layout(config, self._beats))),
                "bursts": Out(stream.Signature(burst_layout(config))),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, runs, bursts = self._config, self.runs, self.bursts
        shift = exact_log2(config.axi_bytes)
        addr = Signal(config.addr_bits + 1 - shift)
        left = Signal(self._beats)
        last, pc = Signal(), Signal(32)
        room = config.burst_beats - addr[: exact_log2(config.burst_beats)]
        count, ends = bursts.p.count, Signal()
        m.d.comb += [
            count.eq(Mux(left < room, left, room)),
            ends.eq(left == count),
            bursts.p.addr.eq(addr[:-1] << shift),
            bursts.p.last.eq(last & ends),
            bursts.p.pc.eq(pc),
            bursts.valid.eq((left != 0) & ~addr[-1]),
            self.overflow.eq((left != 0) & addr[-1]),
            runs.ready.eq((left == 0) | (bursts.valid & bursts.ready & ends)),
        ]
        with m.If(bursts.valid & bursts.ready):
            m.d.sync += [addr.eq(addr + count), left.eq(left - count)]
        with m.If(runs.valid & runs.ready):
            m.d.sync += [
                addr.eq(runs.p.addr >> shift),
                left.eq(runs.p.beats),
                last.eq(runs.p.last),
                pc.eq(runs.p.pc),
            ]
        return m
