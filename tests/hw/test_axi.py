"""The burst splitter against a naive twin."""

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from hpu.hw.axi import BurstSplitter


def _bursts(config, addr: int, beats: int) -> list[tuple[int, int]]:
    """(address, beats) of a run's bursts: each ends at a multiple of the longest burst."""
    addr -= addr % config.axi_bytes
    longest, result = config.burst_beats * config.axi_bytes, []
    while beats:
        count = min(beats, (longest - addr % longest) // config.axi_bytes)
        result.append((addr, count))
        addr, beats = addr + count * config.axi_bytes, beats - count
    return result


@pytest.mark.parametrize("backpressure", [0.0, 0.5])
@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_bursts(shape, idle, backpressure):
    seed = 7
    print("seed", seed)
    rng = random.Random(seed)
    block = BurstSplitter(config=shape, beats_bits=12)
    runs = [(rng.randrange(1 << 20), rng.randint(1, 90), rng.randrange(2)) for _ in range(60)]
    got = []

    async def give(ctx):
        for addr, beats, last in runs:
            while rng.random() < idle:
                await ctx.tick()
            ctx.set(block.runs.payload, {"addr": addr, "beats": beats, "last": last, "pc": beats})
            ctx.set(block.runs.valid, 1)
            await ctx.tick().until(block.runs.ready)
            ctx.set(block.runs.valid, 0)

    async def take(ctx):
        expected = [
            (addr, count, int(last and k == len(bursts) - 1), beats)
            for start, beats, last in runs
            for bursts in [_bursts(shape, start, beats)]
            for k, (addr, count) in enumerate(bursts)
        ]
        for _ in range(8000):
            ctx.set(block.bursts.ready, rng.random() >= backpressure)
            if ctx.get(block.bursts.valid) and ctx.get(block.bursts.ready):
                p = ctx.get(block.bursts.payload)
                got.append((p.addr, p.count, p.last, p.pc))
            await ctx.tick()
            if len(got) == len(expected):
                break
        assert got == expected
        assert all(addr // 4096 == (addr + n * shape.axi_bytes - 1) // 4096 for addr, n, *_ in got)

    simulator = Simulator(block)
    simulator.add_clock(1e-6)
    simulator.add_testbench(give, background=True)
    simulator.add_testbench(take)
    simulator.run()


def test_overflow(shape):
    config = dataclasses.replace(shape, addr_bits=16)
    block = BurstSplitter(config=config, beats_bits=8)
    end = 1 << config.addr_bits

    async def testbench(ctx):
        start = end - 2 * config.axi_bytes
        ctx.set(block.runs.payload, {"addr": start, "beats": 5, "last": 1, "pc": 0})
        ctx.set(block.runs.valid, 1)
        await ctx.tick()
        ctx.set(block.runs.valid, 0)
        ctx.set(block.bursts.ready, 1)
        assert ctx.get(block.bursts.valid) and not ctx.get(block.overflow)
        assert (ctx.get(block.bursts.p.addr), ctx.get(block.bursts.p.count)) == (start, 2)
        for _ in range(5):
            await ctx.tick()
            assert ctx.get(block.overflow) and not ctx.get(block.bursts.valid)

    simulator = Simulator(block)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
