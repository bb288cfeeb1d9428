"""Two AXI4 managers on one memory, against a twin that is a list of bytes."""

import dataclasses
import random

import pytest
from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hpu.hw.block_memory import BlockMemory
from hpu.hw.config import by_name
from hpu.hw.memory_port import MemoryPort

CONFIG = dataclasses.replace(by_name("lab-16"), name="memory", addr_bits=16)
BYTES = 1 << CONFIG.addr_bits
SHARE = BYTES // 2


class Both(Elaboratable):
    """The port and the memory behind it."""

    def __init__(self):
        self.port = MemoryPort(config=CONFIG, managers=2)
        self.memory = BlockMemory(config=CONFIG, managers=2)

    def elaborate(self, platform):
        m = Module()
        m.submodules.port, m.submodules.memory = self.port, self.memory
        wiring.connect(m, self.port.memory, self.memory.streams)
        return m


async def offer(ctx, port, prefix, **values):
    for name, value in values.items():
        ctx.set(getattr(port, f"{prefix}{name}"), value)
    ctx.set(getattr(port, f"{prefix}valid"), 1)
    await ctx.tick().until(getattr(port, f"{prefix}ready"))
    ctx.set(getattr(port, f"{prefix}valid"), 0)


async def pause(ctx, rng, share):
    while rng.random() < share:
        await ctx.tick()


async def write(ctx, rng, idle, port, memory, beat, beats, ident):
    await offer(ctx, port, "aw", addr=8 * beat, len=beats - 1, id=ident)
    for k in range(beats):
        await pause(ctx, rng, idle)
        word, strobe = rng.getrandbits(64), rng.choice([255, rng.getrandbits(8)])
        await offer(ctx, port, "w", data=word, strb=strobe, last=k == beats - 1)
        for lane in range(8):
            if strobe >> lane & 1:
                memory[8 * (beat + k) + lane] = word >> 8 * lane & 255
    ctx.set(port.bready, 1)
    (answer,) = await ctx.tick().sample(port.bid).until(port.bvalid)
    ctx.set(port.bready, 0)
    assert answer == ident


async def read(ctx, rng, idle, port, memory, beat, beats, ident):
    await offer(ctx, port, "ar", addr=8 * beat, len=beats - 1, id=ident)
    for k in range(beats):
        await pause(ctx, rng, idle)
        ctx.set(port.rready, 1)
        seen = await ctx.tick().sample(port.rdata, port.rid, port.rlast).until(port.rvalid)
        ctx.set(port.rready, 0)
        data = bytes(memory[8 * (beat + k) : 8 * (beat + k + 1)])
        assert seen == (int.from_bytes(data, "little"), ident, k == beats - 1)


@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_two_managers(idle):
    seed = 7 + int(10 * idle)
    dut, memory = Both(), bytearray(BYTES)

    def manager(index):
        rng = random.Random(f"{seed} {index}")

        async def run(ctx):
            port = dut.port.managers[index]
            for _ in range(60):
                beats = rng.randint(1, 16)
                beat = (index * SHARE + rng.randrange(0, 1024, 16)) // 8
                go = rng.choice([write, read])
                await go(ctx, rng, idle, port, memory, beat, beats, rng.randrange(4))
                await pause(ctx, rng, idle)

        return run

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(manager(0))
    simulator.add_testbench(manager(1))
    simulator.run()


def test_refusals():
    with pytest.raises(ValueError) as caught:
        MemoryPort(config=CONFIG, managers=0)
    assert str(caught.value) == "managers must be a positive integer, not 0"
