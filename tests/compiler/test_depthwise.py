"""Depthwise convolutions by the vector unit, against the naive interpreter: every byte."""

import dataclasses

import numpy as np
import pytest

from hpu.compiler.backend import compile_graph
from hpu.hw.config import by_name
from hpu.hw.isa import Reduce
from hpu.runtime.cell import Cell
from hpu.sim.cycles import predict
from hpu.sim.decode import decode

LAB, FULL = by_name("lab-16"), by_name("hai-v1")
FEW = dataclasses.replace(LAB, name="few", param_sets=6)


def vectors(program, config):
    """Field values of every VECTOR."""
    found = decode(program.instructions, config)
    return [i.values for i in found if i.entry.name == "VECTOR"]


@pytest.fixture
def run(random_graphs, naive, execute):
    """``run(config, shape, kernel, cells…)``: the program of one depthwise layer, checked."""

    def check(config, shape, kernel, *, cell=None, wide=False, **options):
        b = random_graphs.Builder(sum(shape))
        x = b.input(*shape)
        y = b.conv(x, shape[3], kernel, groups=shape[3], wide=wide, **options)
        graph = b.graph(y)
        program = compile_graph(graph, config, cells={x.name: cell, y.name: cell} if cell else {})
        value = np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)
        expected = naive.interpret(graph, {x.name: value})[y.name]
        found = execute(program, config, {x.name: value})[y.name]
        np.testing.assert_array_equal(found, expected)
        return program

    return check


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 2)])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 3), (3, 1)])
@pytest.mark.parametrize("size", [(7, 9), (1, 2), (3, 1)])
def test_windows_are_streamed(run, size, kernel, strides):
    pads = ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2, kernel[0] // 2, kernel[1] // 2)
    program = run(LAB, (2, *size, 20), kernel, strides=strides, pads=pads)
    if strides == (1, 1):
        used = vectors(program, LAB)
        assert {node.op_type for node in program.nodes} == {"Depthwise"}
        assert {v["reduce"] for v in used} == {Reduce.DOT}
        assert min(size) < 4 or all(v["stream"] for v in used)


def test_images_wider_than_a_line_are_cut_into_stripes(run):
    used = vectors(run(LAB, (1, 5, 75, 4), (3, 3), pads=(1, 1, 1, 1)), LAB)
    assert all(v["stream"] for v in used) and {v["x_count"] for v in used} == {25}


@pytest.mark.parametrize("options", [{"dilations": (2, 2)}, {"pads": (2, 2, 2, 2)}])
def test_other_windows_go_tap_by_tap(run, options):
    used = vectors(run(LAB, (1, 8, 8, 16), (3, 3), **options), LAB)
    assert not any(v["stream"] for v in used)


def test_a_large_kernel(run):
    program = run(LAB, (1, 9, 9, 40), (5, 5), pads=(2, 2, 2, 2))
    assert program.nodes[0].op_type in ("Depthwise", "Conv")


def test_weights_beyond_bytes_stay_on_the_array(run):
    assert run(LAB, (1, 6, 6, 8), (3, 3), wide=True).nodes[0].op_type == "Conv"


def test_more_channel_blocks_than_the_parameters_hold(run):
    """Sets of record and weights are loaded again and again, side by side."""
    program = run(FEW, (1, 4, 4, 100), (3, 3), pads=(1, 1, 1, 1))
    assert {v["params"] for v in vectors(program, FEW)} == {0, 3}
    assert all(v["weights"] == v["params"] + 1 for v in vectors(program, FEW))


@pytest.mark.parametrize("channels", [3, 4, 8])
def test_several_images_in_a_word(run, channels):
    cell = Cell(images=16 // (-(-channels // 4) * 4), group=4)
    run(LAB, (4, 6, 5, channels), (3, 3), pads=(1, 1, 1, 1), cell=cell)


@pytest.mark.parametrize(
    ("shape", "strides", "most"),
    [
        ((1, 112, 112, 256), (1, 1), 1.13),
        ((4, 14, 14, 256), (1, 1), 1.15),
        ((8, 7, 7, 512), (1, 1), 1.25),
        ((1, 112, 112, 256), (2, 2), 1.11),
    ],
)
def test_a_word_takes_about_a_cycle(random_graphs, shape, strides, most):
    b = random_graphs.Builder(0)
    y = b.conv(b.input(*shape), shape[3], (3, 3), strides=strides, pads=(1,) * 4, groups=shape[3])
    program = compile_graph(b.graph(y), FULL)
    times = predict(program.instructions, FULL, program_address=program.program_address)
    words = np.prod(shape[:3]) * -(-shape[3] // 256)
    assert times.busy["vector"] <= most * words
