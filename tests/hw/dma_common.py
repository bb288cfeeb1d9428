"""Shared by cocotb tests: a memory behind AXI4, a buffer, and a driver of instructions."""

import random
from collections import deque

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hpu.hw.config import Config
from hpu.hw.isa import BY_NAME
from hpu.hw.ports import UB_READ_LATENCY, instruction_layout
from hpu.sim.testbench import parameters

MEMORY_BYTES = 1 << 16


def setup() -> tuple[Config, random.Random, float, float]:
    """Configuration, random numbers, and the chances of idle and of backpressure in a cycle."""
    values = parameters()
    rng = random.Random(values["seed"])
    cocotb.log.info("seed %s", values["seed"])
    return Config(**values["config"]), rng, values["idle"], values["backpressure"]


async def reset(dut) -> None:
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.rst.value = 1
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0


def encode(name: str, values: dict[str, int], pc: int) -> int:
    """An instruction as a unit takes it, as an integer."""
    return instruction_layout(BY_NAME[name]).const({"pc": pc, **values}).as_bits()


class Bus:
    """The signals of a dut whose names begin with ``prefix``."""

    def __init__(self, dut, prefix: str):
        self._dut, self._prefix = dut, prefix

    def get(self, name: str) -> int:
        return int(getattr(self._dut, self._prefix + name).value)

    def set(self, name: str, value: int) -> None:
        getattr(self._dut, self._prefix + name).value = value


class Memory:
    """DRAM behind an AXI4 port, with latency, pauses, out-of-order answers over IDs, and errors.

    Every burst is checked: aligned, incrementing, not too long, not across 4 KiB, and stable until
    it is accepted.
    """

    def __init__(self, dut, config: Config, rng: random.Random, pause: float = 0.0):
        self.bytes = bytearray(rng.randbytes(MEMORY_BYTES))
        self.bad: range = range(0)  # addresses answered with ``response``
        self.response = 2
        self.latency = config.dram_latency
        self.reads = self.writes = self.beats_read = 0
        self._bus, self._config, self._rng, self._pause = Bus(dut, "m_axi__"), config, rng, pause
        self._clk = dut.clk

    def _burst(self, kind: str) -> tuple[int, int, int]:
        bus, config = self._bus, self._config
        addr, beats = bus.get(f"{kind}addr"), bus.get(f"{kind}len") + 1
        assert addr % config.axi_bytes == 0 and bus.get(f"{kind}burst") == 1
        assert 1 << bus.get(f"{kind}size") == config.axi_bytes
        assert beats <= config.burst_beats
        assert addr // 4096 == (addr + beats * config.axi_bytes - 1) // 4096, "crosses 4 KiB"
        return bus.get(f"{kind}id"), addr, beats

    def _answer(self, addr: int) -> int:
        return self.response if addr in self.bad else 0 if addr < len(self.bytes) else 3

    def _goes(self) -> bool:
        return self._rng.random() >= self._pause

    async def serve_reads(self) -> None:
        bus, step = self._bus, self._config.axi_bytes
        waiting: dict[int, deque] = {}
        offered = held = None
        cycle = 0
        bus.set("arready", 0)
        bus.set("rvalid", 0)
        while True:
            await RisingEdge(self._clk)
            cycle += 1
            held = self._stable("ar", held)
            if bus.get("arvalid") and bus.get("arready"):
                ident, addr, beats = self._burst("ar")
                self.reads += 1
                queue = waiting.setdefault(ident, deque())
                due = cycle + self.latency
                queue.extend((due, addr + k * step, k == beats - 1) for k in range(beats))
            if offered is not None and bus.get("rready"):
                offered = None
                self.beats_read += 1
            bus.set("arready", int(self._goes()))
            ready = [i for i, queue in waiting.items() if queue and queue[0][0] <= cycle]
            if offered is None and ready and self._goes():
                ident = self._rng.choice(ready)
                _, addr, last = offered = waiting[ident].popleft()
                data = self.bytes[addr : addr + step].ljust(step, b"\xee")
                bus.set("rid", ident)
                bus.set("rdata", int.from_bytes(data, "little"))
                bus.set("rresp", self._answer(addr))
                bus.set("rlast", int(last))
            bus.set("rvalid", int(offered is not None))

    def _stable(self, kind: str, held):
        """A waiting address must not change or go away."""
        bus = self._bus
        now = self._burst(kind) if bus.get(f"{kind}valid") else None
        assert held is None or held == now, f"{kind} changed from {held} to {now}"
        return None if bus.get(f"{kind}ready") else now

    async def serve_writes(self) -> None:
        bus, step = self._bus, self._config.axi_bytes
        bursts, answers = deque(), deque()
        offered, held = False, None
        cycle = 0
        for name in ("awready", "wready", "bvalid"):
            bus.set(name, 0)
        while True:
            await RisingEdge(self._clk)
            cycle += 1
            held = self._stable("aw", held)
            if bus.get("awvalid") and bus.get("awready"):
                _, addr, beats = self._burst("aw")
                bursts.append([addr, beats, 0])
                self.writes += 1
            if bus.get("wvalid") and bus.get("wready"):
                addr, left, code = bursts[0]
                self._write(addr)
                assert bus.get("wlast") == (left == 1)
                bursts[0] = [addr + step, left - 1, code or self._answer(addr)]
                if left == 1:
                    answers.append((cycle + self.latency, bursts.popleft()[2]))
            if offered and bus.get("bready"):
                offered = False
            bus.set("awready", int(self._goes()))
            bus.set("wready", int(bool(bursts) and self._goes()))
            if not offered and answers and answers[0][0] <= cycle and self._goes():
                bus.set("bresp", answers.popleft()[1])
                offered = True
            bus.set("bvalid", int(offered))

    def _write(self, addr: int) -> None:
        bus, step = self._bus, self._config.axi_bytes
        data, strobe = bus.get("wdata").to_bytes(step, "little"), bus.get("wstrb")
        if self._answer(addr) == 0:
            for k in range(step):
                if strobe >> k & 1:
                    self.bytes[addr + k] = data[k]


class Buffer:
    """A read port of the unified buffer: data ``UB_READ_LATENCY`` cycles after acceptance."""

    def __init__(self, dut, config, rng: random.Random, pause: float):
        shape = (config.ub_depth, config.lanes)
        self.words = np.frombuffer(rng.randbytes(shape[0] * shape[1]), np.uint8).reshape(shape)
        self.reads = self.rows = 0
        self._bus, self._dut, self._rng, self._pause = Bus(dut, "ub_read__"), dut, rng, pause
        self._noise = config.lanes

    async def run(self):
        bus, pipe = self._bus, deque([None] * (UB_READ_LATENCY - 1))
        bus.set("ready", 0)
        while True:
            await RisingEdge(self._dut.clk)
            self.rows += int(self._dut.row.value)
            taken = bus.get("valid") and bus.get("ready")
            pipe.append(bus.get("addr") if taken else None)
            self.reads += bool(taken)
            word = pipe.popleft()
            data = self._rng.randbytes(self._noise) if word is None else self.words[word].tobytes()
            bus.set("data", int.from_bytes(data, "little"))
            bus.set("ready", int(self._rng.random() >= self._pause))


class Driver:
    """Gives instructions to a unit, with idle cycles between, and counts what is done."""

    def __init__(self, dut, name: str, rng: random.Random, idle: float):
        self.name, self.done, self.faults = name, 0, []
        self._bus, self._clk, self._rng, self._idle = Bus(dut, "unit__"), dut.clk, rng, idle
        self._bus.set("instr__valid", 0)
        self._bus.set("stop", 0)

    async def give(self, instructions: list[dict[str, int]], first_pc: int = 0) -> None:
        bus = self._bus
        for pc, values in enumerate(instructions, first_pc):
            while self._rng.random() < self._idle:
                await RisingEdge(self._clk)
            bus.set("instr__payload", encode(self.name, values, pc))
            bus.set("instr__valid", 1)
            await RisingEdge(self._clk)
            while not bus.get("instr__ready"):
                await RisingEdge(self._clk)
            bus.set("instr__valid", 0)

    async def watch(self, on_done=lambda count: None) -> None:
        """Count ``done`` and collect faults as (cause, pc)."""
        while True:
            await RisingEdge(self._clk)
            if self._bus.get("done"):
                self.done += 1
                on_done(self.done)
            fault = self._bus.get("fault")
            if fault & 1:
                self.faults.append(((fault >> 1) & 7, fault >> 4))

    async def until(self, condition, cycles: int = 20_000) -> None:
        for _ in range(cycles):
            await RisingEdge(self._clk)
            if condition():
                return
        raise AssertionError(f"{self.name}: nothing after {cycles} cycles, {self.done} done")

    async def stop(self) -> None:
        """Hold ``stop`` until the unit is at rest."""
        self._bus.set("stop", 1)
        self._bus.set("instr__valid", 0)
        for _ in range(32):
            await RisingEdge(self._clk)
        await self.until(lambda: not self._bus.get("busy"))
        self._bus.set("stop", 0)
        self.faults.clear()
        self.done = 0


def dram_rows(config: Config, values: dict[str, int]):
    """(n, y, x, byte address) of every row of LOAD or STORE, by the contract."""
    pitch = config.pitch_chunks(values["width"]) * config.group
    for n in range(values["n_count"]):
        for y in range(values["y_count"]):
            for x in range(values["x_count"]):
                yield (
                    n,
                    y,
                    x,
                    values["dram"] + n * values["dram_n"] + y * values["dram_y"] + x * pitch,
                )


def random_dram(config: Config, rng: random.Random, values: dict[str, int], room: int) -> None:
    """Choose legal ``dram`` fields such that every row lies in ``room`` bytes."""
    pitch = config.pitch_chunks(values["width"]) * config.group
    step = min(pitch, config.axi_bytes)
    run = values["x_count"] * pitch
    values["dram_y"] = run + step * rng.randrange(4)
    values["dram_n"] = values["dram_y"] * values["y_count"] + step * rng.randrange(4)
    extent = values["n_count"] * values["dram_n"]
    values["dram"] = step * rng.randrange((room - extent) // step)
