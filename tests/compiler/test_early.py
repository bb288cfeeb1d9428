"""Inputs of the network that are used late come early."""

import numpy as np
import pytest

from hpu.compiler.backend import compile_graph
from hpu.compiler.cells import with_cells
from hpu.compiler.early import fetch_early
from hpu.compiler.ir import Fetch
from hpu.hw.config import by_name

LAB = by_name("lab-16")


def _network(random_graphs, seed=0, size=2):
    b = random_graphs.Builder(seed)
    x, late = b.input(1, size, size, 8), b.input(1, size, size, 8)
    for _ in range(4):
        x = b.conv(x, 8, (1, 1))
    return b.graph(b.binary(x, late))


@pytest.mark.parametrize("seed", range(3))
def test_results_are_the_same(random_graphs, naive, execute, seed):
    graph = _network(random_graphs, seed)
    rng = np.random.default_rng(seed)
    inputs = {
        h.tensor: rng.integers(-128, 128, graph.tensors[h.tensor].shape).astype(np.int8)
        for h in graph.inputs
    }
    expected = naive.interpret(graph, inputs)
    for name, value in execute(compile_graph(graph, LAB), LAB, inputs).items():
        assert np.array_equal(value, expected[name]), f"seed {seed}: {name}"


def test_a_late_input_comes_two_convolutions_before(random_graphs):
    graph = fetch_early(with_cells(_network(random_graphs), {}, LAB), LAB)
    assert [isinstance(op, Fetch) for op in graph.ops] == [False] * 2 + [True] + [False] * 3
    fetch, use = graph.ops[2], graph.ops[-1]
    assert fetch.out in use.inputs
    assert fetch.x.whole is graph.tensors[graph.inputs[1].tensor]


def test_a_large_input_comes_when_it_is_used(random_graphs):
    graph = with_cells(_network(random_graphs, size=9), {}, LAB)
    assert fetch_early(graph, LAB) is graph
