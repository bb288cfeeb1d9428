"""Concatenated channels that begin at lane groups."""

import numpy as np
import pytest

from hpu.compiler.align import align_concats
from hpu.compiler.backend import compile_graph, macs
from hpu.compiler.ir import Conv, Move
from hpu.compiler.pieces import FILL, box
from hpu.hw.config import by_name
from hpu.sim.cycles import predict

LAB, FULL = by_name("lab-16"), by_name("hai-v1")


def _concat(b, *parts):
    """The channels of ``parts`` side by side."""
    pieces, first = [], 0
    for number, part in enumerate(parts):
        pieces.append(box(number, part.shape, dest=(0, 0, 0, first)))
        first += part.shape[3]
    return b.move((*parts[0].shape[:3], first), pieces, *parts, tail=False)


def _network(random_graphs, seed, channels=(10, 7, 5), reader="conv"):
    b = random_graphs.Builder(seed)
    quant = b.quant()
    parts = []
    for count in channels:
        part = b.conv(b.input(2, 3, 3, 6), count, (1, 1))
        part.quant = quant
        parts.append(part)
    x = _concat(b, *parts)
    return b.graph(b.conv(x, 9, (2, 2)) if reader == "conv" else b.unary(x))


@pytest.mark.parametrize("seed", range(4))
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


def test_parts_begin_at_lane_groups_and_gaps_have_no_weight(random_graphs):
    graph = align_concats(_network(random_graphs, 0), LAB)
    move = next(op for op in graph.ops if isinstance(op, Move))
    reader = graph.ops[-1]
    assert isinstance(reader, Conv)
    places = sorted(piece.dest[3] for piece in move.pieces if piece.source != FILL)
    assert places == [0, 12, 20] and move.out.shape[3] == 25
    assert not reader.weight[..., [10, 11, 19]].any()
    assert reader.unused == 3
    assert macs(reader) == 2 * 2 * 2 * 9 * 4 * 22, "as the network defines it"


def test_aligned_parts_come_sooner(random_graphs, monkeypatch):
    graph = _network(random_graphs, 1, (680, 680))
    aligned = compile_graph(graph, FULL)
    monkeypatch.setattr("hpu.compiler.backend.align_concats", lambda graph, _config: graph)
    plain = compile_graph(graph, FULL)
    cycles = [predict(program.instructions, FULL).cycles for program in (aligned, plain)]
    assert cycles[0] < cycles[1] - 2000


@pytest.mark.parametrize(
    ("channels", "reader"), [((8, 4, 5), "conv"), ((10, 7, 5), "unary")], ids=["aligned", "unary"]
)
def test_others_stay_as_they_are(random_graphs, channels, reader):
    graph = _network(random_graphs, 2, channels, reader)
    assert align_concats(graph, LAB).ops == graph.ops
