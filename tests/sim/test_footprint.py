"""Footprints against a walk over every element."""

import dataclasses

import numpy as np
import pytest

from hpu.hw.assembler import assemble
from hpu.hw.config import by_name
from hpu.sim.access import Box
from hpu.sim.decode import decode
from hpu.sim.footprint import Memory, footprint
from hpu.sim.random_program import random_program

LAB = by_name("lab-16")
TALL = dataclasses.replace(
    LAB, name="tall", rows=32, cols=8, group=8, axi_bytes=16, ub_depth=384, ub_segments=3
)


def walk(v: dict, config) -> tuple[set, set]:
    """Every access, element by element: (memory, word) pairs read and written."""
    reads, writes = set(), set()
    if v["opcode"] == 2 and v["source"] == 1:
        return {(Memory.UB, v["a_base"] + r) for r in range(v["rows"])}, writes
    if v["opcode"] == 2:
        pitch = config.pitch_chunks(v["width"])
        first = v["dram"] // config.group
        cells = {first + r * pitch + i for r in range(v["rows"]) for i in range(v["width"])}
        return {(Memory.DRAM, cell) for cell in cells}, writes
    space = {0: Memory.UB, 1: Memory.PARAM, 2: Memory.TABLE}
    scale = {Memory.UB: 1, Memory.PARAM: 8, Memory.TABLE: 256}
    index = 0
    for n in range(v["n_count"]):
        for y in range(v["y_count"]):
            for x in range(v["x_count"]):

                def at(prefix: str, n=n, y=y, x=x) -> int:
                    steps = n * v[f"{prefix}_n"] + y * v[f"{prefix}_y"] + x * v[f"{prefix}_x"]
                    return v[f"{prefix}_base"] + steps

                if v["opcode"] in (1, 5):
                    pitch = config.pitch_chunks(v["width"])
                    first = (v["dram"] + n * v["dram_n"] + y * v["dram_y"]) // config.group
                    side = reads if v["opcode"] == 1 else writes
                    for i in range(v["width"]):
                        side.add((Memory.DRAM, first + x * pitch + i))
                if v["opcode"] == 1:
                    memory = space[v["space"]]
                    writes.add((memory, at("d") % 2**24 // scale[memory]))
                if v["opcode"] == 5:
                    reads.add((Memory.UB, at("a") % 2**24))
                if v["opcode"] == 3:
                    writes.add((Memory.ACC, v["acc"] + index))
                    if v["accumulate"]:
                        reads.add((Memory.ACC, v["acc"] + index))
                    for t in range(v["taps"]):
                        dy, dx = v[f"dy{t}"], v[f"dx{t}"]
                        if inside(v, y, x, dy, dx):
                            offset = dy * v["tap_y"] + dx * v["tap_x"]
                            reads.add((Memory.UB, (at("a") + offset) % 2**24))
                if v["opcode"] == 4:
                    writes.add((Memory.UB, at("d") % 2**24))
                    if v["source"] == 0:
                        reads.add((Memory.ACC, v["a_base"] + index))
                    for ky in range(v["ky_count"]):
                        for kx in range(v["kx_count"]):
                            dy, dx = ky * v["y_dilation"], kx * v["x_dilation"]
                            if v["source"] == 1 and inside(v, y, x, dy, dx):
                                offset = ky * v["a_ky"] + kx * v["a_kx"]
                                reads.add((Memory.UB, (at("a") + offset) % 2**24))
                            if v["source"] == 1 and v["reduce"] == 3:
                                tap = ky * v["kx_count"] + kx
                                reads.add((Memory.PARAM, (8 * v["weights"] + tap) // 8))
                    if v["operand"]:
                        reads.add((Memory.UB, at("b") % 2**24))
                    if v["requantise"]:
                        reads.add((Memory.PARAM, v["params"]))
                    if v["use_table"]:
                        reads.add((Memory.TABLE, v["table"]))
                index += 1
    return reads, writes


def inside(v: dict, y: int, x: int, dy: int, dx: int) -> bool:
    iy = v["y0"] + y * v["y_step"] + dy
    ix = v["x0"] + x * v["x_step"] + dx
    return 0 <= iy < v["image_rows"] and 0 <= ix < v["image_cols"]


@pytest.mark.parametrize("config", [LAB, TALL], ids=lambda c: c.name)
@pytest.mark.parametrize("seed", range(30))
def test_random_instructions(config, seed: int):
    for instruction in decode(random_program(config, seed, 40).instructions, config):
        marks = footprint(instruction.values, config)
        for side, expected in zip(
            (marks.reads, marks.writes), walk(instruction.values, config), strict=True
        ):
            found = {(memory, int(w)) for memory, words in side.items() for w in words}
            assert found == expected, (seed, instruction)
            for words in side.values():
                assert words.dtype == np.int64 and words.size
                assert (np.diff(words) > 0).all()


def test_words_beyond_the_memory_are_left_out():
    first = LAB.ub_depth - 2
    text = f"STORE n_count=1 y_count=1 x_count=4 width=1 a_base={first} a_x=1"
    values = decode(assemble(text, LAB), LAB)[0].values
    assert footprint(values, LAB).reads[Memory.UB].tolist() == [first, first + 1]


@pytest.mark.parametrize("seed", range(50))
def test_boxes(seed: int):
    rng = np.random.default_rng(seed)
    counts = tuple(int(c) for c in rng.integers(1, 5, 3))
    strides = tuple(int(s) for s in rng.integers(-9, 10, 3))
    box = Box(100, counts, strides)
    walked = [
        100 + i * strides[0] + j * strides[1] + k * strides[2] for i, j, k in np.ndindex(counts)
    ]
    assert box.addresses().ravel().tolist() == walked
    assert box.extent() == (min(walked), max(walked))
    assert box.distinct() == (len(set(walked)) == len(walked)), seed
    memory = np.arange(200)
    assert box.view(memory).ravel().tolist() == walked
    assert box.inside(200) and not box.inside(max(walked))
