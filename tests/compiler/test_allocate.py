"""First fit, lifetimes, and what moves to DRAM."""

import itertools

import numpy as np
import pytest

from hpu.compiler.allocate import Space, allocate, tensor_words
from hpu.compiler.backend import planner
from hpu.hw.config import by_name

LAB = by_name("lab-16")


@pytest.mark.parametrize("seed", range(5))
def test_space_against_a_map_of_words(seed):
    rng = np.random.default_rng(seed)
    space, used, held = Space(100), np.zeros(100, bool), []
    for _ in range(300):
        if held and rng.integers(0, 2):
            base, words = held.pop(int(rng.integers(0, len(held))))
            space.give(base, words)
            used[base : base + words] = False
            continue
        words = int(rng.integers(1, 30))
        runs = [b for b in range(101 - words) if not used[b : b + words].any()]
        base = space.take(words)
        assert base == (runs[0] if runs else None), f"seed {seed}"
        if base is not None:
            used[base : base + words] = True
            held.append((base, words))


def test_take_all_takes_all_or_nothing():
    space = Space(10)
    assert space.take_all([4, 7]) is None
    assert space.fits([4, 6])
    assert space.take_all([4, 6]) == [0, 4]
    assert not space.fits([1])


def test_live_tensors_lie_apart(random_graphs):
    graph = random_graphs.random_graph(11, size=8, channels=30, length=8, batch=1)
    bases, _ = allocate(graph, LAB, planner(LAB))
    last = {t.name: i for i, op in enumerate(graph.ops) for t in op.inputs}
    for index, op in enumerate(graph.ops):
        live = {t.name for t in (*op.inputs, op.out)} | {
            earlier.out.name
            for earlier in graph.ops[:index]
            if last.get(earlier.out.name, -1) >= index
        }
        places = sorted(
            (bases[n], bases[n] + tensor_words(graph.tensors[n], LAB)) for n in live if n in bases
        )
        assert places, "something fits"
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(places))
        assert places[-1][1] <= LAB.ub_depth


def test_a_tensor_that_waits_moves_to_dram_first(random_graphs):
    b = random_graphs.Builder(1)
    waits = b.unary(b.input(1, 20, 20, 4))
    x = b.unary(waits)
    for _ in range(2):
        x = b.unary(x)
    graph = b.graph(b.binary(x, waits))
    bases, _ = allocate(graph, LAB, planner(LAB))
    assert waits.name not in bases
    assert x.name in bases


def test_words_are_taken_where_asked():
    space = Space(10)
    assert space.take_at(4, 3) == 4
    assert space.take_at(6, 1) is None
    assert space.take(4) == 0
    assert space.take_at(7, 3) == 7
    assert not space.fits([1])
