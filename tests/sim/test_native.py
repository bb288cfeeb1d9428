"""The compiled loops against the same machine with numpy: every byte of every memory."""

import dataclasses

import numpy as np
import pytest

from hpu.hw.config import by_name
from hpu.sim import native
from hpu.sim.functional import Machine
from hpu.sim.random_program import random_program

LAB = by_name("lab-16")
#: Lanes in whole chunks of 16, and so much memory that programs stay quick.
CHUNKS = dataclasses.replace(
    by_name("hai-v1"),
    name="chunks",
    rows=64,
    cols=64,
    tile=32,
    ub_depth=512,
    ub_segments=4,
    acc_depth=128,
    param_sets=16,
    tables=2,
    addr_bits=32,
)
MEMORIES = ("dram", "ub", "acc", "params", "tables")

pytestmark = pytest.mark.skipif(native.library() is None, reason="there is no C++ compiler")


def after(program, monkeypatch, *, compiled):
    """Every memory after the program ran twice: the second time on what the first one left.

    All of DRAM but the program is another then, weights and parameters too. In numpy the second
    time is on a machine that has seen nothing before.
    """
    with monkeypatch.context() as patch:
        if not compiled:
            patch.setattr(native, "library", lambda: None)
            patch.setattr("hpu.sim.state.library", lambda: None)
        machine = Machine(program.config, program.dram.size)
        machine.dram[:] = program.dram
        machine.run(program.program_address, program.count)
        place = slice(program.program_address, program.program_address + 128 * program.count)
        kept = machine.dram[place].copy()
        machine.dram ^= np.random.default_rng(0).integers(0, 4, program.dram.size, np.uint8)
        machine.dram[place] = kept
        if not compiled:
            machine = copy_of(machine)
        outcome = machine.run(program.program_address, program.count)
        return outcome, {name: getattr(machine, name) for name in MEMORIES}


def copy_of(machine):
    other = Machine(machine.config, machine.dram.size)
    for name in MEMORIES:
        getattr(other, name)[:] = getattr(machine, name)
    other._state.acc_width[:] = machine.config.cols
    other._state.tile = machine._state.tile
    return other


@pytest.mark.parametrize("config", [LAB, CHUNKS], ids=lambda config: config.name)
def test_random_programs_leave_the_same_bytes(config, monkeypatch):
    for seed in range(50):
        program = random_program(config, seed, 50)
        outcome, found = after(program, monkeypatch, compiled=True)
        expected, wanted = after(program, monkeypatch, compiled=False)
        assert outcome == expected, f"seed {seed}"
        for name in MEMORIES:
            np.testing.assert_array_equal(found[name], wanted[name], f"seed {seed}: {name}")


def test_a_tile_of_no_rows_is_taken():
    assert native.NativeTile(np.zeros((0, 0), np.int8)).columns == 0


def test_without_a_compiler_there_are_no_loops(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _name: None)
    native.library.cache_clear()
    try:
        assert native.library() is None
    finally:
        native.library.cache_clear()
