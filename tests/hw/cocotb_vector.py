"""Runs inside the simulator: the vector unit between memories of plain Python."""

import itertools
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge
from vector_twin import ENTRY, AddressError, RandomVector, Twin

from hpu.hw import isa
from hpu.hw.config import Config
from hpu.hw.csr import FaultCause
from hpu.hw.ports import ACC_READ_LATENCY, UB_READ_LATENCY, instruction_layout
from hpu.sim.races import own_race
from hpu.sim.testbench import parameters

CONFIG = Config(**parameters()["config"])
LAYOUT = instruction_layout(ENTRY)


def pack(values, bits):
    """Lane 0 in the lowest bits."""
    return sum((int(value) % (1 << bits)) << (bits * i) for i, value in enumerate(values))


def unpack(word, bits, count):
    """Signed values of ``count`` lanes."""
    half = 1 << (bits - 1)
    return [(((word >> (bits * i)) + half) % (2 * half)) - half for i in range(count)]


class ReadPort:
    """A memory's read port: random acceptance, data after a fixed time, until the next."""

    def __init__(self, bench, name, latency, bits, read):
        self.bench, self.latency, self.bits, self.read = bench, latency, bits, read
        self.port = {
            part: getattr(bench.dut, f"{name}__{part}")
            for part in ("valid", "ready", "addr", "data")
        }
        self.due = {}
        self.accepted = self.stood = 0

    def drive(self, cycle):
        self.port["ready"].value = random.random() >= self.bench.backpressure
        data = self.due.pop(cycle, None)
        if data is not None:
            self.stood, self.port["data"].value = cycle, data
        elif cycle - self.stood >= CONFIG.vector_cycles:
            self.port["data"].value = random.getrandbits(self.bits)

    def sample(self, cycle):
        if int(self.port["valid"].value) and int(self.port["ready"].value):
            self.accepted += 1
            self.due[cycle + self.latency] = self.read(int(self.port["addr"].value))


class Bench:
    """Clock, memories and checks; ``memory`` is the buffer as written, ``twin`` as it must be."""

    def __init__(self, dut):
        self.dut, self.cycle = dut, 0
        self.idle = self.backpressure = 0.0
        self.twin = Twin(CONFIG)
        self.memory = self.twin.ub.copy()
        self.wrote = 0
        self.ports = [
            ReadPort(self, "ub_read", UB_READ_LATENCY, 8 * CONFIG.lanes, self._read_ub),
            ReadPort(self, "acc", ACC_READ_LATENCY, 32 * CONFIG.cols, self._read_acc),
        ]

    def _read_ub(self, address):
        assert address < CONFIG.ub_depth, f"read of word {address}"
        return pack(self.memory[address], 8)

    def _read_acc(self, address):
        return pack(self.twin.acc[address], 32)

    async def start(self):
        Clock(self.dut.clk, 2, unit="ns").start()
        for name in ("unit__instr__valid", "unit__stop", "load__valid", "rst"):
            getattr(self.dut, name).value = 0
        self.dut.ub_write__ready.value = 1
        self.dut.rst.value = 1
        await self.tick()
        self.dut.rst.value = 0
        await self.tick()

    async def tick(self):
        """One cycle: drive after the rising edge, sample when everything has settled."""
        for port in self.ports:
            port.drive(self.cycle)
        await FallingEdge(self.dut.clk)
        for port in self.ports:
            port.sample(self.cycle)
        self._sample_write()
        self.done = int(self.dut.unit__done.value)
        self.busy = int(self.dut.unit__busy.value)
        self.fault = int(self.dut.unit__fault.value)
        self.accepted = int(self.dut.unit__instr__ready.value) and int(
            self.dut.unit__instr__valid.value
        )
        await RisingEdge(self.dut.clk)
        self.cycle += 1

    def _sample_write(self):
        dut = self.dut
        assert int(dut.wrote.value) == int(dut.ub_write__valid.value)
        if not int(dut.ub_write__valid.value):
            return
        self.wrote += 1
        address, mask = int(dut.ub_write__addr.value), int(dut.ub_write__mask.value)
        assert address < CONFIG.ub_depth, f"write of word {address}"
        lanes = unpack(int(dut.ub_write__data.value), 8, CONFIG.lanes)
        for lane, value in enumerate(lanes):
            if mask >> (lane // CONFIG.group) & 1:
                self.memory[address, lane] = value

    async def load(self, table, address, row):
        """Write a row of parameters or of tables as LOAD does, group by group or at once."""
        dut = self.dut
        dut.load__valid.value, dut.load__table.value, dut.load__addr.value = 1, table, address
        masks = [(1 << CONFIG.col_groups) - 1]
        if random.random() < 0.2:
            masks = [1 << group for group in range(CONFIG.col_groups)]
        for mask in masks:
            noise = [random.randrange(256) for _ in row]
            kept = [mask >> (lane // CONFIG.group) & 1 for lane in range(len(row))]
            data = [r if keep else n for r, n, keep in zip(row, noise, kept, strict=True)]
            dut.load__mask.value, dut.load__data.value = mask, pack(data, 8)
            await self.tick()
        dut.load__valid.value = 0

    async def fill(self, rng):
        """Random contents everywhere."""
        twin = self.twin
        twin.ub[:] = rng.integers(-128, 128, twin.ub.shape)
        self.memory = twin.ub.copy()
        wide = rng.integers(-(2**31), 2**31, twin.acc.shape)
        twin.acc[:] = wide >> rng.integers(0, 31, twin.acc.shape)
        twin.params[:] = records(rng)
        twin.tables[:] = rng.integers(0, 256, twin.tables.shape)
        for address, row in enumerate(twin.params):
            await self.load(0, address, row)
        for address, row in enumerate(twin.tables):
            await self.load(1, address, row)

    async def offer(self, values, pc):
        """Hand an instruction over."""
        while random.random() < self.idle:
            await self.tick()
        self.dut.unit__instr__payload.value = payload(values, pc)
        self.dut.unit__instr__valid.value = 1
        self.accepted = False
        while not self.accepted:
            await self.tick()
        self.dut.unit__instr__valid.value = 0
        self.dut.unit__instr__payload.value = random.getrandbits(LAYOUT.size)

    async def run(self, values, pc, limit=3000):
        """Run an instruction and compare the whole buffer the moment it is done."""
        before = self.wrote
        begin = self.cycle
        await self.offer(values, pc)
        while not self.done:
            await self.tick()
            assert self.busy and not self.fault & 1, f"fault at {values}"
            assert self.cycle - begin < limit, f"no end of {values}"
        self.compare(values)
        elements = values["n_count"] * values["y_count"] * values["x_count"]
        assert self.wrote - before == elements
        return self.cycle - begin

    async def follow(self, program, limit=3000):
        """Offer instructions as soon as they are taken; compare the buffer when each is done.

        Gives the cycle in which each was done.
        """
        dut, waiting, ends, begin = self.dut, list(enumerate(program)), [], self.cycle
        while len(ends) < len(program):
            if waiting and not int(dut.unit__instr__valid.value) and random.random() >= self.idle:
                pc, values = waiting[0]
                dut.unit__instr__payload.value = payload(values, pc)
                dut.unit__instr__valid.value = 1
            await self.tick()
            assert not self.fault & 1 and self.cycle - begin < limit * len(program)
            if self.accepted:
                waiting.pop(0)
                dut.unit__instr__valid.value = 0
            if self.done:
                self.compare(program[len(ends)])
                ends.append(self.cycle)
        assert not self.busy or self.done
        return ends

    def compare(self, values):
        """Run the twin: the whole buffer must be its."""
        self.twin.run(values)
        wrong = np.argwhere(self.memory != self.twin.ub)
        assert not len(wrong), f"{len(wrong)} bytes differ, first {wrong[0]}: {values}"

    async def stop(self):
        """Stop the unit as the sequencer does, and take the buffer as it is."""
        self.dut.unit__stop.value = 1
        await self.tick()
        while self.busy:
            await self.tick()
        self.dut.unit__stop.value = 0
        self.twin.ub[:] = self.memory


def payload(values, pc):
    """The bits of an instruction."""
    return LAYOUT.const({"pc": pc, **values}).as_value().value


def records(rng):
    """Parameter rows with scales that give results inside int8, and some of any bytes."""
    shape = (CONFIG.param_sets, CONFIG.cols)
    bias = rng.integers(-1000, 1000, shape) & 0xFFFFFFFF
    mantissa = rng.integers(1 << 23, 1 << 24, shape)
    record = bias | (mantissa << 32) | (rng.integers(20, 48, shape) << 56)
    rows = np.stack([record >> (8 * k) & 255 for k in range(8)], axis=1)
    rows[0] = rng.integers(0, 256, rows[0].shape)
    return rows.reshape(-1, CONFIG.cols)


async def begun(dut):
    """A bench with random contents; every generator follows from the simulation's seed."""
    bench = Bench(dut)
    await bench.start()
    await bench.fill(np.random.default_rng(random.getrandbits(32)))
    return bench, RandomVector(CONFIG, random)


@cocotb.test()
async def instructions(dut):
    """Random instructions under every cross of idle and backpressure."""
    bench, source = await begun(dut)
    for bench.idle in (0.0, 0.6):
        for bench.backpressure in (0.0, 0.3, 0.9):
            for pc in range(parameters()["instructions"]):
                await bench.run(source.instruction(), pc)


def chained(source, count):
    """Instructions of which many follow closely, and some read what the one before wrote."""
    program = []
    for _ in range(count):
        values = source.instruction()
        while values["source"] == isa.Source.UB and random.random() < 0.8:
            values = source.instruction()
        if program and random.random() < 0.5 and values["source"] == isa.Source.ACC:
            values = reading(values, program[-1])
        program.append(values)
    return program


def reading(values, before):
    """``values`` with the words that ``before`` wrote as second operand, in its order or not."""
    loop = {name: before[name] for name in ("n_count", "y_count", "x_count")}
    target = {key: before[f"d_{key}"] for key in ("base", "n", "y", "x")}
    operand = dict(target)
    if random.random() < 0.5:  # the last words first
        operand = {key: -target[key] for key in ("n", "y", "x")}
        reach = sum((before[f"{key}_count"] - 1) * target[key] for key in ("n", "y", "x"))
        operand["base"] = target["base"] + reach
    found = values | loop | {"a_base": 0, "operand": int(isa.Operand.ADD)}
    found |= {f"b_{key}": value for key, value in operand.items()}
    in_place = found | {f"d_{key}": value for key, value in operand.items()}
    away = found | {"d_base": (target["base"] + CONFIG.ub_depth // 2) % CONFIG.ub_depth}
    away |= {"d_n": 0, "d_y": 0, "d_x": 0}
    return next(v for v in (in_place, away, values) if own_race(v) is None)


@cocotb.test()
async def one_behind_the_other(dut):
    """Instructions without a gap, on what the ones before wrote: all is as if one at a time."""
    bench, source = await begun(dut)
    for bench.idle in (0.0, 0.1):
        for bench.backpressure in (0.0, 0.3):
            await bench.follow(chained(source, 4 * parameters()["instructions"]))


@cocotb.test()
async def stops_between(dut):
    """Stopped while several instructions are under way, the unit begins afresh."""
    bench, source = await begun(dut)
    for _ in range(parameters()["stops"]):
        program = chained(source, 3)
        for pc, values in enumerate(program):
            await bench.offer(values, pc)
        for _ in range(random.randrange(40)):
            await bench.tick()
        await bench.stop()
        await bench.follow(chained(source, 3))


@cocotb.test()
async def no_gaps(dut):
    """From the accumulators, words of one instruction right behind those of the one before."""
    bench, source = await begun(dut)
    plain = {"n_count": 1, "y_count": 1, "x_count": 50, "d_x": 1, "b_base": 100, "b_x": 1}
    plain |= {"source": 0, "a_base": 0, "reduce": 0, "ky_count": 1, "kx_count": 1, "stream": 0}
    plain |= {"weights": 0, "s_mult": 1}
    for operand in isa.Operand:
        around = {"operand": operand, "d_base": 0}
        program = [source.instruction() | plain | around for _ in range(5)]
        ends = await bench.follow(program)
        words = 50 * CONFIG.vector_cycles
        gaps = [later - sooner - words for sooner, later in itertools.pairwise(ends)]
        assert max(gaps) <= 2, gaps


@cocotb.test()
async def loads_between(dut):
    """Parameters and tables written just before the instruction are the ones it uses."""
    bench, source = await begun(dut)
    for pc in range(10):
        values = source.instruction() | {"requantise": 1, "use_table": 1}
        row, byte = 8 * values["params"] + 7, 256 * values["table"] + random.randrange(256)
        bench.twin.params[row] = random.randrange(20, 48)
        bench.twin.tables[byte] = random.randrange(256)
        await bench.load(1, byte, bench.twin.tables[byte])
        await bench.load(0, row, bench.twin.params[row])
        await bench.run(values, pc)


@cocotb.test()
async def faults(dut):
    """An access beyond a memory gives the cause and the index, and the unit works after stop."""
    bench, source = await begun(dut)
    for pc in range(parameters()["faults"]):
        bench.backpressure = random.choice([0.0, 0.5])
        values = source.faulty()
        try:
            bench.twin.run(values)
            raise AssertionError(f"the twin ran {values}")
        except AddressError:
            pass
        await bench.offer(values, pc)
        for _ in range(500):
            if bench.fault & 1:
                break
            await bench.tick()
        bits = len(dut.unit__fault)
        cause = bench.fault >> 1 & ((1 << bits - 33) - 1)
        assert (bench.fault & 1, cause) == (1, FaultCause.ADDRESS), values
        assert bench.fault >> bits - 32 == pc
        await bench.stop()
        await bench.run(source.instruction(), pc)


@cocotb.test()
async def stops(dut):
    """Stopped at any moment, the unit forgets what it did and runs the next one as if fresh."""
    bench, source = await begun(dut)
    for pc in range(parameters()["stops"]):
        bench.backpressure = random.choice([0.0, 0.5])
        await bench.offer(source.instruction(), pc)
        for _ in range(random.randrange(60)):
            await bench.tick()
        await bench.stop()
        await bench.run(source.instruction(), pc)


@cocotb.test()
async def one_word_per_cycle(dut):
    """From the accumulators with and without a second operand; one tap, or streamed word."""
    bench, source = await begun(dut)
    each = CONFIG.vector_cycles
    # The destination takes a cycle per lane group.
    around = 36 + max(0, CONFIG.groups - 22) + each
    plain = {"n_count": 1, "y_count": 1, "x_count": 60, "d_base": 0, "d_x": 1, "b_base": 100}
    plain |= {"b_x": 1, "a_base": 0, "a_x": 1, "reduce": 0, "ky_count": 1, "kx_count": 1}
    plain |= {"y0": 0, "x0": 0, "x_step": 1, "image_rows": 60, "image_cols": 60}
    plain |= {"stream": 0, "s_mult": 1, "weights": 0}
    for operand in isa.Operand:
        values = source.instruction() | plain | {"source": isa.Source.ACC, "operand": operand}
        assert await bench.run(values, 0) <= 60 * each + around
    pooling = {"source": isa.Source.UB, "reduce": isa.Reduce.SUM, "kx_count": 3, "operand": 0}
    pooling |= {"a_base": 120, "a_kx": 1, "x_dilation": 1}
    assert await bench.run(source.instruction() | plain | pooling, 0) <= 180 * each + around
    pooling |= {"reduce": isa.Reduce.DOT}
    assert await bench.run(source.instruction() | plain | pooling, 0) <= 180 * each + around + 9
    size = {"n_count": 1, "y_count": 8, "x_count": 8, "image_rows": 8, "image_cols": 8}
    size |= {"a_base": 120 - 9, "a_y": 8, "a_ky": 8, "d_y": 8, "y_step": 1, "y_dilation": 1}
    size |= {"ky_count": 3, "y0": -1, "x0": -1, "stream": 1}
    values = source.instruction() | plain | pooling | size
    # The last row and word pass on.
    assert await bench.run(values, 0) <= (64 + 8 + 1) * each + around + 9
