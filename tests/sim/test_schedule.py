"""Order, tokens, queues and faults of the functional machine."""

import dataclasses

import numpy as np
import pytest

from hpu.hw.assembler import assemble
from hpu.hw.config import by_name
from hpu.hw.csr import FaultCause
from hpu.sim.decode import decode
from hpu.sim.functional import Machine
from hpu.sim.random_fault import faulty_programs
from hpu.sim.schedule import Schedule

LAB = by_name("lab-16")
WIDE = dataclasses.replace(LAB, name="wide", rows=8, cols=24, ub_depth=256, acc_depth=64)
ONE = "n_count=1 y_count=1 x_count=1"
LOAD = f"LOAD {ONE} width=1 copies=1"
STORE = f"STORE {ONE} width=1"
WEIGHTS = "WEIGHTS rows=1 width=1"
MATMUL = f"MATMUL {ONE} image_rows=1 image_cols=1 taps=1 tap_groups=1"


def schedule(*lines: str) -> tuple[list[int], FaultCause, int]:
    result = Schedule(decode(assemble("\n".join(lines), LAB), LAB), LAB)
    return [instruction.index for instruction in result.order], result.cause, result.pc


def test_program_order_where_tokens_allow_it():
    lines = (LOAD, STORE, MATMUL, f"{LOAD} wait=store signal=store", f"{STORE} wait=load")
    lines = (lines[0], f"{STORE} signal=load", *lines[2:])
    assert schedule(*lines) == ([0, 1, 2, 3, 4], FaultCause.NONE, 0)


def test_an_instruction_waits_for_a_later_one():
    lines = (f"{STORE} wait=load", STORE, MATMUL, f"{LOAD} signal=store")
    assert schedule(*lines) == ([2, 3, 0, 1], FaultCause.NONE, 0)


def test_deadlock_names_the_oldest_waiting():
    lines = (LOAD, f"{LOAD} wait=store", f"{STORE} wait=load", MATMUL)
    assert schedule(*lines) == ([0, 3], FaultCause.DEADLOCK, 1)


def test_a_full_queue_stops_dispatch():
    waiting = [f"{STORE} wait=load", *[STORE] * (LAB.queue_depth - 1)]
    giver = f"{LOAD} signal=store"
    assert schedule(*waiting, giver)[1:] == (FaultCause.NONE, 0)
    assert schedule(*waiting, STORE, giver) == ([], FaultCause.DEADLOCK, 0)


def test_weight_fifo_runs_dry_or_full():
    assert schedule(LOAD, f"{MATMUL} new_weights=1") == ([0], FaultCause.DEADLOCK, 1)
    ahead = [WEIGHTS] * (LAB.weight_tiles + 2)
    assert schedule(*ahead)[1:] == (FaultCause.DEADLOCK, LAB.weight_tiles + 1)
    assert schedule(*ahead, f"{MATMUL} new_weights=1")[1:] == (FaultCause.NONE, 0)


def test_tokens_are_counted_up_to_255():
    give = [f"{STORE} signal=load"] * 255
    assert schedule(*give, f"{LOAD} wait=store", give[0])[1:] == (FaultCause.NONE, 0)
    assert schedule(*give, give[0])[1:] == (FaultCause.TOKEN_OVERFLOW, 255)


@pytest.mark.parametrize("config", [LAB, WIDE], ids=lambda c: c.name)
@pytest.mark.parametrize("seed", range(2))
def test_faulty_programs(config, seed: int):
    kinds = set()
    for faulty in faulty_programs(config, seed):
        program = faulty.program
        machine = Machine(config, program.dram.size)
        machine.dram[:] = program.dram
        outcome = machine.run(program.program_address, program.count)
        assert (outcome.cause, outcome.pc) == (faulty.cause, faulty.pc), (seed, faulty.what)
        kinds.add(faulty.cause)
    assert kinds == set(FaultCause) - {FaultCause.NONE, FaultCause.WATCHDOG}


def test_program_beyond_the_memory():
    machine = Machine(LAB, 4096)
    machine.dram[-128:] = np.frombuffer(assemble(STORE, LAB), np.uint8)
    outcome = machine.run(4096 - 128, 3)
    assert (outcome.cause, outcome.pc) == (FaultCause.AXI, 1)
    assert outcome.counters["STORE_COUNT"] == 1
    assert machine.run(1 << 20, 1).cause == FaultCause.AXI


def test_refusals():
    with pytest.raises(ValueError, match=r"^dram_bytes must be positive, not 0$"):
        Machine(LAB, 0)
    machine = Machine(LAB, 4096)
    with pytest.raises(ValueError, match=r"^program_address must be a multiple of 128, not 64$"):
        machine.run(64, 1)
    long = f"{STORE} n_count=65535 y_count=65535".replace("n_count=1 y_count=1 ", "", 1)
    machine.dram[:128] = np.frombuffer(assemble(long, LAB), np.uint8)
    message = r"^instruction 0 \(STORE\): loop must be at most 67108864 elements, not 4294836225$"
    with pytest.raises(ValueError, match=message):
        machine.run(0, 1)
