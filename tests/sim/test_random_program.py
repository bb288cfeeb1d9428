"""Random programs: the same from a seed, legal, complete in what they cover."""

from collections import Counter

import pytest

from hpu.hw.config import TAPS, by_name
from hpu.hw.isa import INSTRUCTIONS, violations
from hpu.sim.decode import decode
from hpu.sim.random_fault import faulty_programs
from hpu.sim.random_program import random_program
from hpu.sim.schedule import Schedule

LAB = by_name("lab-16")


def drawn(seeds: range) -> list:
    return [i for seed in seeds for i in decode(random_program(LAB, seed, 40).instructions, LAB)]


def test_a_seed_gives_one_program():
    first, again, other = (random_program(LAB, seed, 30) for seed in (4, 4, 5))
    assert first.instructions == again.instructions
    assert (first.dram == again.dram).all()
    assert first.instructions != other.instructions


@pytest.mark.parametrize("name", ["lab-16", "hai-v1"])
def test_instructions_are_legal_and_in_the_memory(name: str):
    config = by_name(name)
    program = random_program(config, 2, 30)
    for start in range(0, len(program.instructions), 128):
        assert list(violations(program.instructions[start : start + 128], config)) == []
    held = program.dram[program.program_address :][: len(program.instructions)]
    assert held.tobytes() == program.instructions


def test_every_choice_and_every_rare_case_occurs():
    program = drawn(range(40))
    seen = Counter()
    for instruction in program:
        for field in instruction.entry.own:
            value = instruction.values[field.name]
            low, high = field.bounds(LAB)
            if high - low < 4:
                seen[instruction.name, field.name, value] += 1
            if field.signed:
                seen[instruction.name, field.name, value < 0] += 1
        for bit in range(5):
            seen["wait", bit] += instruction.values["wait"] >> bit & 1
            seen["signal", bit] += instruction.values["signal"] >> bit & 1
    absent = {f"{axis}{tap}" for axis in ("dy", "dx") for tap in range(LAB.row_groups, TAPS)}
    for entry in INSTRUCTIONS:
        for field in entry.own:
            low, high = field.bounds(LAB)
            if high - low < 4:
                assert all(seen[entry.name, field.name, v] for v in range(low, high + 1)), field
            if field.signed and field.name not in absent:
                assert seen[entry.name, field.name, True], field
                assert seen[entry.name, field.name, False], field
    assert all(seen[side, bit] for side in ("wait", "signal") for bit in range(5))


def test_some_instructions_are_dispatched_before_what_they_wait_for():
    mixed = 0
    for seed in range(20):
        program = decode(random_program(LAB, seed, 40).instructions, LAB)
        order = [instruction.index for instruction in Schedule(program, LAB).order]
        assert sorted(order) == list(range(len(program)))
        mixed += order != sorted(order)
    assert mixed > 5


def test_faults_name_every_field_and_rule():
    faults = [faulty.what for faulty in faulty_programs(LAB, 0)]
    assert len(set(faults)) == len(faults)
    for entry in INSTRUCTIONS:
        for rule in entry.rules:
            assert f"{entry.name} against: {rule.doc}" in faults
        for field in entry.own:
            _, high = field.bounds(LAB)
            if high < (1 << 8 * field.size - field.signed) - 1:
                assert f"{entry.name} with {field.name}={high + 1}" in faults
