"""The whole machine in RTL against the functional machine: every byte, every functional counter,
every fault."""

import dataclasses

import numpy as np
import pytest

from hpu.hw import csr
from hpu.hw.config import Config, by_name
from hpu.hw.csr import FaultCause
from hpu.sim import races, rtl
from hpu.sim.functional import Machine, Outcome
from hpu.sim.random_fault import faulty_programs
from hpu.sim.random_program import RandomProgram, random_program

LAB = by_name("lab-16")
WIDE = dataclasses.replace(LAB, name="wide", rows=8, cols=24, ub_depth=256, acc_depth=64)
TALL = dataclasses.replace(
    LAB, name="tall", rows=32, cols=8, group=8, axi_bytes=16, ub_depth=384, ub_segments=3
)
#: One lane group, chunk per beat, segment, tile and table; the least accumulators, FIFO and queues.
LEAST = dataclasses.replace(
    LAB,
    name="least",
    rows=4,
    cols=4,
    tile=4,
    ub_depth=64,
    ub_segments=1,
    acc_depth=8,
    weight_tiles=2,
    param_sets=2,
    tables=1,
    queue_depth=2,
    axi_bytes=4,
    burst_beats=4,
    dram_bandwidth=800_000_000,
    dram_latency=4,
)
#: As the boards' configurations: shared arithmetic of the lanes, a register behind a product.
SHARED = dataclasses.replace(LAB, name="shared", multiply_cycles=2, vector_cycles=4, ub_segments=2)
SHAPES = [
    pytest.param(LAB, id="lab-16"),
    pytest.param(SHARED, id="shared", marks=pytest.mark.slow),
    pytest.param(WIDE, id="wide", marks=pytest.mark.slow),
    pytest.param(TALL, id="tall", marks=pytest.mark.slow),
    pytest.param(LEAST, id="least", marks=pytest.mark.slow),
]
#: Latency in cycles and bytes per cycle of the memory: quick, usual, slow.
MEMORIES = [(1, 1000.0), (20, 8.0), (150, 1.5)]
DRAM = 1 << 18
LONGEST = 3_000_000


class Rtl:
    """The machine in RTL, driven through its registers."""

    def __init__(self, config: Config, memory: tuple[int, float], dram_bytes: int = DRAM):
        self.simulation = rtl.Simulation(
            rtl.build(config).library,
            dram_bytes=dram_bytes,
            latency=memory[0],
            bytes_per_cycle=memory[1],
        )
        self.write("IRQ_ENABLE", 1)
        self.write("WATCHDOG", LONGEST // 1024)

    def write(self, name: str, value: int) -> None:
        self.simulation.write_register(csr.address(name), value)

    def read(self, name: str) -> int:
        return self.simulation.read_register(csr.address(name))

    def counters(self) -> dict[str, int]:
        self.write("CONTROL", csr.pack("CONTROL", snapshot=1))
        read = self.simulation.read_register
        addresses = {c.name: csr.counter_address(c.name) for c in csr.COUNTERS}
        return {name: read(at) | read(at + 4) << 32 for name, at in addresses.items()}

    def run(self, program: RandomProgram) -> tuple[Outcome, dict[str, int]]:
        """How it ended, and what it added to every counter."""
        self.write("CONTROL", csr.pack("CONTROL", clear_irq=1))
        self.write("PROGRAM_LOW", program.program_address)
        self.write("PROGRAM_COUNT", program.count)
        before = self.counters()
        self.write("CONTROL", csr.pack("CONTROL", start=1))
        assert self.simulation.run(LONGEST) < LONGEST, "the machine hangs"
        added = {name: value - before[name] for name, value in self.counters().items()}
        functional = {name: added[name] for name in csr.FUNCTIONAL_COUNTERS}
        cause, pc = FaultCause(self.read("FAULT_CAUSE")), self.read("FAULT_PC")
        return Outcome(cause, pc, functional), added


def compare(device: Rtl, machine: Machine, program: RandomProgram) -> None:
    """Run on both and compare; buffers keep their contents from program to program."""
    print("seed", program.seed)
    races.check(program.instructions, program.config)
    for memory in (device.simulation.memory, machine.dram):
        memory[: program.dram.size] = program.dram
    expected = machine.run(program.program_address, program.count)
    outcome, counters = device.run(program)
    assert outcome == expected
    different = np.flatnonzero(device.simulation.memory != machine.dram)
    assert different.size == 0, f"DRAM bytes {different[:8]} of {different.size} differ"
    assert sum(counters[c.name] for c in csr.MATRIX_CAUSES) == counters["CYCLES"]


@pytest.mark.parametrize("config", SHAPES)
@pytest.mark.parametrize("memory", MEMORIES, ids=lambda m: f"latency{m[0]}")
@pytest.mark.parametrize("block", range(4))
def test_random_programs(config: Config, memory: tuple[int, float], block: int):
    device, machine = Rtl(config, memory), Machine(config, DRAM)
    for seed in range(10 * block, 10 * block + 10):
        compare(device, machine, random_program(config, 1000 * memory[0] + seed, 60))
    device.simulation.close()


@pytest.mark.parametrize("config", SHAPES)
@pytest.mark.parametrize("seed", range(2))
def test_faults(config: Config, seed: int):
    device = Rtl(config, MEMORIES[1])
    for faulty in faulty_programs(config, seed):
        device.simulation.memory[: faulty.program.dram.size] = faulty.program.dram
        outcome, _ = device.run(faulty.program)
        assert (outcome.cause, outcome.pc) == (faulty.cause, faulty.pc), faulty.what
    device.simulation.close()


def test_machine_works_after_faults():
    """What a program leaves in the buffers after a fault is undefined, so each begins by filling
    them: two programs agree on what the second stores."""
    device, machine = Rtl(LAB, MEMORIES[1]), Machine(LAB, DRAM)
    for faulty in list(faulty_programs(LAB, 5))[::7]:
        device.simulation.memory[: faulty.program.dram.size] = faulty.program.dram
        device.run(faulty.program)
        program = random_program(LAB, 1, 0)  # brings out what is there
        device.simulation.memory[: program.dram.size] = program.dram
        outcome, _ = device.run(program)
        assert outcome.cause == FaultCause.NONE, faulty.what
        machine.dram[: program.dram.size] = program.dram
        assert outcome == machine.run(program.program_address, program.count)
    device.simulation.close()


@pytest.mark.slow
def test_full_size():
    hai = by_name("hai-v1")
    size = 1 << 22
    device, machine = Rtl(hai, (70, hai.dram_bytes_per_cycle), size), Machine(hai, size)
    for seed in range(2):
        compare(device, machine, random_program(hai, seed, 40))
    device.simulation.close()
