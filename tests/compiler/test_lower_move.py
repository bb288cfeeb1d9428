"""Data movements on the machine against loops over single elements, and no race."""

import dataclasses
import itertools

import numpy as np
import pytest

from hpu.compiler.backend import compile_graph
from hpu.compiler.errors import UnsupportedError
from hpu.compiler.pieces import FILL, Loop, Piece, around, box, inside, source_map
from hpu.compiler.turns import split_turns
from hpu.hw.config import by_name

LAB = by_name("lab-16")
TALL = dataclasses.replace(LAB, name="tall", rows=24, cols=8, tile=8, weight_tiles=2)
WIDE = dataclasses.replace(
    LAB, name="wide", rows=8, cols=24, axi_bytes=8, param_sets=2, tables=1, acc_depth=32
)
TIGHT = dataclasses.replace(LAB, name="tight", ub_depth=256, ub_segments=2, queue_depth=2)
CONFIGS = {config.name: config for config in (LAB, TALL, WIDE, TIGHT, by_name("hai-v1"))}
SEEDS = [pytest.param(s, marks=[pytest.mark.slow] if s > 9 else []) for s in range(60)]


@pytest.mark.parametrize("config", ["lab-16", "tall", "wide", "tight"])
@pytest.mark.parametrize("seed", SEEDS)
def test_random_moves(random_graphs, moves_agree, config, seed):
    b = random_graphs.Builder(seed)
    y = random_graphs.random_move(b, 40, 4)
    moves_agree(b.graph(y), CONFIGS[config], seed)


@pytest.mark.parametrize("seed", SEEDS[:12:4])
def test_random_moves_at_full_size(random_graphs, moves_agree, seed):
    b = random_graphs.Builder(seed)
    y = random_graphs.random_move(b, 300, 3)
    moves_agree(b.graph(y), CONFIGS["hai-v1"], seed)


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_moves_between_convolutions(random_graphs, moves_agree, seed):
    """Tensors of the unified buffer, read in copies by a kernel afterwards."""
    b = random_graphs.Builder(seed)
    x = b.conv(b.input(2, 5, 6, 7), 6, (3, 3))
    y = b.conv(x, 6, (1, 1))
    b.tensors[y.name].quant = x.quant
    joined = [box(0, (2, 3, 4, 6)), box(1, (2, 3, 4, 6), dest=(0, 0, 0, 6))]
    z = b.move((2, 3, 4, 12), joined, x, y, tail=False)
    moves_agree(b.graph(b.conv(z, 5, (2, 2)), b.pool(z, "max", (2, 2))), LAB, seed)


def test_moves_of_tensors_in_dram(random_graphs, moves_agree):
    b = random_graphs.Builder(3)
    x = b.input(2, 30, 40, 3)
    pieces = [
        box(0, (2, 30, 40, 3), dest=(0, 2, 1, 0)),
        *around((2, 33, 44, 3), (0, 2, 1, 0), (2, 32, 41, 3)),
    ]
    moves_agree(b.graph(b.move((2, 33, 44, 3), pieces, x, fill=9)), LAB)


def test_inside_cuts_and_keeps_every_element():
    rng = np.random.default_rng(5)
    loops = (Loop(3, 1, 1, 0, 2), Loop(4, 2, -2, 1, 3), Loop(3, 2, 1, 1, 1), Loop(2, 3, 1, 3, 4))
    piece = Piece(0, (0, 0, 6, 0), (1, 0, 0, 1), loops)
    shapes = [(1, 3, 9, 2)]
    whole = source_map([piece], (8, 13, 1, 8), shapes)
    for _ in range(50):
        low = rng.integers(0, 6, 4)
        limits = tuple(
            (int(a), int(a + w)) for a, w in zip(low, rng.integers(1, 9, 4), strict=True)
        )
        parts = list(inside(piece, limits))
        got = source_map(parts, (8, 13, 1, 8), shapes)
        want = np.full_like(whole, -2)
        where = tuple(slice(a, z) for a, z in limits)
        want[where] = whole[where]
        assert (got == want).all(), limits


def test_source_map_tells_gaps_and_overlaps():
    pieces = [box(0, (1, 1, 2, 1)), box(FILL, (1, 1, 2, 1), dest=(0, 0, 1, 0))]
    assert source_map(pieces, (1, 1, 4, 1), [(1, 1, 2, 1)]).ravel().tolist() == [0, -3, -1, -2]


def test_around_leaves_the_box():
    pieces = around((3, 4, 5, 6), (1, 0, 2, 3), (2, 3, 4, 6))
    found = source_map(pieces, (3, 4, 5, 6), [])
    want = np.full((3, 4, 5, 6), -1)
    want[1:2, 0:3, 2:4, 3:6] = -2
    assert (found == want).all()
    assert len(list(itertools.chain(pieces))) == 6


TURNS = [
    ((1, 1, 49, 30), "xc"),
    ((2, 1, 18, 21), "xc"),
    ((2, 3, 8, 16), "yxc"),
    ((1, 20, 3, 33), "yc"),
]


@pytest.mark.parametrize("config", ["lab-16", "tall", "wide", "hai-v1"])
@pytest.mark.parametrize("shape,axes", TURNS)
def test_transpositions_of_channels_in_squares(random_graphs, moves_agree, config, shape, axes):
    b = random_graphs.Builder(3)
    n, y, x, c = shape
    if axes == "xc":
        out, loops = (n, y, c, x), (Loop(y, 1, 1, 1, 1), Loop(x, 2, 1, 3, 1), Loop(c, 3, 1, 2, 1))
    elif axes == "yc":
        out, loops = (n, c, x, y), (Loop(x, 2, 1, 2, 1), Loop(y, 1, 1, 3, 1), Loop(c, 3, 1, 1, 1))
    else:
        out, loops = (
            (n, 1, c, y * x),
            (Loop(y, 1, 1, 3, x), Loop(x, 2, 1, 3, 1), Loop(c, 3, 1, 2, 1)),
        )
    loops = tuple(loop for loop in (Loop(n, 0, 1, 0, 1), *loops) if loop.size > 1)
    source = b.input(*shape)
    graph = b.graph(b.move(out, [Piece(0, (0,) * 4, (0,) * 4, loops)], source))
    program = moves_agree(graph, CONFIGS[config])
    if config != "hai-v1":
        assert len(split_turns(graph, CONFIGS[config]).ops) == 3
    assert program.instruction_count < 1000


def test_channels_gathered_one_by_one_are_refused_in_great_number(random_graphs):
    b = random_graphs.Builder(3)
    x = b.input(1, 1, 300, 300)
    loops = (Loop(300, 2, 1, 3, 1), Loop(300, 3, 1, 2, 1))
    halves = [Piece(0, (0,) * 4, (0,) * 4, loops), Piece(0, (0,) * 4, (0, 0, 300, 0), loops)]
    graph = b.graph(b.move((1, 1, 600, 300), halves, x))
    with pytest.raises(UnsupportedError) as caught:
        compile_graph(graph, CONFIGS["hai-v1"])
    assert str(caught.value) == (
        "Move node 'move0': it would take 180000 passes over the array to move its channels"
    )
