"""Weight tiles of widths that fill their rows in DRAM."""

import itertools

import numpy as np
import pytest

from hpu.compiler.backend import compile_graph
from hpu.compiler.cells import with_cells
from hpu.compiler.narrow import _cycles, _widths
from hpu.compiler.plan_conv import sweep_for
from hpu.hw.config import by_name
from hpu.sim.decode import decode

LAB, FULL = by_name("lab-16"), by_name("hai-v1")


def _partitions(width):
    """Every way to write ``width`` as a sum."""
    for bits in itertools.product((False, True), repeat=width - 1):
        sizes, run = [], 1
        for cut in bits:
            if cut:
                sizes.append(run)
                run = 0
            run += 1
        yield (*sizes, run)


@pytest.mark.parametrize("width", range(1, 13))
def test_no_other_widths_are_faster(width):
    found = _widths(width, FULL)
    assert sum(found) == width
    best = min(_cycles(widths, FULL) for widths in _partitions(width))
    assert _cycles(found, FULL) == pytest.approx(best)


def _dense(random_graphs, outputs, rows=4, residual=False):
    b = random_graphs.Builder(5)
    x = b.input(rows, 1, 1, 300)
    other = b.unary(b.input(rows, 1, 1, outputs)) if residual else None
    return b.graph(b.conv(x, outputs, (1, 1), residual=other))


def _targets(graph, config):
    graph = with_cells(graph, {}, config)
    op = next(op for op in graph.ops if type(op).__name__ == "Conv")
    return sweep_for(op, config).targets


def test_a_narrow_block_is_cut_where_weights_take_the_time(random_graphs):
    targets = _targets(_dense(random_graphs, 256 + 94), FULL)
    assert [target.columns for target in targets] == [256, 64, 30]


def test_a_block_stays_whole_where_the_array_takes_the_time(random_graphs):
    targets = _targets(_dense(random_graphs, 256 + 94, rows=4000), FULL)
    assert [target.columns for target in targets] == [256, 94]


def test_a_block_under_a_residual_stays_whole(random_graphs):
    targets = _targets(_dense(random_graphs, 256 + 94, residual=True), FULL)
    assert [target.columns for target in targets] == [256, 94]


def test_every_copy_of_the_block_is_written(random_graphs, naive, execute):
    b = random_graphs.Builder(7)
    x = b.conv(b.input(2, 4, 4, 300), 96, (4, 4))
    graph = b.graph(b.conv(x, 20, (1, 1)))
    rng = np.random.default_rng(7)
    inputs = {
        h.tensor: rng.integers(-128, 128, graph.tensors[h.tensor].shape).astype(np.int8)
        for h in graph.inputs
    }
    program = compile_graph(graph, FULL)
    widths = {i.values["width"] for i in decode(program.instructions, FULL) if i.name == "WEIGHTS"}
    assert {4, 2} <= widths, "the 96 columns come as 64 and 32"
    expected = naive.interpret(graph, inputs)
    for name, value in execute(program, FULL, inputs).items():
        assert np.array_equal(value, expected[name]), name
