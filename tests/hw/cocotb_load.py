"""LOAD against a loop over rows and chunks."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from dma_common import Bus, Driver, Memory, dram_rows, random_dram, reset, setup

from hpu.hw.csr import FaultCause
from hpu.hw.isa import Space

_MASK = (1 << 24) - 1


def _signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


class Twin:
    """The three memories that LOAD writes, written by a naive loop."""

    def __init__(self, config):
        self.config = config
        self.spaces = {
            Space.UB: np.zeros((config.ub_depth, config.lanes), np.uint8),
            Space.PARAM: np.zeros((8 * config.param_sets, config.cols), np.uint8),
            Space.TABLE: np.zeros((256 * config.tables, config.cols), np.uint8),
        }
        self.writes = [0]

    def run(self, dram: bytes, v: dict[str, int]) -> None:
        memory, size = self.spaces[Space(v["space"])], self.config.group
        rows = 0
        for n, y, x, address in dram_rows(self.config, v):
            word = (v["d_base"] + n * v["d_n"] + y * v["d_y"] + x * v["d_x"]) & _MASK
            for copy in range(v["copies"]):
                for chunk in range(v["width"]):
                    lane = (v["group"] + copy * v["width"] + chunk) * size
                    if lane < memory.shape[1]:
                        data = dram[address + chunk * size : address + (chunk + 1) * size]
                        memory[word, lane : lane + size] = list(data)
            rows += 1
        self.writes.append(self.writes[-1] + rows)


class Sink:
    """Takes the unit's writes, with backpressure on the unified buffer's port."""

    def __init__(self, dut, config, rng, backpressure):
        self.twin, self.count, self.rows = Twin(config), 0, 0
        self._ub, self._load, self._dut = Bus(dut, "ub_write__"), Bus(dut, "load__"), dut
        self._config, self._rng, self._pause = config, rng, backpressure

    async def run(self):
        self._ub.set("ready", 0)
        while True:
            await RisingEdge(self._dut.clk)
            self.rows += int(self._dut.row.value)
            if self._ub.get("valid") and self._ub.get("ready"):
                self._write(Space.UB, self._ub)
            if self._load.get("valid"):
                self._write(Space.TABLE if self._load.get("table") else Space.PARAM, self._load)
            self._ub.set("ready", int(self._rng.random() >= self._pause))

    def _write(self, space, port):
        memory, size = self.twin.spaces[space], self._config.group
        data = port.get("data").to_bytes(memory.shape[1], "little")
        mask, word = port.get("mask"), port.get("addr")
        for k in range(memory.shape[1] // size):
            if mask >> k & 1:
                memory[word, k * size : (k + 1) * size] = list(data[k * size : (k + 1) * size])
        self.count += 1


def _random(config, rng, room: int) -> dict[str, int]:
    v = {"n_count": rng.randint(1, 3), "y_count": rng.randint(1, 3), "x_count": rng.randint(1, 9)}
    v["width"] = rng.randint(1, config.groups)
    v["group"] = rng.randint(0, config.groups - v["width"])
    v["copies"] = rng.randint(1, (config.groups - v["group"]) // v["width"])
    random_dram(config, rng, v, room)
    v["space"] = rng.choice(list(Space))
    depth = {Space.UB: config.ub_depth, Space.PARAM: 8 * config.param_sets}.get(
        v["space"], 256 * config.tables
    )
    steps = {axis: rng.randint(-4, 4) for axis in "nyx"}
    spans = [steps[axis] * (v[f"{axis}_count"] - 1) for axis in "nyx"]
    low, high = sum(min(0, s) for s in spans), sum(max(0, s) for s in spans)
    v["d_base"] = rng.randrange(-low, depth - high)
    v.update({f"d_{axis}": step for axis, step in steps.items()})
    return v


async def _start(dut):
    config, rng, idle, backpressure = setup()
    memory = Memory(dut, config, rng, backpressure)
    driver = Driver(dut, "LOAD", rng, idle)
    sink = Sink(dut, config, rng, backpressure)
    await reset(dut)
    for task in (memory.serve_reads(), sink.run()):
        cocotb.start_soon(task)
    return config, rng, memory, driver, sink


@cocotb.test()
async def random_instructions(dut):
    """Every byte of every memory, and ``done`` not before the last write."""
    config, rng, memory, driver, sink = await _start(dut)
    twin = Twin(config)
    program = [_random(config, rng, len(memory.bytes)) for _ in range(60)]
    for values in program:
        twin.run(bytes(memory.bytes), values)

    def on_done(count):
        assert sink.count >= twin.writes[count], f"done {count} before its last write"

    cocotb.start_soon(driver.watch(on_done))
    await driver.give(program)
    await driver.until(lambda: driver.done == len(program))
    assert sink.rows == sink.count == twin.writes[-1]
    for space, expected in twin.spaces.items():
        np.testing.assert_array_equal(sink.twin.spaces[space], expected, err_msg=space.name)
    await RisingEdge(dut.clk)
    assert not driver.faults and not int(dut.unit__busy.value)


@cocotb.test()
async def faults_and_recovery(dut):
    """A fault stops the unit with its cause and index; then it works again."""
    config, rng, memory, driver, sink = await _start(dut)
    cocotb.start_soon(driver.watch())
    for kind in ("address", "slverr", "overflow", "address", "decerr"):
        good = [_random(config, rng, len(memory.bytes)) for _ in range(3)]
        bad = _random(config, rng, len(memory.bytes))
        cause = FaultCause.AXI
        if kind == "address":
            bad["space"], cause = rng.choice(list(Space)), FaultCause.ADDRESS
            limits = (config.ub_depth, 8 * config.param_sets, 256 * config.tables)
            bad["d_base"], bad["d_n"] = limits[bad["space"]] - 1, 1
            bad["d_y"], bad["d_x"] = 1, 1
            bad["n_count"] = 2
            random_dram(config, rng, bad, len(memory.bytes))
        elif kind == "overflow":
            bad["dram"] = (1 << config.addr_bits) - config.axi_bytes
            bad["n_count"], bad["dram_n"] = 3, 4096
            bad["d_base"], bad["d_n"], bad["d_y"], bad["d_x"] = 9, 0, 0, 0
        else:
            memory.response = 2 if kind == "slverr" else 3
            bad["dram"] = MEMORY_TOP = len(memory.bytes) + 4096
            memory.bad = range(MEMORY_TOP, MEMORY_TOP + (1 << 20))
        cocotb.log.info("%s: %s", kind, bad)
        task = cocotb.start_soon(driver.give([*good, bad, *good], first_pc=100))
        await driver.until(lambda: bool(driver.faults))
        assert driver.faults[0] == (cause, 103), (kind, driver.faults[0])
        assert driver.done == 3, driver.done
        before = sink.count
        for _ in range(50):
            await RisingEdge(dut.clk)
        assert sink.count == before, "writes after a fault"
        task.cancel()
        await driver.stop()
        memory.bad = range(0)
        await driver.give(good)
        await driver.until(lambda: driver.done == 3)
        assert not driver.faults
        driver.done = 0


@cocotb.test()
async def streams_at_full_rate(dut):
    """A beat every cycle across instruction boundaries: bursts cover the latency."""
    config, _rng, memory, driver, sink = await _start(dut)
    cocotb.start_soon(driver.watch())
    sink._pause = memory._pause = 0.0
    word = config.pitch_chunks(config.groups) * config.group
    values = {
        **dict(n_count=1, y_count=1, x_count=32, dram=0, dram_n=0, dram_y=0, space=0),
        **dict(width=config.groups, group=0, copies=1, d_base=0, d_n=0, d_y=0, d_x=1),
    }
    program = [{**values, "dram": 32 * word * k} for k in range(24)]
    cocotb.start_soon(driver.give(program))
    await driver.until(lambda: driver.done == 4)
    cycles = 0
    while driver.done < 24:
        await RisingEdge(dut.clk)
        cycles += 1
    beats = 20 * 32 * word // config.axi_bytes
    cocotb.log.info("%d beats in %d cycles", beats, cycles)
    assert cycles <= 1.1 * beats, f"{beats} beats took {cycles} cycles"
