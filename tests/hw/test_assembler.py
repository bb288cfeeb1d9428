"""Assembler and disassembler: round trips over random instructions, and every error's text."""

import random

import pytest

from hpu.hw.assembler import AssemblyError, assemble, disassemble, format_instruction
from hpu.hw.config import by_name
from hpu.hw.isa import BY_NAME, INSTRUCTIONS, Unit
from hpu.sim.random_program import random_program

LAB = by_name("lab-16")
STORE = "STORE n_count=1 y_count=1 x_count=1 width=1"


@pytest.mark.parametrize("seed", range(5))
def test_random_programs_round_trip(seed: int):
    instructions = random_program(LAB, seed).instructions
    assert assemble(disassemble(instructions), LAB) == instructions


@pytest.mark.parametrize("entry", INSTRUCTIONS, ids=lambda entry: entry.name)
def test_any_field_values_round_trip_through_text(entry):
    rng = random.Random(entry.name)
    for _ in range(50):
        data = entry.encode(
            {
                field.name: field.decode(rng.getrandbits(8 * (field.offset + field.size)))
                for field in entry.fields[1:]
            }
        )
        words = format_instruction(data).split()
        assert words[0] == entry.name
        assert rebuilt(entry, words[1:]) == data


def rebuilt(entry, words: list[str]) -> bytes:
    """What the words say, read without the assembler."""
    choices = {field.name: field.choices for field in entry.fields}
    values = {}
    for word in words:
        name, value = word.split("=")
        if value[0] in "-0123456789":
            values[name] = int(value, 0)
        elif choices[name] is not None:
            values[name] = choices[name][value]
        else:
            values[name] = sum(1 << Unit[unit.upper()] for unit in value.split("+"))
    return entry.encode(values)


def test_text_form():
    text = (
        "STORE wait=load+vector signal=matrix n_count=1 y_count=2 x_count=3 dram=0x1000 "
        "dram_y=0x40 width=2 a_base=7 a_x=-1\n"
    )
    data = assemble(text, LAB)
    values = BY_NAME["STORE"].decode(data)
    assert (values["wait"], values["signal"]) == (0b01001, 0b00100)
    assert (values["dram"], values["a_base"], values["a_x"]) == (0x1000, 7, -1)
    assert disassemble(data) == text


def test_comments_blank_lines_and_case():
    text = f"# a program\n\n{STORE.lower()} wait=LOAD  # the only line\n"
    assert assemble(text, LAB) == assemble(f"{STORE} wait=load", LAB)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "JUMP to=3",
            "line 2: mnemonic must be one of LOAD, WEIGHTS, MATMUL, VECTOR, STORE, not 'JUMP'",
        ),
        (f"{STORE} speed=3", "line 2: STORE has no field 'speed'"),
        (f"{STORE} opcode=1", "line 2: STORE has no field 'opcode'"),
        (f"{STORE} a_base", "line 2: STORE: must be field=value, not 'a_base'"),
        (f"{STORE} a_base=", "line 2: STORE: must be field=value, not 'a_base='"),
        (f"{STORE} width=1", "line 2: STORE.width must be given once"),
        (f"{STORE} a_base=far", "line 2: STORE.a_base must be a number, not 'far'"),
        (
            f"{STORE} wait=loda",
            "line 2: STORE.wait must be of load, weights, matrix, vector, store, not 'loda'",
        ),
        (
            f"{STORE} wait=load+load",
            "line 2: STORE.wait must be of load, weights, matrix, vector, store, not 'load+load'",
        ),
        ("LOAD space=ROM", "line 2: LOAD.space must be of UB, PARAM, TABLE, not 'ROM'"),
        (f"{STORE} group=300", "line 2: STORE.group must fit 8 bits unsigned, not 300"),
        (f"{STORE} group=-1", "line 2: STORE.group must fit 8 bits unsigned, not -1"),
        (f"{STORE} group=4", "line 2: STORE.group must be 0 … 3, not 4"),
        (f"{STORE} dram=2", "line 2: STORE: must hold: dram is a multiple of the row's pitch"),
    ],
)
def test_errors_name_line_and_field(line: str, message: str):
    with pytest.raises(AssemblyError) as error:
        assemble(f"{STORE}\n{line}\n", LAB)
    assert str(error.value).startswith(message)


def test_disassembler_refuses_what_is_no_instruction():
    good = assemble(STORE, LAB)
    with pytest.raises(
        ValueError, match=r"^instructions must be a multiple of 128 bytes, not 100$"
    ):
        disassemble(good[:100])
    with pytest.raises(ValueError, match=r"^instruction 1: opcode must be one of 1, 2.*, not 0$"):
        disassemble(good + bytes(128))
    with pytest.raises(
        ValueError, match=r"^instruction 0: STORE has bytes set outside its fields$"
    ):
        disassemble(good[:-1] + b"\1")
