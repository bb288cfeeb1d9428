"""The register block through AXI4-Lite, against the register table."""

import logging
import random

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp
from dma_common import reset

from hpu.hw import csr
from hpu.hw.config import Config
from hpu.hw.csr import Access
from hpu.hw.registers import port_name
from hpu.sim.testbench import parameters

_CONSTANTS = ("MAGIC", "VERSION", "DIGEST_LOW", "DIGEST_HIGH")


async def _start(dut):
    bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "bus_"), dut.clk, dut.rst)
    rng, chance = random.Random(parameters()["seed"]), parameters()["backpressure"]
    cocotb.log.info("seed %s", parameters()["seed"])
    for side in (bus.read_if, bus.write_if):
        side.log.setLevel(logging.WARNING)
    write, read = bus.write_if, bus.read_if
    for channel in (write.aw_channel, write.w_channel, write.b_channel):
        channel.set_pause_generator(iter(lambda: rng.random() < chance, None))
    for channel in (read.ar_channel, read.r_channel):
        channel.set_pause_generator(iter(lambda: rng.random() < chance, None))
    await reset(dut)
    return bus, rng


def _mask(register) -> int:
    if not register.bits:
        return 0xFFFFFFFF
    return sum(((1 << bit.width) - 1) << bit.low for bit in register.bits)


@cocotb.test()
async def read_write(dut):
    """Every read/write register keeps exactly its bits, byte by byte, and shows them."""
    bus, rng = await _start(dut)
    held = {r: 0 for r in csr.REGISTERS if r.access is Access.READ_WRITE}
    for _ in range(100):
        register = rng.choice(list(held))
        first = rng.randrange(4)
        data = rng.randbytes(rng.randint(1, 4 - first))
        answer = await bus.write(register.address + first, data)
        assert answer.resp == AxiResp.OKAY
        word = bytearray(held[register].to_bytes(4, "little"))
        word[first : first + len(data)] = data
        held[register] = int.from_bytes(word, "little") & _mask(register)
        for other, value in held.items():
            assert int(getattr(dut, port_name(other)).value) == value
        assert await bus.read_dword(register.address) == held[register]


@cocotb.test()
async def read_only(dut):
    """Constants, status fields and counters are read as they stand; writing them is refused."""
    bus, rng = await _start(dut)
    config = Config(**parameters()["config"])
    digest = config.digest()
    constants = (
        csr.MAGIC,
        csr.VERSION,
        *(int.from_bytes(digest[k : k + 4], "little") for k in (0, 4)),
    )
    for name, value in zip(_CONSTANTS, constants, strict=True):
        assert await bus.read_dword(csr.address(name)) == value
    for register in csr.REGISTERS:
        if register.access is Access.READ and register.name not in _CONSTANTS:
            expected = 0
            for bit in register.bits or (csr.Bit("", 0, 32, ""),):
                value = rng.randrange(1 << bit.width)
                name = port_name(register, bit) if register.bits else port_name(register)
                getattr(dut, name).value = value
                expected |= value << bit.low
            assert await bus.read_dword(register.address) == expected, register.name
            answer = await bus.write(register.address, b"abcd")
            assert answer.resp == AxiResp.SLVERR, register.name
    values = [rng.randrange(1 << 64) for _ in csr.COUNTERS]
    dut.counters.value = sum(value << 64 * k for k, value in enumerate(values))
    for counter, value in zip(csr.COUNTERS, values, strict=True):
        assert await bus.read_qword(csr.counter_address(counter.name)) == value, counter.name


@cocotb.test()
async def commands(dut):
    """Each command pulses for one cycle when its bit is written as 1, and only then."""
    bus, rng = await _start(dut)
    control = next(register for register in csr.REGISTERS if register.name == "CONTROL")
    pulses = {bit.name: 0 for bit in control.bits}

    async def count():
        while True:
            await RisingEdge(dut.clk)
            for bit in control.bits:
                pulses[bit.name] += int(getattr(dut, port_name(control, bit)).value)

    cocotb.start_soon(count())
    expected = dict.fromkeys(pulses, 0)
    for _ in range(40):
        word = rng.randrange(8)
        await bus.write_dword(control.address, word)
        for bit in control.bits:
            expected[bit.name] += word >> bit.low & 1
    for register in csr.REGISTERS:
        if register.access is Access.READ_WRITE:
            await bus.write_dword(register.address, 7)
    await bus.write(control.address + 1, b"\x07")
    assert pulses == expected


@cocotb.test()
async def unmapped(dut):
    """Every address without a register, and the write-only one, answer reads with SLVERR."""
    bus, _ = await _start(dut)
    readable = {r.address for r in csr.REGISTERS if r.access is not Access.WRITE}
    for counter in csr.COUNTERS:
        base = csr.counter_address(counter.name)
        readable |= {base, base + 4}
    for address in range(0, csr.SPACE_BYTES, 4):
        answer = await bus.read(address, 4)
        assert (answer.resp == AxiResp.OKAY) == (address in readable), hex(address)
