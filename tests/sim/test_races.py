"""The race checker: what it lets pass, what it refuses, and in which words."""

import itertools
import re

import pytest

from hpu.hw.assembler import assemble
from hpu.hw.config import by_name
from hpu.hw.isa import BY_OPCODE
from hpu.sim.decode import decode
from hpu.sim.footprint import footprint
from hpu.sim.races import RaceError, check, own_race
from hpu.sim.random_program import random_program
from hpu.sim.schedule import Schedule

LAB = by_name("lab-16")
ONE = "n_count=1 y_count=1 x_count=1"
WINDOW = "ky_count=1 kx_count=1 image_rows=1 image_cols=1 high=127 low=-128"
LOAD = f"LOAD {ONE} space=UB width=1 copies=1"
STORE = f"STORE {ONE} width=1"
MATMUL = f"MATMUL {ONE} image_rows=1 image_cols=1 taps=1 tap_groups=1"
VECTOR = f"VECTOR {ONE} {WINDOW} d_width=1 d_copies=1"


def program(*lines: str) -> bytes:
    return assemble("\n".join(lines), LAB)


def refused(message: str, *lines: str) -> None:
    with pytest.raises(RaceError, match=f"^{re.escape(message)}$"):
        check(program(*lines), LAB)


def test_token_orders_two_instructions():
    check(program(f"{LOAD} d_base=5 signal=store", f"{STORE} a_base=5 wait=load"), LAB)


@pytest.mark.parametrize(
    ("message", "first", "second"),
    [
        (
            "instruction 1 (STORE) reads unified-buffer word 5, written by instruction 0 (LOAD), "
            "and no token orders the two",
            f"{LOAD} d_base=5",
            f"{STORE} a_base=5",
        ),
        (
            "instruction 1 (LOAD) writes unified-buffer word 5, read by instruction 0 (STORE), "
            "and no token orders the two",
            f"{STORE} a_base=5",
            f"{LOAD} dram=64 d_base=5",
        ),
        (
            "instruction 1 (VECTOR) writes unified-buffer word 5, written by instruction 0 (LOAD), "
            "and no token orders the two",
            f"{LOAD} d_base=5",
            f"{VECTOR} d_base=5",
        ),
        (
            "instruction 1 (VECTOR) reads accumulator word 3, written by instruction 0 (MATMUL), "
            "and no token orders the two",
            f"{MATMUL} acc=3",
            f"{VECTOR} a_base=3 d_base=5",
        ),
        (
            "instruction 1 (LOAD) writes parameter set 2, read by instruction 0 (VECTOR), "
            "and no token orders the two",
            f"{VECTOR} requantise=1 params=2",
            f"{LOAD.replace('UB', 'PARAM')} d_base=19",
        ),
        (
            "instruction 1 (LOAD) writes table 1, read by instruction 0 (VECTOR), "
            "and no token orders the two",
            f"{VECTOR} use_table=1 table=1",
            f"{LOAD.replace('UB', 'TABLE')} d_base=300",
        ),
        (
            "instruction 1 (LOAD) reads DRAM chunk 7, written by instruction 0 (STORE), "
            "and no token orders the two",
            f"{STORE} dram=28",
            f"{LOAD} dram=28 d_base=9",
        ),
        (
            "instruction 1 (WEIGHTS) reads DRAM chunk 9, written by instruction 0 (STORE), "
            "and no token orders the two",
            f"{STORE} dram=36",
            "WEIGHTS dram=32 rows=2 width=1",
        ),
    ],
)
def test_conflicts_without_a_token(message: str, first: str, second: str):
    refused(message, first, second)


def test_reads_do_not_conflict_and_a_unit_orders_itself():
    check(program(f"{STORE} a_base=5", f"{VECTOR} source=UB a_base=5 d_base=9"), LAB)
    check(program(f"{LOAD} d_base=5", f"{LOAD} d_base=5"), LAB)
    check(program(f"{VECTOR} requantise=0 params=2", f"{LOAD.replace('UB', 'PARAM')}"), LAB)


def test_order_goes_through_a_third_unit():
    middle = f"{VECTOR} d_base=9 wait=load signal=store"
    check(program(f"{LOAD} d_base=5 signal=vector", middle, f"{STORE} a_base=5 wait=vector"), LAB)


def test_weight_fifo_orders():
    weights = "WEIGHTS dram=32 rows=2 width=1"
    behind = f"{STORE} dram=32 a_base=9 wait=matrix"
    check(program(weights, f"{MATMUL} new_weights=1 signal=store", behind), LAB)
    refused(
        "instruction 2 (STORE) writes DRAM chunk 8, read by instruction 0 (WEIGHTS), "
        "and no token orders the two",
        weights,
        f"{MATMUL} signal=store",
        behind,
    )


def test_token_of_an_earlier_instruction_does_not_order_a_later_one():
    refused(
        "instruction 2 (STORE) reads unified-buffer word 6, written by instruction 1 (LOAD), "
        "and no token orders the two",
        f"{LOAD} d_base=5 signal=store",
        f"{LOAD} d_base=6",
        f"{STORE} a_base=6 wait=load",
    )


def test_vector_that_reads_its_own_results():
    loop = VECTOR.replace(" x_count=1", " x_count=4").replace("image_cols=1", "image_cols=9")
    shifted = f"{loop} source=UB x_step=1 a_x=1 d_x=1 a_base=10 d_base="
    refused(
        "instruction 0 (VECTOR) reads unified-buffer word 11, "
        "which an earlier element of its own loop wrote",
        f"{shifted}11",
    )
    check(program(f"{shifted}10"), LAB)  # in place
    check(program(f"{shifted}9"), LAB)  # behind its own reads
    residual = f"{loop} operand=ADD b_x=1 d_x=1 b_base=10 d_base="
    refused(
        "instruction 0 (VECTOR) reads unified-buffer word 11, "
        "which an earlier element of its own loop wrote",
        f"{residual}11",
    )


@pytest.mark.parametrize("seed", range(30))
def test_own_race_as_a_loop_over_elements(seed: int):
    """Vector instructions of random programs, with the destination moved onto what they read."""
    for instruction in decode(random_program(LAB, seed, 40).instructions, LAB):
        values = dict(instruction.values)
        if instruction.name == "VECTOR" and values["source"] == 1 and values["reduce"] == 0:
            values["d_base"] = values["a_base"]
            assert (own_race(values) is not None) == naive_own_race(values), seed


def naive_own_race(v: dict) -> bool:
    written = set()
    for n in range(v["n_count"]):
        for y in range(v["y_count"]):
            for x in range(v["x_count"]):
                reads = set()
                iy, ix = v["y0"] + y * v["y_step"], v["x0"] + x * v["x_step"]
                if 0 <= iy < v["image_rows"] and 0 <= ix < v["image_cols"]:
                    reads.add(address(v, "a", n, y, x))
                if v["operand"]:
                    reads.add(address(v, "b", n, y, x))
                own = address(v, "d", n, y, x)
                if reads & written:
                    return True
                written.add(own)
    return False


def address(v: dict, prefix: str, n: int, y: int, x: int) -> int:
    steps = n * v[f"{prefix}_n"] + y * v[f"{prefix}_y"] + x * v[f"{prefix}_x"]
    return (v[f"{prefix}_base"] + steps) % 2**24


@pytest.mark.parametrize("seed", range(20))
def test_random_programs_pass_and_each_needed_token_is_needed(seed: int):
    """Without its waits a program has a race, or never needed them."""
    good = random_program(LAB, seed, 40).instructions
    check(good, LAB)
    starts = range(0, len(good), 128)
    bare = b"".join(good[i : i + 1] + b"\0\0" + good[i + 3 : i + 128] for i in starts)
    with pytest.raises(RaceError):
        check(bare, LAB)


@pytest.mark.parametrize("seed", range(10))
def test_order_by_clocks_is_reachability(seed: int):
    """Dropping one instruction's tokens is refused exactly when a conflict is left unreachable in
    the graph of unit order, tokens and tiles."""
    good = random_program(LAB, seed, 25).instructions
    for victim in range(0, len(good) // 128, 3):
        data = bytearray(good)
        data[128 * victim + 1] = 0
        if Schedule(decode(bytes(data), LAB), LAB).cause:
            continue
        try:
            check(bytes(data), LAB)
            found = False
        except RaceError:
            found = True
        assert found == naive_race(bytes(data)), (seed, victim)


def naive_race(data: bytes) -> bool:
    """Any conflicting pair of different units that no path connects."""
    program = [BY_OPCODE[data[i]].decode(data[i : i + 128]) for i in range(0, len(data), 128)]
    after = edges(program)
    reach = [set() for _ in program]
    changed = True
    while changed:
        changed = False
        for first, seconds in enumerate(after):
            new = set(seconds).union(*(reach[s] for s in seconds)) - reach[first]
            reach[first] |= new
            changed |= bool(new)
    marks = [words(values) for values in program]
    return any(
        program[i]["opcode"] != program[j]["opcode"]
        and j not in reach[i]
        and i not in reach[j]
        and (marks[i][1] & (marks[j][0] | marks[j][1]) or marks[i][0] & marks[j][1])
        for i in range(len(program))
        for j in range(i)
    )


def edges(program: list) -> list[list[int]]:
    after = [[] for _ in program]
    for opcode in range(1, 6):
        mine = [i for i, v in enumerate(program) if v["opcode"] == opcode]
        for first, second in itertools.pairwise(mine):
            after[first].append(second)
        for other in range(1, 6):
            theirs = [i for i, v in enumerate(program) if v["opcode"] == other]
            gives = [i for i in mine if program[i]["signal"] >> (other - 1) & 1]
            takes = [i for i in theirs if program[i]["wait"] >> (opcode - 1) & 1]
            for first, second in zip(gives, takes, strict=False):
                after[first].append(second)
    tiles = [i for i, v in enumerate(program) if v["opcode"] == 2]
    takers = [i for i, v in enumerate(program) if v.get("new_weights")]
    for first, second in zip(tiles, takers, strict=False):
        after[first].append(second)
    return after


def words(values: dict) -> tuple[set, set]:
    """The instruction's words by its footprint, which has tests of its own."""
    marks = footprint(values, LAB)
    return tuple(
        {(memory, int(word)) for memory, found in side.items() for word in found}
        for side in (marks.reads, marks.writes)
    )
