"""Weight tiles that wait in the unified buffer."""

import dataclasses

import numpy as np
import pytest

from hpu.compiler.allocate import allocate
from hpu.compiler.backend import compile_graph, planner
from hpu.compiler.cells import with_cells
from hpu.compiler.ir import Conv, Stage
from hpu.compiler.stage import stage_weights
from hpu.hw.config import by_name
from hpu.hw.isa import TileSource, Unit
from hpu.sim.cycles import predict
from hpu.sim.decode import decode

LAB, FULL = by_name("lab-16"), by_name("hai-v1")
#: Room for tiles of dense layers, which wait for their weights.
ROOMY = dataclasses.replace(LAB, name="roomy", ub_depth=2048)


def _network(random_graphs, seed=1):
    """Much work with few weights, then little work with many."""
    b = random_graphs.Builder(seed)
    x = b.input(2, 10, 10, 16)
    for _ in range(3):
        x = b.conv(x, 16, (3, 3), pads=(1, 1, 1, 1))
    x = b.conv(x, 32, (10, 10))
    return b.graph(b.conv(x, 48, (1, 1)))


def _staged(graph, config):
    graph = stage_weights(with_cells(graph, {}, config), config)
    return graph, [op for op in graph.ops if isinstance(op, Stage)]


@pytest.fixture
def worth(monkeypatch):
    """Small tiles are staged too."""
    monkeypatch.setattr("hpu.compiler.stage._WORTH", 0)


def _execute(graph, config, execute, naive, seed=0):
    rng = np.random.default_rng(seed)
    inputs = {
        h.tensor: rng.integers(-128, 128, graph.tensors[h.tensor].shape).astype(np.int8)
        for h in graph.inputs
    }
    program = compile_graph(graph, config)
    expected = naive.interpret(graph, inputs)
    for name, value in execute(program, config, inputs).items():
        assert np.array_equal(value, expected[name]), f"seed {seed}: {name}"
    return program


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("worth")
def test_results_are_the_same(random_graphs, naive, execute, seed):
    graph = _network(random_graphs, seed)
    program = _execute(graph, ROOMY, execute, naive, seed)
    sources = [
        i.values["source"]
        for i in decode(program.instructions, ROOMY)
        if i.entry is not None and i.entry.unit == Unit.WEIGHTS
    ]
    assert set(sources) == {TileSource.DRAM, TileSource.UB}


def test_tiles_come_while_the_array_is_busy(random_graphs, monkeypatch):
    b = random_graphs.Builder(2)
    x = b.input(4, 28, 28, 256)
    for _ in range(2):
        x = b.conv(x, 256, (3, 3), pads=(1, 1, 1, 1))
    x = b.pool(x, "average", (28, 28))
    graph = b.graph(b.conv(x, 4096, (1, 1)))
    staged = compile_graph(graph, FULL)
    monkeypatch.setattr("hpu.compiler.backend.stage_weights", lambda graph, _config: graph)
    cycles = [
        predict(program.instructions, FULL).cycles
        for program in (staged, compile_graph(graph, FULL))
    ]
    assert cycles[0] < cycles[1] - 8000, "of 16 tiles, 1,349 cycles each, most come before"


def test_small_tiles_are_not_worth_it(random_graphs):
    assert _staged(_network(random_graphs), ROOMY)[1] == []


@pytest.mark.usefixtures("worth")
def test_every_tile_is_staged_once_and_before_its_use(random_graphs):
    graph, stages = _staged(_network(random_graphs), ROOMY)
    assert stages
    for stage in stages:
        assert graph.ops.index(stage) < graph.ops.index(stage.conv)
    users = [op for op in graph.ops if isinstance(op, Conv) and op.staged]
    for user in users:
        tiles = [tile for staged in user.staged for tile in staged.tiles]
        assert len(set(tiles)) == len(tiles)
        loaded = [tile for stage in stages if stage.conv is user for tile in stage.tiles]
        assert sorted(loaded) == sorted(tiles)


@pytest.mark.usefixtures("worth")
def test_nothing_is_staged_where_weights_come_in_time(random_graphs):
    fast = dataclasses.replace(LAB, name="fast", dram_bandwidth=LAB.dram_bandwidth * 100)
    graph = _network(random_graphs)
    assert _staged(graph, fast)[1] == []


@pytest.mark.usefixtures("worth")
def test_waiting_tiles_make_room_for_what_needs_it(random_graphs):
    graph, stages = _staged(_network(random_graphs), ROOMY)
    tight = dataclasses.replace(ROOMY, name="tight", ub_depth=512)
    bases, _ = allocate(graph, tight, planner(tight))
    assert any(stage.out.name not in bases for stage in stages)
    results = {op.out.name for op in graph.ops if not isinstance(op, Stage)}
    assert results <= bases.keys(), "only waiting tiles moved out"
