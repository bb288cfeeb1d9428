"""The whole machine: small programs and every fault, against the functional machine."""

import logging

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam
from dma_common import Memory, reset, setup

from hpu.hw import csr
from hpu.hw.assembler import assemble
from hpu.hw.csr import FaultCause
from hpu.hw.isa import INSTRUCTION_BYTES
from hpu.sim.functional import Machine

_SIZE = 1 << 16
_PROGRAM = 0x7200

#: 16 pixels of one word: two layers of weights, a residual add and a table, over both halves.
_PIPELINE = """
LOAD signal=vector n_count=1 y_count=1 x_count=8 dram=0x400 space=PARAM width=4 copies=1 \
 d_base=8 d_x=1
LOAD signal=vector n_count=1 y_count=1 x_count=256 dram=0x1000 space=TABLE width=4 copies=1 d_x=1
LOAD signal=matrix n_count=1 y_count=1 x_count=16 dram=0x3000 space=UB width=4 copies=1 d_x=1
WEIGHTS dram=0x4000 rows=16 width=4
WEIGHTS dram=0x4200 rows=9 width=3
MATMUL wait=load signal=vector n_count=1 y_count=4 x_count=4 a_y=4 a_x=1 y_step=1 x_step=1 \
 image_rows=4 image_cols=4 taps=1 tap_groups=4 new_weights=1
MATMUL signal=vector n_count=1 y_count=4 x_count=4 a_y=4 a_x=1 y_step=1 x_step=1 y0=-1 x0=-1 \
 image_rows=4 image_cols=4 taps=3 tap_groups=1 tap_y=4 tap_x=1 dy1=1 dx1=2 dx2=-1 pad=-7 \
 new_weights=1 acc=64
VECTOR wait=load+matrix signal=store source=ACC requantise=1 n_count=1 y_count=1 x_count=16 \
 ky_count=1 kx_count=1 image_rows=1 image_cols=1 d_base=100 d_x=1 d_width=4 d_copies=1 params=1 \
 low=-128 high=127
VECTOR wait=load+matrix signal=store source=ACC a_base=64 operand=ADD use_table=1 n_count=1 \
 y_count=1 x_count=16 ky_count=1 kx_count=1 image_rows=1 image_cols=1 b_base=100 b_x=1 d_base=200 \
 d_x=1 d_width=2 d_copies=2 low=-100 high=100 shift=9 s_mult=300 b_mult=400 out_zero=3
STORE wait=vector n_count=1 y_count=1 x_count=16 dram=0x6000 width=4 a_base=100 a_x=1
STORE wait=vector n_count=2 y_count=2 x_count=4 dram=0x6400 dram_n=0x100 dram_y=0x40 width=3 \
 group=1 a_base=200 a_n=8 a_y=4 a_x=1
"""
_LOAD = "LOAD n_count=1 y_count=1 x_count=4 width=4 copies=1 d_x=1 space=UB"
_STORE = "STORE n_count=1 y_count=1 x_count=4 width=4 a_x=1"
_MATMUL = (
    "MATMUL n_count=1 y_count=1 x_count=8 a_x=1 image_rows=1 image_cols=8 x_step=1 "
    "taps=1 tap_groups=1"
)
_VECTOR = (
    "VECTOR n_count=1 y_count=1 x_count=8 ky_count=1 kx_count=1 image_rows=1 image_cols=8 "
    "x_step=1 d_x=1 a_x=1 d_width=1 d_copies=1 low=-128 high=127"
)
#: Name → text, cause and index at fault; what the memory does is chosen by the name's beginning.
_FAULTS = {
    "load address": (f"{_LOAD}\n{_LOAD} d_base=1022", FaultCause.ADDRESS, 1),
    "load param": (
        f"{_LOAD}\n{_LOAD}".replace("UB", "PARAM") + " d_base=125",
        FaultCause.ADDRESS,
        1,
    ),
    "load table": (f"{_LOAD} d_base=509".replace("UB", "TABLE"), FaultCause.ADDRESS, 0),
    "load wraps": (f"{_LOAD} d_base=1 d_n=0".replace("d_x=1", "d_x=-1"), FaultCause.ADDRESS, 0),
    "matmul address": (f"{_LOAD}\n{_MATMUL} a_base=1020", FaultCause.ADDRESS, 1),
    "matmul accumulator": (f"{_MATMUL} acc=121", FaultCause.ADDRESS, 0),
    "vector source": (f"{_VECTOR} source=UB a_base=1020", FaultCause.ADDRESS, 0),
    "vector operand": (f"{_VECTOR} operand=ADD b_base=1024", FaultCause.ADDRESS, 0),
    "vector destination": (f"{_VECTOR} d_base=1017", FaultCause.ADDRESS, 0),
    "vector accumulator": (f"{_LOAD}\n{_VECTOR} a_base=121", FaultCause.ADDRESS, 1),
    "store address": (f"{_LOAD}\n{_STORE} dram=0x7000 a_base=1021", FaultCause.ADDRESS, 1),
    "slverr load": (f"{_LOAD}\n{_LOAD} dram=0x7000", FaultCause.AXI, 1),
    "slverr weights": (f"{_LOAD}\nWEIGHTS dram=0x7000 rows=4 width=1", FaultCause.AXI, 1),
    "slverr store": (f"{_LOAD}\n{_LOAD}\n{_STORE} dram=0x7000", FaultCause.AXI, 2),
    "decerr load": (f"{_LOAD} dram=0x10000", FaultCause.AXI, 0),
    "decerr store": (f"{_STORE} dram=0x10000", FaultCause.AXI, 0),
    "decerr beyond": (f"{_STORE} dram=0xfffffff8".replace("width=4", "width=1"), FaultCause.AXI, 0),
    "deadlock": (f"{_LOAD}\n{_STORE} wait=vector\n{_VECTOR} wait=store", FaultCause.DEADLOCK, 1),
    "deadlock full": ("\n".join([f"{_LOAD} wait=store"] * 20), FaultCause.DEADLOCK, 0),
    "overflow": (
        f"{_LOAD}\n" + "\n".join([f"{_LOAD} signal=store"] * 256),
        FaultCause.TOKEN_OVERFLOW,
        256,
    ),
}


class Host:
    """The registers behind AXI4-Lite."""

    def __init__(self, dut):
        self._bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil_"), dut.clk, dut.rst)
        self._dut = dut
        for side in (self._bus.read_if, self._bus.write_if):
            side.log.setLevel(logging.WARNING)

    async def read(self, name: str) -> int:
        return await self._bus.read_dword(csr.address(name))

    async def write(self, name: str, value: int) -> None:
        await self._bus.write_dword(csr.address(name), value)

    async def run(self, count: int, address: int = _PROGRAM, watchdog: int = 0) -> None:
        """Start a program and wait for the interrupt."""
        await self.write("IRQ_ENABLE", 1)
        await self.write("PROGRAM_LOW", address & 0xFFFFFFFF)
        await self.write("PROGRAM_HIGH", address >> 32)
        await self.write("PROGRAM_COUNT", count)
        await self.write("WATCHDOG", watchdog)
        await self.write("CONTROL", csr.pack("CONTROL", start=1, clear_irq=1))
        for _ in range(60_000):
            await RisingEdge(self._dut.clk)
            if int(self._dut.irq.value):
                return
        raise AssertionError(f"no interrupt; STATUS {await self.read('STATUS'):#x}")

    async def outcome(self) -> tuple[FaultCause, int]:
        status = csr.bits("STATUS", await self.read("STATUS"))
        assert status["irq"] and not status["busy"] and status["done"] + status["fault"] == 1
        cause = FaultCause(await self.read("FAULT_CAUSE"))
        assert status["fault"] == (cause != FaultCause.NONE)
        return cause, await self.read("FAULT_PC")

    async def counters(self) -> dict[str, int]:
        await self.write("CONTROL", csr.pack("CONTROL", snapshot=1))
        values = {}
        for counter in csr.COUNTERS:
            base = csr.counter_address(counter.name)
            values[counter.name] = await self._bus.read_qword(base)
        return values


def _image(rng, config, text: str) -> tuple[bytearray, int]:
    """DRAM with random data, sensible parameters, and the program; and its instructions."""
    dram = bytearray(rng.randbytes(_SIZE))
    for column in range(config.cols):
        record = rng.randrange(-500, 500).to_bytes(4, "little", signed=True)
        record += rng.randrange(1 << 23, 1 << 24).to_bytes(3, "little") + bytes([31])
        for k in range(8):
            dram[0x400 + k * config.lanes + column] = record[k]
    program = assemble(text, config)
    dram[_PROGRAM : _PROGRAM + len(program)] = program
    return dram, len(program) // INSTRUCTION_BYTES


def _expected(config, dram: bytearray, count: int):
    machine = Machine(config, _SIZE)
    machine.dram[:] = np.frombuffer(bytes(dram), np.uint8)
    return machine, machine.run(_PROGRAM, count)


@cocotb.test()
async def pipeline(dut):
    """LOAD, WEIGHTS, MATMUL, VECTOR and STORE with tokens: every byte and every counter."""
    config, rng, _idle, backpressure = setup()
    ram = AxiRam(AxiBus.from_prefix(dut, "m_axi_"), dut.clk, dut.rst, size=_SIZE)
    host = Host(dut)
    for side in (ram.read_if, ram.write_if):
        side.log.setLevel(logging.WARNING)
    channels = (ram.read_if.ar_channel, ram.read_if.r_channel, ram.write_if.aw_channel)
    for channel in (*channels, ram.write_if.w_channel, ram.write_if.b_channel):
        channel.set_pause_generator(iter(lambda: rng.random() < backpressure, None))
    await reset(dut)
    for _ in range(3):
        dram, count = _image(rng, config, _PIPELINE)
        machine, outcome = _expected(config, dram, count)
        ram.write(0, bytes(dram))
        before = await host.counters()
        await host.run(count)
        assert await host.outcome() == (outcome.cause, outcome.pc) == (FaultCause.NONE, 0)
        after = await host.counters()
        assert ram.read(0, _SIZE) == machine.dram.tobytes()
        gained = {name: after[name] - before[name] for name in after}
        for name in csr.FUNCTIONAL_COUNTERS:
            assert gained[name] == outcome.counters[name], name
        assert sum(gained[c.name] for c in csr.MATRIX_CAUSES) == gained["CYCLES"]
        assert gained["READ_BEATS"] > 0 and gained["WRITE_BEATS"] > 0


async def _machine(dut):
    config, rng, _idle, backpressure = setup()
    memory = Memory(dut, config, rng, backpressure)
    host = Host(dut)
    await reset(dut)
    cocotb.start_soon(memory.serve_reads())
    cocotb.start_soon(memory.serve_writes())
    return config, rng, memory, host


async def _good_run(config, rng, memory, host) -> None:
    """The machine works as if nothing had happened."""
    memory.bad = range(0)
    memory.bytes[:], count = _image(rng, config, _PIPELINE)
    machine, _ = _expected(config, memory.bytes, count)
    await host.run(count)
    assert await host.outcome() == (FaultCause.NONE, 0)
    assert bytes(memory.bytes) == machine.dram.tobytes()


@cocotb.test()
async def faults(dut):
    """Every fault stops the machine with its cause and index; the next program runs."""
    config, rng, memory, host = await _machine(dut)
    for name, (text, cause, pc) in _FAULTS.items():
        cocotb.log.info("%s", name)
        memory.bytes[:], count = _image(rng, config, text)
        memory.response = 2
        memory.bad = range(0x7000, 0x7100) if name.startswith("slverr") else range(0)
        before = bytes(memory.bytes[:0x6000])
        await host.run(count)
        assert await host.outcome() == (cause, pc), name
        assert bytes(memory.bytes[:0x6000]) == before, f"{name}: wrote where no STORE was"
        if "slverr" not in name:
            assert _expected(config, memory.bytes, count)[1].cause == cause, name
        await _good_run(config, rng, memory, host)


@cocotb.test()
async def illegal_instructions(dut):
    """One wrong bit or field is found in its turn; earlier instructions were dispatched."""
    config, rng, memory, host = await _machine(dut)
    for place, value in ((0, 0), (0, 6), (1, 0x20), (3, 1), (127, 0x80), (32, 3), (33, 0), (33, 5)):
        memory.bytes[:], count = _image(rng, config, "\n".join([_LOAD] * 5))
        memory.bytes[_PROGRAM + 3 * INSTRUCTION_BYTES + place] = value
        before = await host.counters()
        await host.run(count)
        assert await host.outcome() == (FaultCause.ILLEGAL_INSTRUCTION, 3), (place, value)
        after = await host.counters()
        assert after["LOAD_COUNT"] - before["LOAD_COUNT"] <= 3
    await _good_run(config, rng, memory, host)


@cocotb.test()
async def fetch_errors(dut):
    """A program that lies in bad memory, at its middle or as a whole."""
    config, rng, memory, host = await _machine(dut)
    memory.bytes[:], count = _image(rng, config, "\n".join([_LOAD] * 6))
    start = _PROGRAM + 4 * INSTRUCTION_BYTES + 32
    memory.bad, memory.response = range(start, start + 8), 2
    await host.run(count)
    assert await host.outcome() == (FaultCause.AXI, 4)
    memory.bad = range(0)
    for address, pc in ((_SIZE, 0), (_SIZE - INSTRUCTION_BYTES, 1), (1 << config.addr_bits, 0)):
        memory.bytes[-INSTRUCTION_BYTES:] = memory.bytes[_PROGRAM : _PROGRAM + INSTRUCTION_BYTES]
        await host.run(3, address=address)
        assert await host.outcome() == (FaultCause.AXI, pc), hex(address)
    await _good_run(config, rng, memory, host)


@cocotb.test()
async def watchdog(dut):
    """A program that is too slow stops with the next instruction to dispatch."""
    config, rng, memory, host = await _machine(dut)
    memory.bytes[:], count = _image(
        rng, config, _LOAD.replace("x_count=4", "x_count=4000").replace("d_x=1", "d_x=0")
    )
    await host.run(count, watchdog=1)
    assert await host.outcome() == (FaultCause.WATCHDOG, 1)
    await host.run(count, watchdog=20)
    assert await host.outcome() == (FaultCause.NONE, 0)
    await _good_run(config, rng, memory, host)


@cocotb.test()
async def starting(dut):
    """An empty program ends at once; start is ignored while busy; the interrupt obeys."""
    config, rng, memory, host = await _machine(dut)
    memory.bytes[:], count = _image(rng, config, _PIPELINE)
    await host.run(0)
    assert await host.outcome() == (FaultCause.NONE, 0)
    await host.write("CONTROL", csr.pack("CONTROL", clear_irq=1))
    assert not int(dut.irq.value)
    await host.write("IRQ_ENABLE", 0)
    await host.write("PROGRAM_COUNT", count)
    await host.write("PROGRAM_LOW", _PROGRAM)
    before = await host.counters()
    await host.write("CONTROL", csr.pack("CONTROL", start=1))
    await host.write("PROGRAM_COUNT", 1)
    await host.write("CONTROL", csr.pack("CONTROL", start=1))
    while csr.bits("STATUS", await host.read("STATUS"))["busy"]:
        pass
    assert csr.bits("STATUS", await host.read("STATUS")) == {
        "busy": 0,
        "done": 1,
        "fault": 0,
        "irq": 0,
    }
    after = await host.counters()
    assert after["LOAD_COUNT"] - before["LOAD_COUNT"] == 3
    assert after["STORE_COUNT"] - before["STORE_COUNT"] == 2
