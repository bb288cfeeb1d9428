"""Runs inside the simulator: the unified buffer under random traffic from every client."""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from hpu.hw.config import Config
from hpu.hw.ports import UB_READ_LATENCY, ub_address
from hpu.sim.testbench import parameters

CONFIG = Config(**parameters()["config"])
BITS = 8 * CONFIG.group
GROUP_MASK = (1 << BITS) - 1
SEGMENT_WORDS = CONFIG.ub_depth // CONFIG.ub_segments


def segment(address):
    return address // SEGMENT_WORDS


class Bench:
    """Clock, clients and a list of words as the memory must be."""

    def __init__(self, dut):
        self.dut, self.cycle = dut, 0
        self.words = [0] * CONFIG.ub_depth
        self.due = {}
        clients = ("vector_read", "store_read", "weights_read", "load_write")
        self.accepted = dict.fromkeys(clients, 0)
        self.waited = dict(self.accepted)

    async def start(self):
        Clock(self.dut.clk, 2, unit="ns").start()
        self.dut.rst.value = 1
        self.drive(0.0)
        await RisingEdge(self.dut.clk)
        await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0

    def address(self):
        """Few words, so that clients meet in words and in segments."""
        return random.randrange(CONFIG.ub_segments) * SEGMENT_WORDS + random.choice(
            [0, 1, 2, SEGMENT_WORDS - 1]
        )

    def drive(self, activity):
        """New requests of every client; one that was not accepted may change its mind."""
        dut = self.dut
        self.matrix = [
            self.address() if random.random() < activity * 0.3 else None
            for _ in range(CONFIG.row_groups)
        ]
        place, wide = 0, ub_address(CONFIG)
        for group, address in enumerate(self.matrix):
            place |= (self.address() if address is None else address) << (wide * group)
        dut.matrix__en.value = sum((a is not None) << g for g, a in enumerate(self.matrix))
        dut.matrix__addr.value = place
        for name in ("vector_read", "store_read", "weights_read", "vector_write", "load_write"):
            getattr(dut, f"{name}__valid").value = random.random() < activity
            getattr(dut, f"{name}__addr").value = self.address()
        for name in ("vector_write", "load_write"):
            getattr(dut, f"{name}__mask").value = random.getrandbits(CONFIG.groups)
            getattr(dut, f"{name}__data").value = random.getrandbits(8 * CONFIG.lanes)

    def request(self, name):
        """Address of a client's request in this cycle, or None."""
        if not int(getattr(self.dut, f"{name}__valid").value):
            return None
        return int(getattr(self.dut, f"{name}__addr").value)

    def expect_ready(self, name, before):
        """A client is ready when none of ``before`` uses its segment; True if it was accepted."""
        address = self.request(name)
        if address is None:
            return False
        ready = int(getattr(self.dut, f"{name}__ready").value)
        free = segment(address) not in {segment(a) for a in before if a is not None}
        assert ready == free, f"cycle {self.cycle}: {name} ready {ready}, segment free {free}"
        if name in self.waited:
            self.accepted[name] += ready
            self.waited[name] += not ready
        return bool(ready)

    def sample(self):
        """Check arbitration and data of this cycle, then apply its writes."""
        ahead, reads = [*self.matrix], {}
        for name in ("vector_read", "store_read", "weights_read"):
            reads[name] = self.expect_ready(name, ahead)
            ahead.append(self.request(name))
        writes = {
            "vector_write": self.expect_ready("vector_write", []),
            "load_write": self.expect_ready("load_write", [self.request("vector_write")]),
        }
        self.check(self.due.pop(self.cycle, []))
        written = {self.request(name) for name, on in writes.items() if on}
        self.due[self.cycle + UB_READ_LATENCY] = [
            *((name, None, self.request(name)) for name, on in reads.items() if on),
            *(("matrix", g, a) for g, a in enumerate(self.matrix) if a is not None),
        ]
        # A read in the cycle of a write to its word gives either: take it out of the check.
        self.due[self.cycle + UB_READ_LATENCY] = [
            (name, group, self.words[address])
            for name, group, address in self.due[self.cycle + UB_READ_LATENCY]
            if address not in written
        ]
        for name, on in writes.items():
            if on:
                self.write(name)

    def check(self, expected):
        for name, group, word in expected:
            found = int(getattr(self.dut, f"{name}__data").value)
            if group is not None:
                found, word = (value >> (BITS * group) & GROUP_MASK for value in (found, word))
            assert found == word, f"cycle {self.cycle}: {name} {group}: {found:x} for {word:x}"

    def write(self, name):
        address = self.request(name)
        mask, data = (int(getattr(self.dut, f"{name}__{x}").value) for x in ("mask", "data"))
        bits = sum((mask >> g & 1) * GROUP_MASK << (BITS * g) for g in range(CONFIG.groups))
        self.words[address] = (self.words[address] & ~bits) | (data & bits)

    async def tick(self, activity):
        self.drive(activity)
        await FallingEdge(self.dut.clk)
        self.sample()
        await RisingEdge(self.dut.clk)
        self.cycle += 1


@cocotb.test()
async def traffic(dut):
    """From idle to full activity of every client."""
    bench = Bench(dut)
    await bench.start()
    for activity in (0.2, 0.6, 0.9, 1.0):
        for _ in range(parameters()["cycles"]):
            await bench.tick(activity)
    for _ in range(2 * UB_READ_LATENCY):
        await bench.tick(0.0)
    assert min(bench.accepted.values()) > 0, bench.accepted
    assert min(bench.waited.values()) > 0, bench.waited


@cocotb.test()
async def every_word(dut):
    """Each word of each segment holds its own value: the address reaches the memory whole."""
    bench = Bench(dut)
    await bench.start()
    values = [random.getrandbits(8 * CONFIG.lanes) for _ in bench.words]
    for address, value in enumerate(values):
        bench.drive(0.0)
        dut.load_write__valid.value, dut.load_write__addr.value = 1, address
        dut.load_write__mask.value, dut.load_write__data.value = (1 << CONFIG.groups) - 1, value
        await RisingEdge(dut.clk)
    bench.words = values
    for address in range(CONFIG.ub_depth):
        bench.drive(0.0)
        dut.store_read__valid.value, dut.store_read__addr.value = 1, address
        await FallingEdge(dut.clk)
        bench.sample()
        await RisingEdge(dut.clk)
        bench.cycle += 1
