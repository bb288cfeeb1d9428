"""Instructions that move up: as early as they may, and not where they may not."""

import numpy as np
import pytest

from hpu.compiler.advance import advanced
from hpu.compiler.backend import compile_graph
from hpu.compiler.emit import Emitter, Memory, Span
from hpu.hw.config import by_name

LAB = by_name("lab-16")


def made(name, reads=(), writes=(), rows=1):
    """An instruction of so many rows; spans are words of the unified buffer."""
    emitter = Emitter(LAB)
    spans = ([Span(Memory.UB, *span) for span in side] for side in (reads, writes))
    least = {"n_count": 1, "y_count": 1, "x_count": rows}
    least |= {"MATMUL": {"taps": 1, "tap_groups": 1}}.get(name, {})
    emitter.emit(name, *spans, **least)
    return emitter.instructions[0]


def order(before, own):
    owned = [(i, 0) for i in before], [(i, 1) for i in own]
    merged = advanced(*owned)
    assert [i for i, owner in merged if owner == 0] == before
    assert [i for i, owner in merged if owner == 1] == own
    return [owner for _, owner in merged]


def product(pieces, rows=8):
    """Pieces of a convolution: a long multiplication and its drain to the next ten words."""
    result = []
    for at in range(pieces):
        result.append(made("MATMUL", [(100, 200)], rows=rows))
        result.append(made("VECTOR", [], [(10 * at, 10 * at + 10)]))
    return result


def test_each_follows_what_it_reads():
    own = [made("VECTOR", [(0, 10)], [(300, 305)]), made("VECTOR", [(5, 20)], [(305, 310)])]
    assert order(product(4), own) == [0, 0, 1, 0, 0, 1, 0, 0, 0, 0]


def test_order_of_its_own_is_kept():
    own = [made("VECTOR", [(10, 20)], [(300, 305)]), made("VECTOR", [(0, 10)], [(305, 310)])]
    assert order(product(3), own) == [0, 0, 0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("before", "own"),
    [
        (product(3, rows=1), [made("VECTOR", [(0, 10)], [(300, 305)])]),
        (product(3), [made("VECTOR", [(0, 10)], [(150, 155)])]),
        (product(3), [made("MATMUL", [(0, 10)])]),
    ],
    ids=["no slack", "memory in use", "products"],
)
def test_nothing_moves(before, own):
    assert order(before, own) == [0] * 6 + [1]


def test_the_vector_unit_goes_on_while_the_array_does(random_graphs, naive, execute):
    b = random_graphs.Builder(3)
    x = b.input(1, 16, 16, 16)
    y = b.conv(x, 16, (3, 3), pads=(1, 1, 1, 1))
    z = b.unary(y)
    graph = b.graph(z, b.unary(x))  # the input stays, so that z gets a place of its own
    program = compile_graph(graph, LAB, cells={})
    names = [node.name for node in program.nodes]
    assert names.count("conv0") > 1, names
    inputs = {x.name: np.random.default_rng(1).integers(-128, 128, x.shape).astype(np.int8)}
    found = execute(program, LAB, inputs)[z.name]
    assert (found == naive.interpret(graph, inputs)[z.name]).all()
