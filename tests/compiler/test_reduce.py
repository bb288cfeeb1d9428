"""Reductions over space and channels, and global pools, against onnxruntime."""

import numpy as np
import pytest

from hpu.compiler import ir
from hpu.compiler.frontend import import_model
from hpu.hw.config import by_name

CONFIG = by_name("lab-16")
AXES = [(2, 3), (2,), (-1,), (1,), (1, 2, 3), (0, 1), (0, 1, 2, 3)]


def reduced(m, op, axes, keepdims=1, shape=(2, 5, 4, 3), dtype="int8", opset=21):
    """QDQ around the reduction; its axes are an input where the operator's opset has them so."""
    quant, y = m.quant(dtype, 0.05), m.quant(dtype, 0.4 if op == "ReduceSum" else 0.04)
    real = m.dq(m.q(m.input(list(shape)), quant), quant)
    old = opset < (13 if op == "ReduceSum" else 18)
    if old:
        value = m.node(op, real, axes=list(axes), keepdims=keepdims)
    else:
        value = m.node(op, real, m.constant(np.array(axes, np.int64)), keepdims=keepdims)
    m.output(m.dq(m.q(value, y), y))
    return m.model(opset)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceMax"])
def test_over_any_dimensions(models, check, op, axes):
    rng = np.random.default_rng(len(axes))
    m = models.Maker(rng)
    keepdims = len(axes) % 2
    check(reduced(m, op, axes, keepdims), rng, 0 if op == "ReduceMax" else 1, machine=CONFIG)


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceMax"])
def test_axes_as_an_attribute(models, check, op):
    rng = np.random.default_rng(1)
    m = models.Maker(rng)
    check(reduced(m, op, (2, 3), 0, dtype="uint8", opset=12), rng, 1)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceMax"])
def test_of_tokens(models, check, op, axis):
    rng = np.random.default_rng(2)
    m = models.Maker(rng)
    check(reduced(m, op, (axis,), shape=(2, 7, 20)), rng, 0 if op == "ReduceMax" else 1)


def kinds(model):
    return [type(op) for op in import_model(model).ops]


def test_what_the_machine_does(models):
    def model(op, axes):
        return reduced(models.Maker(np.random.default_rng(3)), op, axes)

    assert kinds(model("ReduceMean", (2, 3))) == [ir.Pool]
    assert kinds(model("ReduceMean", (1,))) == [ir.Conv]
    assert kinds(model("ReduceSum", (1,))) == [ir.Conv]
    assert kinds(model("ReduceSum", (2, 3))) == [ir.Pool, ir.Unary]
    assert kinds(model("ReduceMax", (3,))) == [ir.Pool]
    assert kinds(model("ReduceMax", (1,))) == [ir.Move, ir.Pool]


def test_no_axes(models, check):
    """All dimensions; or none, by an attribute."""
    rng = np.random.default_rng(4)
    for attributes in ({}, {"noop_with_empty_axes": 1}):
        m = models.Maker(rng)
        quant, y = m.quant("int8", 0.05), m.quant("int8", 0.04)
        real = m.dq(m.q(m.input([1, 5, 4, 3]), quant), quant)
        m.output(m.dq(m.q(m.node("ReduceMean", real, **attributes), y), y))
        check(m.model(), rng, 1)


def test_a_relu_after_a_sum(models, check):
    rng = np.random.default_rng(5)
    m = models.Maker(rng)
    quant, y = m.quant("int8", 0.05), m.quant("int8", 0.4)
    real = m.dq(m.q(m.input([1, 5, 4, 3]), quant), quant)
    value = m.node("ReduceSum", real, m.constant(np.array([2, 3])), keepdims=0)
    m.output(m.dq(m.q(m.node("Relu", value), y), y))
    check(m.model(), rng, 1)


@pytest.mark.parametrize("shape", [(2, 5, 4, 3), (2, 5, 9)])
@pytest.mark.parametrize("same", [True, False])
def test_global_max_pool(models, check, shape, same):
    rng = np.random.default_rng(6)
    m = models.Maker(rng)
    quant = m.quant("int8", 0.05)
    y = quant if same else m.quant("int8", 0.04)
    real = m.dq(m.q(m.input(list(shape)), quant), quant)
    m.output(m.dq(m.q(m.node("GlobalMaxPool", real), y), y))
    graph = check(m.model(), rng, 0)
    assert [type(op) for op in graph.ops] == [ir.Pool]


def test_maximum_of_bytes(models, check):
    rng = np.random.default_rng(7)
    m = models.Maker(rng)
    quant = m.quant("int8")
    value = m.node("ReduceMax", m.q(m.input([1, 5, 4, 3]), quant), m.constant(np.array([2, 3])))
    m.output(m.dq(value, quant))
    check(m.model(), rng, 0)
