"""Cells for a whole network: cheaper than plain, agreed between neighbours, always the same."""

import numpy as np
import pytest

from hpu.compiler.backend import compile_graph
from hpu.compiler.cells import mapping_of, with_cells
from hpu.compiler.choose import _Problem, candidates, choose_cells
from hpu.compiler.ir import Conv
from hpu.hw.config import by_name
from hpu.runtime.cell import PLAIN, Cell
from hpu.sim.cycles import predict

LAB = by_name("lab-16")
FULL = by_name("hai-v1")


def network(random_graphs, size=16, few=4, many=16):
    """A stem, a pool, and a bottleneck with its residual, of few and many channels."""
    b = random_graphs.Builder(4)
    x = b.conv(b.input(4, size, size, 3), few, (7, 7), strides=(2, 2), pads=(3, 3, 3, 3))
    x = b.pool(x, "max", (3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    y = b.conv(x, many, (1, 1))
    z = b.conv(b.conv(y, few, (1, 1)), few, (3, 3), pads=(1, 1, 1, 1))
    return b.graph(b.conv(z, many, (1, 1), residual=y))


@pytest.mark.parametrize("way", ["solved", "greedy"])
def test_cells_save_cycles_and_go_together(random_graphs, way):
    graph = network(random_graphs, 224, 64, 256)
    problem = _Problem(graph, FULL)
    cells = problem.solved(1.0) if way == "solved" else problem.greedy()
    ops = with_cells(graph, cells, FULL).ops
    plain = dict.fromkeys(graph.tensors, PLAIN)
    assert problem._cost(cells) < 0.5 * problem._cost(plain)
    matrix = [mapping_of(op, FULL).matrix for op in ops if isinstance(op, Conv)]
    assert problem._cost(cells) > sum(matrix)


def test_the_solver_is_no_worse_than_greed(random_graphs):
    problem = _Problem(network(random_graphs), LAB)
    assert problem._cost(problem.solved(1.0)) <= problem._cost(problem.greedy())


def test_greedy_where_the_solver_finds_nothing_in_time(random_graphs, monkeypatch):
    graph = network(random_graphs)
    monkeypatch.setattr("hpu.compiler.choose._Problem.solved", lambda self, effort: None)
    assert choose_cells(graph, LAB) == _Problem(graph, LAB).greedy()


def test_the_cycle_model_agrees_that_it_is_faster(random_graphs):
    graph = network(random_graphs)
    programs = [compile_graph(graph, LAB, cells=cells) for cells in (None, {})]
    packed, plain = (predict(p.instructions, LAB).cycles for p in programs)
    assert packed < 0.9 * plain


def test_the_same_graph_gets_the_same_cells(random_graphs):
    assert choose_cells(network(random_graphs), LAB) == choose_cells(network(random_graphs), LAB)


def test_tensors_of_other_operations_stay_plain(random_graphs):
    b = random_graphs.Builder(1)
    x = b.input(2, 4, 4, 4)
    y = b.move(x.shape, (), x, tail=False)
    cells = choose_cells(b.graph(b.conv(y, 4, (1, 1))), LAB)
    assert cells[x.name] == cells[y.name] == PLAIN


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((16, 56, 56, 64), {Cell(4, 1, 1, 16), Cell(1, 2, 2, 16), Cell(2, 1, 2, 16)}),
        ((8, 56, 56, 144), {Cell(8, 1, 1, 16, 32), Cell(4, 1, 1, 16, 64)}),
        ((1, 7, 7, 2048), set()),
    ],
    ids=["64 channels", "144 channels", "2048 channels"],
)
def test_candidates(shape, found):
    cells = candidates(shape, FULL)
    assert cells[0] == PLAIN
    assert found <= set(cells)
    assert all(cell.divides(shape) for cell in cells)
    words = [np.prod(cell.stored(shape)[:3]) for cell in cells[1:]]
    assert max(words, default=0) <= np.prod(shape[:3])


def test_a_mapping_that_gains_is_told(random_graphs):
    program = compile_graph(network(random_graphs), LAB)
    gains = [node.mapping for node in program.nodes if "instead of" in node.mapping]
    assert gains
    assert all("passes for" in text or "pass for" in text for text in gains)
