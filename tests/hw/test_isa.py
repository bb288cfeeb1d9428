"""The instruction table: places, domains, encoding and legality."""

import random

import numpy as np
import pytest

from hpu.hw.config import CONFIGS, by_name
from hpu.hw.isa import (
    BY_OPCODE,
    INSTRUCTION_BYTES,
    INSTRUCTIONS,
    Field,
    Opcode,
    Unit,
    violations,
)
from hpu.sim.decode import decode
from hpu.sim.random_program import random_program

LAB = by_name("lab-16")
ENTRIES = pytest.mark.parametrize("entry", INSTRUCTIONS, ids=lambda entry: entry.name)
FIELDS = [(entry, field) for entry in INSTRUCTIONS for field in entry.fields[1:]]
EACH_FIELD = pytest.mark.parametrize(
    ("entry", "field"), FIELDS, ids=[f"{entry.name}.{field.name}" for entry, field in FIELDS]
)


def extremes(field: Field) -> tuple[int, int]:
    bits = 8 * field.size
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if field.signed else (0, (1 << bits) - 1)


@ENTRIES
def test_fields_do_not_overlap_and_fit(entry):
    taken = [byte for f in entry.fields for byte in range(f.offset, f.offset + f.size)]
    assert len(set(taken)) == len(taken)
    assert max(taken) < INSTRUCTION_BYTES
    assert all(field.offset % field.size == 0 for field in entry.fields)
    assert len({field.name for field in entry.fields}) == len(entry.fields)


def test_opcodes_and_units_are_distinct():
    assert set(BY_OPCODE) == {int(opcode) for opcode in Opcode}
    assert {entry.unit for entry in INSTRUCTIONS} == set(Unit)


@EACH_FIELD
def test_field_round_trips_alone_at_its_bounds(entry, field):
    for value in (*extremes(field), *field.bounds(LAB), 1):
        decoded = entry.decode(entry.encode({field.name: value}))
        expected = dict.fromkeys(decoded, 0) | {"opcode": int(entry.opcode), field.name: value}
        assert decoded == expected


@EACH_FIELD
def test_field_refuses_what_does_not_fit(entry, field):
    low, high = extremes(field)
    kind = "signed" if field.signed else "unsigned"
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError) as error:
            entry.encode({field.name: value})
        message = f"{field.name} must fit {8 * field.size} bits {kind}, not {value}"
        assert str(error.value) == message


@EACH_FIELD
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_domains_lie_within_the_type(entry, field, config):
    low, high = field.bounds(config)
    assert extremes(field)[0] <= low <= high <= extremes(field)[1]


@EACH_FIELD
def test_a_value_outside_the_domain_is_named(entry, field):
    low, high = field.bounds(LAB)
    for value in (low - 1, high + 1):
        if extremes(field)[0] <= value <= extremes(field)[1]:
            found = list(violations(entry.encode({field.name: value}), LAB))
            assert f"{entry.name}.{field.name} must be {low} … {high}, not {value}" in found


@ENTRIES
def test_encode_refuses_an_unknown_field(entry):
    with pytest.raises(ValueError, match=f"^{entry.name} has no field 'speed'$"):
        entry.encode({"speed": 1})


def test_unknown_opcode_and_stray_bytes():
    assert list(violations(bytes(128), LAB)) == ["opcode must be one of 1, 2, 3, 4, 5, not 0"]
    good = random_program(LAB, 1, 1).instructions[:128]
    assert list(violations(good, LAB)) == []
    assert len(list(violations(good[:-1] + b"\1", LAB))) == 1


RULES = [(entry, rule) for entry in INSTRUCTIONS for rule in entry.rules]


@pytest.mark.parametrize(("entry", "rule"), RULES, ids=[f"{e.name}: {r.doc}" for e, r in RULES])
def test_every_rule_can_hold_and_can_be_broken(entry, rule):
    rng = random.Random(rule.doc)
    seen = set()
    for _ in range(300):
        most = rng.choice([0.05, 0.5, 1])  # some rules hold only when most fields are least or zero
        values = {f.name: drawn(rng, f, most) for f in entry.fields}
        broken = bool(rule.broken(values, LAB))
        sentence = f"{entry.name}: must hold: {rule.doc}"
        values.pop("opcode")
        assert (sentence in violations(entry.encode(values), LAB)) == broken
        seen.add(broken)
    assert seen == {False, True}


def drawn(rng: random.Random, field: Field, chance: float) -> int:
    low, high = field.bounds(LAB)
    return rng.randint(low, high) if rng.random() < chance else max(low, 0)


def test_decode_of_a_program_agrees_with_violations():
    """Legal instructions with one byte changed: about half become illegal."""
    rng = np.random.default_rng(3)
    words = np.frombuffer(random_program(LAB, 7, 60).instructions, np.uint8).reshape(-1, 128)
    words = np.tile(words, (20, 1))
    for word in words:
        word[rng.choice([0, 1, 2, 3, *range(4, 60), 100])] = rng.integers(256)
    legal = []
    for instruction in decode(words.tobytes(), LAB):
        data = words[instruction.index].tobytes()
        assert (instruction.entry is None) == any(violations(data, LAB))
        if instruction.entry is not None:
            assert instruction.values == instruction.entry.decode(data)
        legal.append(instruction.entry is not None)
    assert 0.1 < np.mean(legal) < 0.9


def test_decode_refuses_part_of_an_instruction():
    with pytest.raises(ValueError, match=r"^program must be a multiple of 128 bytes, not 100$"):
        decode(bytes(100), LAB)
