"""Movements that join their neighbours: the same bytes as onnxruntime, fewer operations."""

import numpy as np
import pytest

from hpu.hw.config import by_name

LAB = by_name("lab-16")


def kinds(graph):
    return [type(op).__name__ for op in graph.ops]


def ints(m, values):
    return m.constant(np.array(values, np.int64))


def begin(models, seed, shape, zero=None):
    rng = np.random.default_rng(seed)
    m = models.Maker(rng)
    quant = m.quant("int8", 0.1)
    if zero is not None:
        quant[1] = m.constant(np.int8(zero))
    return m, rng, quant, m.dq(m.q(m.input(shape), quant), quant)


def conv(m, x, last, cin, cout):
    weights = m.weights((cout, cin, 3, 3), 0, "int8", True)
    value = m.node("Conv", x, m.dq(weights[0], weights[1:], axis=0), pads=[0, 1, 0, 0])
    return m.dq(m.q(value, last), last)


@pytest.mark.parametrize("number,joins", [(0.0, True), (0.5, False)])
def test_padding_with_zero_joins_the_convolutions_after_it(models, check, number, joins):
    m, rng, quant, x = begin(models, 3, (1, 3, 5, 6))
    last = m.quant("int8", 0.7)
    x = m.node("Pad", x, ints(m, [0, 0, 1, 2, 0, 0, 3, 0]), m.constant(np.float32(number)))
    x = m.dq(m.q(x, quant), quant)
    for value in (conv(m, x, last, 3, 4), conv(m, x, last, 3, 2)):
        m.output(value)
    graph = check(m.model(), rng, 0, machine=LAB)
    assert kinds(graph) == (["Conv"] * 2 if joins else ["Move", "Conv", "Conv"])
    if joins:
        assert graph.ops[0].pads == (1, 3, 3, 0) and len(graph.ops[0].nodes) == 2


@pytest.mark.parametrize("zero,kernel,joins", [(-128, 3, True), (5, 3, False), (-128, 1, False)])
def test_padding_with_the_least_byte_joins_a_maximum(models, check, zero, kernel, joins):
    m, rng, quant, x = begin(models, 3, (1, 3, 5, 6), zero)
    x = m.node("Pad", x, ints(m, [0, 0, 1, 1, 0, 0, 2, 0]))
    x = m.dq(m.q(x, quant), quant)
    m.output(m.dq(m.q(m.node("MaxPool", x, kernel_shape=[kernel, kernel]), quant), quant))
    graph = check(m.model(), rng, 0, machine=LAB)
    assert kinds(graph) == (["Pool"] if joins else ["Move", "Pool"])


def test_padding_that_the_model_gives_stays(models, check):
    m, rng, quant, x = begin(models, 3, (1, 3, 5, 6))
    x = m.dq(m.q(m.node("Pad", x, ints(m, [0, 0, 1, 2, 0, 0, 3, 0])), quant), quant)
    m.output(x)
    m.output(conv(m, x, quant, 3, 4))
    assert kinds(check(m.model(), rng, 0, machine=LAB)) == ["Move", "Conv"]


@pytest.mark.parametrize("form", ["resize", "pad", "slices", "shuffle", "twice"])
def test_a_movement_into_a_join_is_one_movement(models, check, form):
    m, rng, quant, x = begin(models, 3, (1, 8, 6, 4))
    if form == "resize":
        scales = m.constant(np.float32([1, 1, 1, 2]))
        half = m.node("MaxPool", x, kernel_shape=[1, 2], strides=[1, 2])
        value = m.node("Resize", m.dq(m.q(half, quant), quant), "", scales, mode="nearest")
        value = m.node("Concat", value, x, axis=1)
    elif form == "pad":
        value = m.node("Concat", x, x, axis=2)
        value = m.node("Pad", value, ints(m, [0, 1, 1, 0, 0, 0, 2, 1]))
    elif form == "slices":
        top = m.node("Slice", x, ints(m, [0]), ints(m, [3]), ints(m, [1]))
        bottom = m.node("Slice", x, ints(m, [3]), ints(m, [7]), ints(m, [1]))
        value = m.node("Concat", bottom, top, axis=1)
    elif form == "shuffle":
        value = m.node("Reshape", x, ints(m, [1, 2, 4, 6, 4]))
        value = m.node(
            "Reshape", m.node("Transpose", value, perm=[0, 2, 1, 3, 4]), ints(m, [1, 8, 6, 4])
        )
        value = m.node("Concat", x, value, axis=3)
    else:
        value = m.node("Concat", x, x, axis=1)
        value = m.node("Concat", value, x, axis=1)
    value = m.dq(m.q(value, quant), quant)
    m.output(m.dq(m.q(m.node("MaxPool", value, kernel_shape=[2, 2]), quant), quant))
    graph = check(m.model(), rng, 0, machine=LAB)
    assert kinds(graph).count("Move") == 1


def test_what_another_operation_reads_too_is_made(models, check):
    m, rng, quant, x = begin(models, 3, (1, 8, 6, 4))
    top = m.node("Slice", x, ints(m, [0]), ints(m, [3]), ints(m, [1]))
    m.output(m.dq(m.q(m.node("MaxPool", top, kernel_shape=[2, 2]), quant), quant))
    m.output(m.dq(m.q(m.node("Concat", x, top, axis=1), quant), quant))
    assert kinds(check(m.model(), rng, 0, machine=LAB)).count("Move") == 2
