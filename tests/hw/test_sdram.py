"""The SDRAM controller against a model of the chip that checks its rules."""

import dataclasses
import itertools
import random

import pytest
from amaranth.sim import Simulator

from hpu.hw.config import by_name
from hpu.hw.sdram import Chip, SdramMemory

CHIP = Chip(row_bits=11, col_bits=8, bank_bits=2, word_bytes=2, start_ns=2_000, refresh_ns=4_000)
CONFIG = dataclasses.replace(
    by_name("lab-16"), name="sdram", addr_bits=CHIP.addr_bits, clock_hz=62_500_000
)
CYCLE_NS = 16


class ChipModel:
    """A chip of burst length 4 and CAS latency 2, as its data sheet has it; one call a cycle."""

    def __init__(self):
        self.words: dict[tuple[int, int, int], int] = {}
        self.open: dict[int, int] = {}
        self.free = self.cycle = 0
        self.refreshed = None
        self.mode = None
        self.writing = []
        self.reading: dict[int, int] = {}

    def tick(self, pads) -> int | None:
        """Takes what the pads show in this cycle; the word that the chip drives in it."""
        cycle, self.cycle = self.cycle, self.cycle + 1
        command = (pads["ras"], pads["cas"], pads["we"])
        if self.mode is not None:
            assert cycle - self.refreshed <= CHIP.refresh_ns // CYCLE_NS, "refreshed too late"
        if command != (0, 0, 0):
            assert pads["cs"] and pads["clk_en"]
            assert cycle >= self.free, f"command {command} {self.free - cycle} cycles early"
            self.command(cycle, command, pads)
        if self.writing:
            place, mask = self.writing.pop(0), pads["dqm"]
            assert pads["oe"], "nothing to write"
            old, new = self.words.get(place, 0), pads["dq_o"]
            keep = sum(0xFF << 8 * k for k in range(2) if mask >> k & 1)
            self.words[place] = old & keep | new & ~keep & 0xFFFF
        else:
            assert not pads["oe"], "words that nobody takes"
        driven = self.reading.pop(cycle, None)
        assert driven is None or not pads["oe"], "two drive the bus"
        return driven

    def command(self, cycle, command, pads):
        bank, address = pads["ba"], pads["a"]
        if command == (1, 0, 1):
            assert address >> 10 & 1 and not self.writing and not self.reading
            self.open, self.free = {}, cycle + 2
        elif command == (1, 1, 0):
            assert not self.open
            self.refreshed, self.free = cycle, cycle + 5
        elif command == (1, 1, 1):
            assert address == 2 << 4 | 2, "burst of 4, CAS latency 2"
            self.mode, self.free = address, cycle + 2
        elif command == (1, 0, 0):
            assert self.mode is not None and bank not in self.open
            self.open[bank], self.free = address, cycle + 2
        else:
            assert command in ((0, 1, 0), (0, 1, 1))
            places = [(bank, self.open[bank], address + k) for k in range(4)]
            assert address % 4 == 0
            if command[2]:
                assert not self.reading
                self.writing = places
            else:
                # A read cuts short the one before from its own first word on.
                self.reading = {c: w for c, w in self.reading.items() if c < cycle + 2}
                for k, place in enumerate(places):
                    self.reading[cycle + 2 + k] = self.words.get(place, 0)


def requests(rng, count):
    """Reads and writes with neighbours, other rows, other banks."""
    beat = 0
    bits = CHIP.addr_bits - 3
    for index in range(count):
        beat = rng.choice([beat + 1, beat, rng.getrandbits(bits), beat ^ 1 << 6, beat ^ 1 << 8])
        beat %= 1 << bits
        yield (
            beat,
            rng.random() < 0.5,
            rng.getrandbits(64),
            rng.choice([255, rng.getrandbits(8)]),
            (index % 4),
        )


@pytest.mark.parametrize("idle", [0.0, 0.6])
@pytest.mark.parametrize("backpressure", [0.0, 0.6])
def test_random_requests(idle, backpressure):
    seed = 100 + int(10 * idle) + int(100 * backpressure)
    rng = random.Random(seed)
    dut, chip, twin, expected = (
        SdramMemory(config=CONFIG, chip=CHIP, managers=2),
        ChipModel(),
        {},
        [],
    )
    work = list(requests(rng, 400))

    async def pads(ctx):
        names = ("clk_en", "cs", "ras", "cas", "we", "oe", "ba", "a", "dqm", "dq_o")
        while True:
            shown = {name: ctx.get(getattr(dut.pads, name)) for name in names}
            driven = chip.tick(shown)
            ctx.set(dut.pads.dq_i, rng.getrandbits(16) if driven is None else driven)
            await ctx.tick()

    async def ask(ctx):
        request = dut.streams.request
        for beat, write, data, strobe, ident in work:
            while rng.random() < idle:
                await ctx.tick()
            ctx.set(request.p.addr, beat)
            ctx.set(request.p.data, data)
            ctx.set(request.p.strobe, strobe)
            ctx.set(request.p.tag.write, write)
            ctx.set(request.p.tag.id, ident)
            ctx.set(request.valid, 1)
            await ctx.tick().until(request.ready)
            ctx.set(request.valid, 0)
            old = twin.get(beat, 0)
            if write:
                keep = sum(0xFF << 8 * k for k in range(8) if not strobe >> k & 1)
                twin[beat] = old & keep | data & ~keep
            expected.append((write, ident, old))

    async def answer(ctx):
        response = dut.streams.response
        for index in range(len(work)):
            while rng.random() < backpressure:
                await ctx.tick()
            ctx.set(response.ready, 1)
            payload = await ctx.tick().sample(response.p).until(response.valid)
            ctx.set(response.ready, 0)
            (got,) = payload
            write, ident, data = expected[index]
            assert (got.tag.write, got.tag.id) == (write, ident), (seed, index)
            assert write or got.data == data, (seed, index)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(pads, background=True)
    simulator.add_testbench(ask, background=True)
    simulator.add_testbench(answer)
    simulator.run()
    assert chip.mode is not None and len(expected) == len(work)


def test_neighbours_follow_without_a_gap():
    dut, chip = SdramMemory(config=CONFIG, chip=CHIP, managers=2), ChipModel()
    cycles = []

    async def bench(ctx):
        request = dut.streams.request
        ctx.set(dut.streams.response.ready, 1)
        ctx.set(request.valid, 1)
        names = ("clk_en", "cs", "ras", "cas", "we", "oe", "ba", "a", "dqm", "dq_o")
        for cycle in range(600):
            chip.tick({name: ctx.get(getattr(dut.pads, name)) for name in names})
            if ctx.get(request.ready):
                cycles.append(cycle)
            await ctx.tick()
            ctx.set(request.p.addr, len(cycles) % 64)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    gaps = [later - sooner for sooner, later in itertools.pairwise(cycles)]
    assert gaps.count(4) > 0.9 * len(gaps), gaps


def test_refusals():
    with pytest.raises(ValueError) as caught:
        SdramMemory(config=by_name("lab-16"), chip=CHIP, managers=2)
    assert str(caught.value) == "addr_bits must be the chip's 22, not 32"
