"""Programs against the naive interpreter: every byte of every tensor, and no race."""

import dataclasses

import numpy as np
import pytest

from hpu.compiler.backend import compile_graph
from hpu.compiler.errors import UnsupportedError
from hpu.hw.config import by_name

LAB = by_name("lab-16")
TALL = dataclasses.replace(LAB, name="tall", rows=24, cols=8, tile=8, weight_tiles=2)
WIDE = dataclasses.replace(
    LAB, name="wide", rows=8, cols=24, axi_bytes=8, param_sets=2, tables=1, acc_depth=32
)
TIGHT = dataclasses.replace(LAB, name="tight", ub_depth=512, ub_segments=2, queue_depth=2)
FULL = by_name("hai-v1")
CONFIGS = {config.name: config for config in (LAB, TALL, WIDE, TIGHT, FULL)}


@pytest.fixture
def agrees(naive, execute):
    """``agrees(graph, config)``: compile, run, and compare every tensor."""

    def check(graph, config, seed=0):
        rng = np.random.default_rng(seed)
        inputs = {
            h.tensor: rng.integers(-128, 128, graph.tensors[h.tensor].shape).astype(np.int8)
            for h in graph.inputs
        }
        expected = naive.interpret(graph, inputs)
        for keep in (False, True):
            program = compile_graph(graph, config, keep=keep)
            for name, value in execute(program, config, inputs).items():
                wrong = np.argwhere(value != expected[name])
                assert not len(wrong), f"{name} differs at {wrong[:3]} of {value.shape}"
        return program

    return check


@pytest.mark.parametrize("config", ["lab-16", "tall", "wide", "tight"])
@pytest.mark.parametrize("seed", range(25))
def test_random_graphs(random_graphs, agrees, config, seed):
    graph = random_graphs.random_graph(seed, size=9, channels=40, length=6, batch=3)
    agrees(graph, CONFIGS[config], seed)


@pytest.mark.parametrize("seed", range(6))
def test_random_graphs_that_spill(random_graphs, agrees, seed):
    graph = random_graphs.random_graph(seed, size=40, channels=20, length=4, batch=2)
    agrees(graph, LAB, seed)


@pytest.mark.parametrize("seed", range(4))
def test_random_graphs_at_full_size(random_graphs, agrees, seed):
    graph = random_graphs.random_graph(seed, size=16, channels=300, length=4, batch=4)
    agrees(graph, FULL, seed)
