"""The matrix unit against its numpy twin: random programs, corner cases, faults and stops."""

import random
from collections import deque

import cocotb
import matmul_twin as twin
import numpy as np
from stepping import Stepper

from hpu.hw.config import Config
from hpu.hw.csr import FaultCause
from hpu.hw.isa import BY_NAME
from hpu.hw.ports import ACC_READ_LATENCY, UB_READ_LATENCY, ub_address
from hpu.sim.testbench import parameters

CONFIG = Config(**parameters()["config"])
CAUSES = ("useful", "padding", "wait_weights", "setup")
FIELDS = BY_NAME["MATMUL"].own


def _payload(fields, pc):
    value, shift = pc, 32
    for field in FIELDS:
        bits = 8 * field.size
        value |= (fields[field.name] & ((1 << bits) - 1)) << shift
        shift += bits
    return value


class Bench(Stepper):
    """Feeds instructions and weights, answers buffer reads, reads accumulators, counts causes."""

    def __init__(self, dut, rng, *, idle=0.0):
        super().__init__(dut)
        self.rng, self.idle = rng, idle
        draw = np.random.default_rng(rng.randrange(1 << 30))
        self.ub = draw.integers(-128, 128, (CONFIG.ub_depth, CONFIG.rows), np.int8)
        self.acc = np.zeros((CONFIG.acc_depth, CONFIG.cols), np.int32)
        self.draw = draw
        self.instructions, self.tiles, self.reads = deque(), deque(), deque()
        self.ub_pipe = deque([None] * UB_READ_LATENCY)
        self.acc_pipe = deque([None] * ACC_READ_LATENCY)
        self.restart()

    def restart(self):
        self.free, self.row, self.accepted, self.done = CONFIG.weight_tiles, 0, 0, 0
        self.counts, self.charges, self.faults = dict.fromkeys(CAUSES, 0), [], []
        self.instructions.clear()
        self.tiles.clear()

    async def start(self):
        await self.reset(
            unit__instr__valid=0, unit__instr__payload=0, unit__stop=0, ub__data=0,
            weights__valid=0, weights__last=0, weights__data=0, weights__flush=0,
            acc__valid=0, acc__addr=0,
        )  # fmt: skip

    def waits(self):
        return self.rng.random() < self.idle

    async def step(self):
        self._drive_instruction()
        self._drive_weights()
        self._drive_buffer()
        self._drive_read()
        await self.settle()
        self._observe()
        await self.edge()

    def _drive_instruction(self):
        valid = bool(self.instructions) and not self.waits()
        self.set(unit__instr__valid=valid)
        if valid:
            self.set(unit__instr__payload=_payload(*self.instructions[0]))

    def _drive_weights(self):
        valid = bool(self.tiles) and (self.row > 0 or self.free > 0) and not self.waits()
        self.set(weights__valid=valid)
        if not valid:
            return
        tile = self.tiles[0]
        self.free -= self.row == 0
        last = self.row == len(tile) - 1
        row = int.from_bytes(tile[self.row].tobytes(), "little")
        self.set(weights__data=row, weights__last=last)
        self.row += 1
        if last:
            self.row = 0
            self.tiles.popleft()

    def _drive_buffer(self):
        answer = self.ub_pipe.popleft()
        self.set(ub__data=self.rng.getrandbits(8 * CONFIG.rows) if answer is None else answer)

    def _answer(self):
        """Data of this cycle's reads; lane groups not read give noise."""
        en, addresses = self.get("ub__en"), self.get("ub__addr")
        data = self.draw.integers(0, 256, CONFIG.rows, np.uint8)
        bits = ub_address(CONFIG)
        for group in range(CONFIG.row_groups):
            if en >> group & 1:
                word = addresses >> bits * group & (1 << bits) - 1
                assert word < CONFIG.ub_depth
                lanes = slice(group * CONFIG.group, (group + 1) * CONFIG.group)
                data[lanes] = self.ub[word][lanes].view(np.uint8)
        return int.from_bytes(data.tobytes(), "little") if en else None

    def _drive_read(self):
        self.set(acc__valid=bool(self.reads))
        if self.reads:
            self.set(acc__addr=self.reads[0][0])

    def _observe(self):
        if self.instructions and self.get("unit__instr__valid") and self.get("unit__instr__ready"):
            self.instructions.popleft()
            self.accepted += 1
        self.ub_pipe.append(self._answer())
        self.free += self.get("weights__free")
        assert self.free <= CONFIG.weight_tiles, "more places freed than taken"
        self.done += self.get("unit__done")
        if self.get("unit__fault") & 1:
            fault = self.get("unit__fault")
            bits = max(FaultCause).bit_length()
            self.faults.append((fault >> 1 & (1 << bits) - 1, fault >> 1 + bits))
        self._observe_read()
        high = [name for name in CAUSES if self.get(name)]
        assert len(high) <= 1, high
        self.charges.append(high[0] if high else None)
        for name in high:
            self.counts[name] += 1

    def _observe_read(self):
        accepted = self.reads[0] if self.reads and self.get("acc__ready") else None
        if accepted:
            self.reads.popleft()
        self.acc_pipe.append(accepted)
        due = self.acc_pipe.popleft()
        if due:
            word, expected = due
            data = self.get("acc__data").to_bytes(4 * CONFIG.cols, "little")
            np.testing.assert_array_equal(
                np.frombuffer(data, np.int32), expected, f"accumulator word {word}"
            )

    async def until(self, condition, limit=20000):
        for _ in range(limit):
            if condition():
                return
            await self.step()
        raise AssertionError(f"nothing after {limit} cycles: {self.counts}, {self.done} done")

    async def check_words(self, words):
        for word in words:
            self.reads.append((word, self.acc[word].copy()))
        await self.until(lambda: not self.reads and not any(self.acc_pipe))

    def tile(self):
        """A random tile; sometimes of few rows, sometimes of extreme weights."""
        rows = self.rng.choice([CONFIG.rows, CONFIG.rows, self.rng.randint(1, CONFIG.rows)])
        if self.rng.random() < 0.2:
            return np.full((rows, CONFIG.cols), -128, np.int8)
        return self.draw.integers(-128, 128, (rows, CONFIG.cols), np.int8)


def _full(tile):
    weight = np.zeros((CONFIG.rows, CONFIG.cols), np.int8)
    weight[: len(tile)] = tile
    return weight


async def _play(bench, program, weight, *, full=False):
    """Run ``program``; every word is read as soon as no later instruction writes it.

    With ``full`` the weight FIFO is full before the first instruction.
    """
    useful = padding = 0
    final, writers = bench.acc, {}
    for index, fields in enumerate(program):
        if fields["new_weights"]:
            tile = bench.tile()
            bench.tiles.append(tile)
            weight = _full(tile)
        (more, less), words = twin.run(fields, bench.ub, weight, final, CONFIG)
        useful, padding = useful + more, padding + less
        writers.update(dict.fromkeys(words, index))
    while full and bench.tiles and bench.free:
        await bench.step()
    bench.instructions.extend((fields, 1000 + k) for k, fields in enumerate(program))
    before = dict(bench.counts)
    for index in range(len(program)):
        await bench.until(lambda index=index: bench.done > index)
        ripe = [word for word, writer in writers.items() if writer == index]
        bench.reads.extend((word, final[word].copy()) for word in ripe)
    await bench.until(lambda: not bench.reads and not any(bench.acc_pipe))
    assert bench.counts["useful"] - before["useful"] == useful
    assert bench.counts["padding"] - before["padding"] == padding
    assert not bench.faults
    assert bench.done == len(program)
    bench.done = 0
    assert not bench.get("unit__busy")
    return weight


def _rng():
    seed = random.getrandbits(32)
    cocotb.log.info("seed %d", seed)
    return random.Random(seed)


@cocotb.test()
async def random_programs(dut):
    """Random instructions, crossed with idle in instructions and weights."""
    rng = _rng()
    bench = Bench(dut, rng)
    await bench.start()
    weight = np.zeros((CONFIG.rows, CONFIG.cols), np.int8)
    for idle in (0.0, 0.1, 0.5, 0.9):
        bench.idle = idle
        program = [twin.draw(rng, CONFIG) for _ in range(parameters()["count"])]
        weight = await _play(bench, program, weight)


@cocotb.test()
async def single_rows(dut):
    """One-row instructions back to back: new weights each, and chains on one accumulator word."""
    rng = _rng()
    bench = Bench(dut, rng)
    await bench.start()
    weight = await _set_all(bench)
    one = {"n_count": 1, "y_count": 1, "x_count": 1}
    every = {"taps": CONFIG.row_groups, "tap_groups": 1, "new_weights": 1}
    fresh = [twin.draw(rng, CONFIG, **one, **every) for _ in range(20)]
    weight = await _play(bench, fresh, weight)
    weight = await _play(bench, fresh, weight, full=True)
    chain = [twin.draw(rng, CONFIG, **one, new_weights=0, accumulate=1, acc=5) for _ in range(20)]
    weight = await _play(bench, chain, weight)
    near = [
        twin.draw(rng, CONFIG, **one, new_weights=0, accumulate=1, acc=rng.randint(5, 8))
        for _ in range(40)
    ]
    await _play(bench, near, weight)


@cocotb.test()
async def dense_chains(dut):
    """Additions to a word one to five cycles apart: each instruction overlaps the one before."""
    rng = _rng()
    bench = Bench(dut, rng)
    await bench.start()
    weight = await _set_all(bench)
    shape = {"n_count": 1, "y_count": 1, "x_count": 8, "taps": 1}
    program = []
    for distance in range(1, 6):
        for index in range(10):
            start = index * (8 - distance)
            fields = twin.draw(rng, CONFIG, **shape, new_weights=0, accumulate=1, acc=start)
            program.append(fields)
    await _play(bench, program, weight)
    issued = [k for k, cause in enumerate(bench.charges) if cause in ("useful", "padding")]
    assert issued[-1] - issued[-8 * len(program)] == 8 * len(program) - 1, "not back to back"


@cocotb.test()
async def no_bubbles(dut):
    """Long instructions issue a row every cycle; every cycle up to the last has one cause."""
    rng = _rng()
    bench = Bench(dut, rng)
    await bench.start()
    weight = await _set_all(bench)
    bench.charges.clear()
    rows = 2 * CONFIG.rows + 40
    shape = {"n_count": 1, "y_count": 1, "x_count": min(rows, CONFIG.acc_depth)}
    shape.update(image_cols=60000, image_rows=60000, a_n=0, a_y=0, a_x=1, a_base=100)
    shape.update(x_step=1, y0=0, x0=0, tap_y=1, tap_x=1, acc=0)
    program = [twin.draw(rng, CONFIG, **shape, new_weights=1) for _ in range(6)]
    await _play(bench, program, weight)
    first = next(k for k, cause in enumerate(bench.charges) if cause)
    issued = [k for k, cause in enumerate(bench.charges) if cause in ("useful", "padding")]
    assert all(bench.charges[first : issued[-1] + 1]), "a cycle without a cause"
    assert not any(bench.charges[issued[-1] + 1 :]), "a cause after the last row"
    gaps = issued[-1] + 1 - issued[0] - len(issued)
    assert gaps == 0, f"{gaps} cycles without a row"


async def _stop(bench, name="unit__stop"):
    bench.instructions.clear()
    bench.tiles.clear()
    bench.set(**{name: 1})
    await bench.step()
    await bench.until(lambda: not bench.get("unit__busy"), limit=4 * sum(_shape()) + 200)
    bench.set(**{name: 0})
    bench.restart()


def _shape():
    return CONFIG.rows, CONFIG.cols


async def _fault(bench, rng, before, bad):
    """``before``, then ``bad``: one fault with the index of ``bad``, then a stop."""
    for index, fields in enumerate([*before, bad]):
        if fields["new_weights"]:
            bench.tiles.append(bench.tile())
        bench.instructions.append((fields, 2000 + index))
    await bench.until(lambda: bool(bench.faults))
    for _ in range(rng.randint(0, 30)):
        await bench.step()
    assert bench.faults == [(FaultCause.ADDRESS, 2000 + len(before))]
    assert bench.done <= len(before)
    await _stop(bench)


async def _set_all(bench):
    """Overwrite every accumulator word, so that it is known again."""
    shape = {"n_count": 1, "y_count": 1, "x_count": CONFIG.acc_depth, "acc": 0}
    fields = twin.draw(bench.rng, CONFIG, **shape, a_n=0, a_x=0, new_weights=1, accumulate=0)
    return await _play(bench, [fields], None)


@cocotb.test()
async def faults(dut):
    """Addresses beyond the memories stop the unit; the next program runs as on a fresh machine."""
    rng = _rng()
    bench = Bench(dut, rng)
    await bench.start()
    inside = {"image_rows": 60000, "image_cols": 60000, "y0": 0, "x0": 0}
    plain = {"y_step": 0, "dy0": 0, "dx0": 0, "taps": 1}
    for _ in range(4):
        before = [twin.draw(rng, CONFIG) for _ in range(3)]
        bad = twin.draw(rng, CONFIG, **inside, **plain, x_count=5, a_n=0, a_y=0, a_x=1)
        bad["a_base"] = CONFIG.ub_depth - rng.randint(0, 4)
        await _fault(bench, rng, before, bad)
        weight = await _set_all(bench)
        bad = twin.draw(rng, CONFIG, n_count=1, y_count=1, x_count=5)
        bad["acc"] = CONFIG.acc_depth - rng.randint(1, 4)
        await _fault(bench, rng, before, bad)
        weight = await _set_all(bench)
        await _play(bench, [twin.draw(rng, CONFIG) for _ in range(5)], weight)


@cocotb.test()
async def stops(dut):
    """A stop at any time leaves a machine that runs the next program."""
    rng = _rng()
    bench = Bench(dut, rng)
    await bench.start()
    for _ in range(12):
        name = rng.choice(["unit__stop", "weights__flush"])
        for index in range(5):
            fields = twin.draw(rng, CONFIG, new_weights=1)
            if name == "unit__stop":
                bench.instructions.append((fields, index))
            bench.tiles.append(bench.tile())
        for _ in range(rng.randint(1, 3 * CONFIG.rows)):
            await bench.step()
        await _stop(bench, name)
        bench.idle = rng.choice([0.0, 0.3])
        weight = await _set_all(bench)
        await _play(bench, [twin.draw(rng, CONFIG) for _ in range(6)], weight)
