"""The AXI4-Lite register block, derived from the register table."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hpu.hw import csr
from hpu.hw.axi import AxiLite, Response
from hpu.hw.config import Config
from hpu.hw.csr import Access, Register

__all__ = ["REGISTER_ADDR_BITS", "Registers", "port_name"]

REGISTER_ADDR_BITS = exact_log2(csr.SPACE_BYTES)
_CONSTANTS = ("MAGIC", "VERSION", "DIGEST_LOW", "DIGEST_HIGH")


def port_name(register: Register, bit: csr.Bit | None = None) -> str:
    """Name of the block's port for a register, or for one field of it."""
    return "_".join([register.name.lower(), *([bit.name] if bit else [])])


def _ports(register: Register) -> dict[str, wiring.Member]:
    """Read/write: its value out. Write: each command, a pulse. Read: each field or the value in."""
    if register.access is Access.READ_WRITE:
        return {port_name(register): Out(32)}
    if register.access is Access.WRITE:
        return {port_name(register, bit): Out(bit.width) for bit in register.bits}
    if register.name in _CONSTANTS:
        return {}
    if register.bits:
        return {port_name(register, bit): In(bit.width) for bit in register.bits}
    return {port_name(register): In(32)}


class Registers(wiring.Component):
    """Registers and counter snapshots on AXI4-Lite.

    One write and one read at a time. An access to an address without a register, a write to a
    read-only one and a read of a write-only one are answered with SLVERR; the write then changes
    nothing and the read gives 0. Byte strobes are honoured. Reads take two cycles, writes three.
    """

    def __init__(self, *, config: Config):
        self._config = config
        ports: dict[str, wiring.Member] = {}
        for register in csr.REGISTERS:
            ports |= _ports(register)
        counters = data.ArrayLayout(64, len(csr.COUNTERS))
        super().__init__(
            {"bus": In(AxiLite(REGISTER_ADDR_BITS)), "counters": In(counters), **ports}
        )

    def elaborate(self, platform):
        m = Module()
        self._write(m)
        self._read(m)
        return m

    def _write(self, m):
        bus = self.bus
        addr, word, strobe = Signal(REGISTER_ADDR_BITS), Signal(32), Signal(4)
        addressed, filled, acts = Signal(), Signal(), Signal()
        m.d.comb += [
            bus.awready.eq(~addressed),
            bus.wready.eq(~filled),
            acts.eq(addressed & filled & ~bus.bvalid),
        ]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [addressed.eq(1), addr.eq(bus.awaddr)]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [filled.eq(1), word.eq(bus.wdata), strobe.eq(bus.wstrb)]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(acts):
            m.d.sync += [addressed.eq(0), filled.eq(0), bus.bvalid.eq(1)]
            m.d.sync += bus.bresp.eq(Response.SLVERR)
        for register in csr.REGISTERS:
            if register.access is Access.READ:
                continue
            with m.If(acts & (addr[2:] == register.address >> 2)):
                m.d.sync += bus.bresp.eq(Response.OKAY)
                self._set(m, register, word, strobe)

    def _set(self, m, register, word, strobe):
        if register.access is Access.READ_WRITE:
            value = getattr(self, port_name(register))
            for k in range(4):
                with m.If(strobe[k]):
                    m.d.sync += value.word_select(k, 8).eq(
                        word.word_select(k, 8) & _mask(register, k)
                    )
            return
        for bit in register.bits:
            field = word[bit.low : bit.low + bit.width]
            with m.If(strobe[bit.low // 8]):
                m.d.comb += getattr(self, port_name(register, bit)).eq(field)

    def _read(self, m):
        bus = self.bus
        addr, asked = Signal(REGISTER_ADDR_BITS), Signal()
        m.d.comb += bus.arready.eq(~asked & ~bus.rvalid)
        with m.If(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [asked.eq(1), addr.eq(bus.araddr)]
        with m.If(asked):
            m.d.sync += [asked.eq(0), bus.rvalid.eq(1)]
            m.d.sync += [bus.rdata.eq(0), bus.rresp.eq(Response.SLVERR)]
            with m.Switch(addr[2:]):
                for address, value in self._words():
                    with m.Case(address >> 2):
                        m.d.sync += [bus.rdata.eq(value), bus.rresp.eq(Response.OKAY)]

    def _words(self) -> list[tuple[int, Value]]:
        """Every readable word with its byte address."""
        words = [
            (register.address, self._value(register))
            for register in csr.REGISTERS
            if register.access is not Access.WRITE
        ]
        for index, counter in enumerate(csr.COUNTERS):
            base, value = csr.counter_address(counter.name), self.counters[index]
            words += [(base, value[:32]), (base + 4, value[32:])]
        return words

    def _value(self, register: Register) -> Value:
        digest = int.from_bytes(self._config.digest()[:8], "little")
        constants = (csr.MAGIC, csr.VERSION, digest & 0xFFFFFFFF, digest >> 32)
        if register.name in _CONSTANTS:
            return Const(constants[_CONSTANTS.index(register.name)], 32)
        if register.access is Access.READ_WRITE or not register.bits:
            return getattr(self, port_name(register))
        return _fields({bit: getattr(self, port_name(register, bit)) for bit in register.bits})


def _fields(fields: dict[csr.Bit, Value]) -> Value:
    """A register's word from its fields, zero between them."""
    parts, place = [], 0
    for bit, signal in sorted(fields.items(), key=lambda item: item[0].low):
        parts += [Const(0, bit.low - place), signal]
        place = bit.low + bit.width
    return Cat(*parts)


def _mask(register: Register, byte: int) -> int:
    """Bits of byte ``byte`` that the register has."""
    if not register.bits:
        return 0xFF
    mask = sum(((1 << bit.width) - 1) << bit.low for bit in register.bits)
    return (mask >> (8 * byte)) & 0xFF
