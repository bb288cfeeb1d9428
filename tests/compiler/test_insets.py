"""Tensors in the memory of others: equal bytes, and no instruction that only copies."""

import pytest

from hpu.compiler.backend import compile_graph
from hpu.compiler.insets import with_insets
from hpu.compiler.pieces import box
from hpu.hw.config import by_name
from hpu.hw.isa import BY_NAME

LAB = by_name("lab-16")
FULL = by_name("hai-v1")


def vectors(program):
    """VECTOR instructions of a program's movements."""
    code = BY_NAME["VECTOR"].opcode
    moves = (node for node in program.nodes if node.op_type == "Move")
    moving = (i for node in moves for i in range(node.first, node.first + node.count))
    return sum(program.instructions[128 * i] == code for i in moving)


def plain(b):
    """Convolutions without clip or table, that share one quantisation."""
    b._tail = lambda channels: {}
    quant = b.quant()

    def conv(x, cout, kernel=(1, 1), **more):
        y = b.conv(x, cout, kernel, **more)
        y.quant = quant
        return y

    return conv


@pytest.mark.parametrize("widths", [(8, 4, 4), (4, 8), (16, 16, 5), (12, 3)])
def test_channels_are_written_where_they_are_joined(random_graphs, moves_agree, widths):
    b = random_graphs.Builder(3)
    conv = plain(b)
    x = b.input(2, 4, 5, 6)
    parts = [conv(x, c, (2, 2)) for c in widths]
    firsts = [sum(widths[:k]) for k in range(len(widths))]
    pieces = [box(k, t.shape, dest=(0, 0, 0, firsts[k])) for k, t in enumerate(parts)]
    y = b.move((2, 3, 4, sum(widths)), pieces, *parts, tail=False)
    graph = b.graph(conv(y, 7, (2, 2)))
    program = moves_agree(graph, LAB)
    assert vectors(program) == 0
    inset = with_insets(graph, LAB)
    assert sum(tensor.inset is not None for tensor in inset.tensors.values()) == len(widths)


def test_lanes_that_others_read_too_are_copied(random_graphs, moves_agree):
    b = random_graphs.Builder(3)
    conv = plain(b)
    x = b.input(1, 4, 5, 6)
    parts = [conv(x, c) for c in (8, 4)]
    pieces = [box(k, t.shape, dest=(0, 0, 0, 8 * k)) for k, t in enumerate(parts)]
    y = b.move((1, 4, 5, 12), pieces, *parts, tail=False)
    program = moves_agree(b.graph(conv(y, 7, (2, 2)), conv(parts[1], 3, (2, 1))), LAB)
    assert vectors(program) > 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_images_rows_and_columns_are_written_where_they_are_joined(
    random_graphs, moves_agree, axis
):
    b = random_graphs.Builder(4)
    conv = plain(b)
    x = b.input(2, 4, 5, 6)
    parts = [conv(x, 5, (1, 1)), conv(x, 5, (1, 1))]
    shape, dest = [2, 4, 5, 5], [0, 0, 0, 0]
    dest[axis] = shape[axis]
    pieces = [box(0, shape), box(1, shape, dest=dest)]
    shape[axis] *= 2
    y = b.move(tuple(shape), pieces, *parts, tail=False)
    program = moves_agree(b.graph(conv(y, 7, (2, 2)), conv(parts[0], 3, (2, 2))), LAB)
    assert vectors(program) == 0


def test_phases_are_written_between_one_another(random_graphs, moves_agree):
    b = random_graphs.Builder(5)
    conv = plain(b)
    x = b.input(1, 3, 4, 6)
    parts = [conv(x, 20, (1, 1)) for _ in range(4)]
    pieces = [
        box(k, (1, 3, 4, 20), dest=(0, k // 2, k % 2, 0), to_steps=(1, 2, 2, 1)) for k in range(4)
    ]
    y = b.move((1, 6, 8, 20), pieces, *parts, tail=False)
    program = moves_agree(b.graph(conv(y, 7, (3, 3))), LAB)
    assert vectors(program) == 0


@pytest.mark.parametrize("kind", ["rows", "channels", "every other row"])
def test_slices_are_read_where_they_are(random_graphs, moves_agree, kind):
    b = random_graphs.Builder(6)
    conv = plain(b)
    x = conv(b.input(2, 7, 6, 6), 32, (2, 2))
    if kind == "rows":
        y = b.move((2, 3, 4, 32), [box(0, (2, 3, 4, 32), origin=(0, 2, 1, 0))], x, tail=False)
    elif kind == "channels":
        y = b.move((2, 6, 5, 16), [box(0, (2, 6, 5, 16), origin=(0, 0, 0, 16))], x, tail=False)
    else:
        one = box(0, (2, 3, 5, 32), origin=(0, 1, 0, 0), from_steps=(1, 2, 1, 1))
        y = b.move((2, 3, 5, 32), [one], x, tail=False)
    more = b.pool(y, "max", (2, 2))
    program = moves_agree(b.graph(conv(y, 7, (2, 2)), b.binary(y, y), more), LAB)
    assert vectors(program) == 0


def test_a_tensor_that_goes_to_two_places_is_copied(random_graphs, moves_agree):
    b = random_graphs.Builder(5)
    conv = plain(b)
    part = conv(b.input(1, 3, 4, 6), 8, (1, 1))
    pieces = [box(0, part.shape, dest=(0, 0, k, 0), to_steps=(1, 1, 2, 1)) for k in range(2)]
    y = b.move((1, 3, 8, 8), pieces, part, tail=False)
    assert vectors(moves_agree(b.graph(conv(y, 7, (3, 3))), LAB)) > 0


def test_what_is_kept_or_in_dram_is_copied(random_graphs, execute):
    b = random_graphs.Builder(3)
    conv = plain(b)
    x = b.input(1, 40, 40, 6)
    parts = [conv(x, 8, (2, 2)), conv(x, 8, (2, 2))]
    pieces = [box(k, t.shape, dest=(0, 0, 0, 8 * k)) for k, t in enumerate(parts)]
    graph = b.graph(b.move((1, 39, 39, 16), pieces, *parts, tail=False))
    assert vectors(compile_graph(graph, LAB)) > 0
    assert vectors(compile_graph(graph, FULL, keep=True)) > 0
    assert vectors(compile_graph(graph, FULL)) > 0  # 16 channels have copies beside them


@pytest.mark.parametrize("config", ["lab-16", "hai-v1"])
def test_movements_in_slices_of_a_batch(random_graphs, moves_agree, config):
    b = random_graphs.Builder(3)
    conv = plain(b)
    x = b.input(8, 10, 10, 6)
    parts = [conv(x, 8, (2, 2)), conv(x, 8, (2, 2))]
    pieces = [box(k, t.shape, dest=(0, 0, 0, 8 * k)) for k, t in enumerate(parts)]
    y = b.move((8, 9, 9, 16), pieces, *parts, tail=False)
    program = moves_agree(b.graph(b.pool(conv(y, 7, (2, 2)), "max", (8, 8))), by_name(config))
    if config == "lab-16":  # the whole batch does not fit
        assert sum(node.op_type == "Pool" for node in program.nodes) > 1
        assert vectors(program) == 0


@pytest.mark.parametrize("config", ["lab-16", "hai-v1"])
def test_parts_of_one_lane_group_are_copied(random_graphs, moves_agree, config):
    b = random_graphs.Builder(3)
    conv = plain(b)
    x = b.input(1, 4, 4, 6)
    parts = [conv(x, 3), conv(x, 1)]
    pieces = [box(k, t.shape, dest=(0, 0, 0, 3 * k)) for k, t in enumerate(parts)]
    y = b.move((1, 4, 4, 4), pieces, *parts, tail=False)
    assert vectors(moves_agree(b.graph(conv(y, 7)), by_name(config))) > 0


def test_a_slice_of_an_input_that_is_held_whole(random_graphs, moves_agree):
    """The input is too large to come slice by slice, and yet fits the buffer."""
    b = random_graphs.Builder(3)
    x = b.input(2, 5, 5, 256)
    turned = box(0, (2, 5, 5, 256), origin=(0, 4, 0, 0), from_steps=(1, -1, 1, 1))
    other = box(0, (2, 5, 5, 256), origin=(0, 0, 4, 0), from_steps=(1, 1, -1, 1))
    both = [b.move((2, 5, 5, 256), [piece], x) for piece in (turned, other)]
    moves_agree(b.graph(*both), LAB)
