"""Queues against a list."""

import random
from collections import deque

import pytest
from amaranth.hdl import unsigned
from amaranth.sim import Simulator

from hpu.hw.queues import MemoryQueue, RegisterQueue


@pytest.mark.parametrize(
    ("kind", "depth"),
    [(RegisterQueue, 1), (RegisterQueue, 5), (MemoryQueue, 2), (MemoryQueue, 3), (MemoryQueue, 8)],
)
@pytest.mark.parametrize("backpressure", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_order_and_level(kind, depth, idle, backpressure):
    seed = 8
    print("seed", seed)
    rng, block = random.Random(seed), kind(shape=unsigned(9), depth=depth)

    async def testbench(ctx):
        held, taken = deque(), 0
        for _ in range(500):
            value = rng.randrange(512)
            ctx.set(block.i.payload, value)
            ctx.set(block.i.valid, rng.random() >= idle)
            ctx.set(block.o.ready, rng.random() >= backpressure)
            assert ctx.get(block.level) == len(held)
            if ctx.get(block.o.valid):
                assert ctx.get(block.o.payload) == held[0]
                if ctx.get(block.o.ready):
                    held.popleft()
                    taken += 1
            if ctx.get(block.i.valid) and ctx.get(block.i.ready):
                held.append(value)
            assert len(held) <= depth
            await ctx.tick()
        assert taken > 30

    simulator = Simulator(block)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def test_depth_is_refused():
    with pytest.raises(ValueError, match="depth must be at least 1, not 0"):
        RegisterQueue(shape=unsigned(1), depth=0)
    with pytest.raises(ValueError, match="depth must be at least 2, not 1"):
        MemoryQueue(shape=unsigned(1), depth=1)
