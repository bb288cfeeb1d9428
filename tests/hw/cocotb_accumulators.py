"""The accumulators against an array: skewed random writes and additions, and reads between them."""

import random
from collections import deque

import cocotb
import numpy as np
from stepping import Stepper

from hpu.hw.config import Config
from hpu.hw.ports import ACC_READ_LATENCY
from hpu.sim.testbench import parameters

CONFIG = Config(**parameters()["config"])


class Bench(Stepper):
    """Gives commands, and their partial sums column by column."""

    def __init__(self, dut, rng):
        super().__init__(dut)
        self.rng = rng
        self.acc = np.zeros((CONFIG.acc_depth, CONFIG.cols), np.uint32)
        # sums[k]: the row whose command was given k cycles ago.
        self.sums = deque([None] * CONFIG.cols, CONFIG.cols)
        self.reads = deque([None] * ACC_READ_LATENCY)
        self.given = self.done = self.refused = 0

    def command(self, word, accumulate, last):
        """One row in this cycle; ``word`` None: none."""
        value, row = 0, None
        if word is not None:
            row = np.array([self.rng.getrandbits(32) for _ in range(CONFIG.cols)], np.uint32)
            self.acc[word] = row + self.acc[word] * np.uint32(accumulate)
            value = 1 | accumulate << 1 | last << 2 | word << 3
            self.given += last
        self.sums.appendleft(row)
        psum = 0
        for column, values in enumerate(self.sums):
            noise = self.rng.getrandbits(32)
            psum |= (noise if values is None else int(values[column])) << 32 * column
        self.set(command=value, psum=psum)

    def read(self, word):
        self.set(read__valid=word is not None, read__addr=word or 0)

    async def step(self, word=None):
        await self.settle()
        accepted = None
        if word is not None:
            accepted = word if self.get("read__ready") else None
            self.refused += accepted is None
        self.reads.append(None if accepted is None else (word, self.acc[word].copy()))
        due = self.reads.popleft()
        if due:
            data = self.get("read__data").to_bytes(4 * CONFIG.cols, "little")
            np.testing.assert_array_equal(np.frombuffer(data, np.uint32), due[1], str(due[0]))
        self.done += self.get("done")
        await self.edge()
        return accepted is not None

    async def idle(self, cycles):
        for _ in range(cycles):
            self.command(None, 0, 0)
            self.read(None)
            await self.step()


def _rng():
    seed = random.getrandbits(32)
    cocotb.log.info("seed %d", seed)
    return random.Random(seed)


async def _read_all(bench):
    for word in range(CONFIG.acc_depth):
        bench.command(None, 0, 0)
        bench.read(word)
        assert await bench.step(word), "refused without a conflict"
    await bench.idle(ACC_READ_LATENCY + 1)


@cocotb.test()
async def dense(dut):
    """Rows at every density on few and many words, then every word read."""
    rng = _rng()
    bench = Bench(dut, rng)
    await bench.reset(command=0, psum=0, read__valid=0, read__addr=0)
    for words in (1, 2, 3, 5, CONFIG.acc_depth):
        for density in (1.0, 0.7, 0.2):
            for _ in range(60):
                word = rng.randrange(words) if rng.random() < density else None
                bench.command(word, rng.randint(0, 1), rng.randint(0, 1))
                await bench.step()
            await bench.idle(CONFIG.cols + 12)
            assert bench.done == bench.given
            await _read_all(bench)


async def _written(dut, rng):
    """A bench whose accumulators have all been written."""
    bench = Bench(dut, rng)
    await bench.reset(command=0, psum=0, read__valid=0, read__addr=0)
    for word in range(CONFIG.acc_depth):
        bench.command(word, 0, 0)
        await bench.step()
    await bench.idle(CONFIG.cols + 12)
    return bench


@cocotb.test()
async def shared(dut):
    """Reads of words of one memory, or of the others, while rows go to it: additions come first."""
    rng = _rng()
    bench = await _written(dut, rng)
    half = CONFIG.acc_depth // 2
    for same, accumulate in ((0, 1), (1, 0), (1, 1)):
        bench.refused = 0
        for cycle in range(200):
            bench.command(cycle % 2 * 4, accumulate, 0)
            word = half + rng.randrange(0, half, 4)
            word += 0 if same else rng.randrange(1, 4)
            bench.read(word)
            await bench.step(word)
        taken = same and accumulate
        assert (bench.refused > 150) if taken else (bench.refused == 0), (same, accumulate)
        await bench.idle(CONFIG.cols + 12)
    await _read_all(bench)


@cocotb.test()
async def side_by_side(dut):
    """Additions from word to word, and reads of other words from any on: they hardly meet."""
    rng = _rng()
    bench = await _written(dut, rng)
    half = CONFIG.acc_depth // 2
    for first in range(4):
        bench.refused, taken = 0, 0
        for cycle in range(100):
            bench.command(cycle % half, 1, 0)
            word = half + (first + taken) % half
            bench.read(word)
            taken += await bench.step(word)
        assert bench.refused <= 3, (first, bench.refused)
        await bench.idle(CONFIG.cols + 12)
    await _read_all(bench)
