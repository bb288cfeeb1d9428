"""One access of one beat, of the memory or of a register, for a link's requests."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hpu.hw.axi import Axi4, AxiLite
from hpu.hw.config import Config
from hpu.hw.registers import REGISTER_ADDR_BITS

__all__ = ["BeatAccess"]


class BeatAccess(wiring.Component):
    """Makes one access when ``start`` is high, and is ``done`` for one cycle at its end.

    ``is_register``, ``addr`` (of any byte of the beat), ``w_data`` and ``w_strobe`` must stand
    from ``start`` to ``done``; ``r_data`` and ``response`` are valid with ``done``. A register is
    the lowest four bytes of a beat.
    """

    def __init__(self, *, config: Config):
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "is_write": In(1),
                "is_register": In(1),
                "addr": In(config.addr_bits),
                "w_data": In(8 * config.axi_bytes),
                "w_strobe": In(config.axi_bytes),
                "done": Out(1),
                "r_data": Out(8 * config.axi_bytes),
                "response": Out(2),
                "memory": Out(Axi4(config)),
                "registers": Out(AxiLite(REGISTER_ADDR_BITS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._address(m)
        aw, w, b, ar, r = (Signal(name=name) for name in ("aw", "w", "b", "ar", "r"))
        with m.If(self.start):
            m.d.sync += [flag.eq(self.is_write) for flag in (aw, w, b)]
            m.d.sync += [flag.eq(~self.is_write) for flag in (ar, r)]
        for here, port in ((~self.is_register, self.memory), (self.is_register, self.registers)):
            self._write(m, here, port, aw, w, b)
            self._read(m, here, port, ar, r)
        return m

    def _address(self, m):
        shift = exact_log2(self._config.axi_bytes)
        register = self.addr[2:REGISTER_ADDR_BITS] << 2
        for name in ("awaddr", "araddr"):
            m.d.comb += getattr(self.memory, name).eq(self.addr[shift:] << shift)
            m.d.comb += getattr(self.registers, name).eq(register)
        m.d.comb += self.memory.wlast.eq(1)

    def _write(self, m, here, port, aw, w, b):
        """Address and data go each as soon as they are taken; the response ends the access."""
        m.d.comb += [
            port.awvalid.eq(here & aw),
            port.wvalid.eq(here & w),
            port.wdata.eq(self.w_data),
            port.wstrb.eq(self.w_strobe),
            port.bready.eq(here & b),
        ]
        for flag, valid, ready in ((aw, port.awvalid, port.awready), (w, port.wvalid, port.wready)):
            with m.If(valid & ready):
                m.d.sync += flag.eq(0)
        with m.If(port.bvalid & port.bready):
            m.d.sync += b.eq(0)
            m.d.comb += [self.done.eq(1), self.response.eq(port.bresp)]

    def _read(self, m, here, port, ar, r):
        m.d.comb += [port.arvalid.eq(here & ar), port.rready.eq(here & r)]
        with m.If(port.arvalid & port.arready):
            m.d.sync += ar.eq(0)
        with m.If(here):
            m.d.comb += self.r_data.eq(port.rdata)
        with m.If(port.rvalid & port.rready):
            m.d.sync += r.eq(0)
            m.d.comb += [self.done.eq(1), self.response.eq(port.rresp)]
