"""Runs of operations that take a few images at a time."""

import itertools

import numpy as np
import pytest

from hpu.compiler.allocate import allocate, tensor_words
from hpu.compiler.backend import compile_graph, planner
from hpu.compiler.ir import Fetch
from hpu.compiler.slices import Run, choose_runs, slice_graph
from hpu.hw.config import by_name
from hpu.sim.cycles import predict

LAB = by_name("lab-16")


def _network(random_graphs, batch=8, seed=3):
    """Two layers on large images, two on small ones, and a residual around the second pair."""
    b = random_graphs.Builder(seed)
    x = b.conv(b.input(batch, 12, 12, 12), 16, (3, 3), pads=(1, 1, 1, 1))
    x = b.conv(x, 16, (3, 3), pads=(1, 1, 1, 1))
    x = b.pool(x, "max", (2, 2), strides=(2, 2))
    y = b.conv(x, 16, (1, 1))
    return b.graph(b.conv(y, 16, (3, 3), pads=(1, 1, 1, 1), residual=x))


def _inputs(graph, seed):
    rng = np.random.default_rng(seed)
    return {
        h.tensor: rng.integers(-128, 128, graph.tensors[h.tensor].shape).astype(np.int8)
        for h in graph.inputs
    }


def test_runs_follow_one_another_and_cover_every_operation(random_graphs):
    graph = _network(random_graphs)
    runs = choose_runs(graph, LAB, LAB.ub_depth)
    assert runs[0].first == 0 and runs[-1].end == len(graph.ops)
    assert all(a.end == b.first for a, b in itertools.pairwise(runs))


def test_what_fits_is_not_sliced(random_graphs):
    graph = _network(random_graphs)
    runs = choose_runs(graph, LAB, 1 << 20)
    assert runs == [Run(i, i + 1, 8) for i in range(len(graph.ops))]
    assert slice_graph(graph, runs, LAB).ops == graph.ops


def test_what_does_not_fit_is_sliced_and_stays_in_the_buffer(random_graphs):
    graph = _network(random_graphs)
    assert graph.ops[0].out.shape[:3] == (8, 12, 12)
    assert LAB.ub_depth // 2 < 8 * 12 * 12, "two such layers do not fit at once"
    runs = choose_runs(graph, LAB, LAB.ub_depth)
    assert runs[0].images < 8 and runs[0].end > 2
    sliced = slice_graph(graph, runs, LAB)
    bases, _ = allocate(sliced, LAB, planner(LAB))
    inputs = {host.tensor for host in graph.inputs}
    spilled = [t.name for t in sliced.tensors.values() if t.name not in bases]
    assert all(name.split(",")[0] in inputs for name in spilled)


@pytest.mark.parametrize("images", [1, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_sliced_results_are_the_same(random_graphs, naive, execute, images, seed, monkeypatch):
    graph = _network(random_graphs, batch=7, seed=seed)
    runs = [Run(0, 3, images), Run(3, 5, 2 * images)]
    monkeypatch.setattr("hpu.compiler.backend.choose_runs", lambda *_: runs)
    inputs = _inputs(graph, seed)
    expected = naive.interpret(graph, inputs)
    for name, value in execute(compile_graph(graph, LAB), LAB, inputs).items():
        assert np.array_equal(value, expected[name]), f"seed {seed}: {name}"


def test_an_input_comes_slice_by_slice_before_it_is_needed(random_graphs):
    graph = _network(random_graphs, batch=4)
    sliced = slice_graph(graph, [Run(0, 5, 1)], LAB)
    fetched = [op for op in sliced.ops if isinstance(op, Fetch)]
    assert [op.x.first for op in fetched] == sorted(5 * [0, 1, 2, 3])
    assert all(op.x.whole is graph.tensors[graph.inputs[0].tensor] for op in fetched)
    second = fetched[5].out.name
    used = next(i for i, op in enumerate(sliced.ops) if op.x.name == second)
    assert sliced.ops.index(fetched[9]) < used - 1, "it comes while the slice before runs"


def test_slices_cost_less_than_spilling(random_graphs):
    graph = _network(random_graphs, batch=16)
    sliced, whole = (compile_graph(graph, LAB, keep=keep) for keep in (False, True))
    cycles = [predict(p.instructions, LAB).cycles for p in (sliced, whole)]
    assert cycles[0] < 0.8 * cycles[1]


def test_words_of_a_slice(random_graphs):
    graph = _network(random_graphs)
    sliced = slice_graph(graph, [Run(0, 5, 2)], LAB)
    part = sliced.ops[-1].out
    assert part.shape == (2, 6, 6, 16) and part.first == 6
    assert tensor_words(part, LAB) == 72
