"""Sub and Mul of two activations, and with a constant."""

import numpy as np
import pytest

from hpu.compiler import ir

DTYPES = ["int8", "uint8"]
KINDS = {"Add": ir.Add, "Sub": ir.Sub, "Mul": ir.Mul}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", KINDS)
def test_of_two_activations(models, check, op, dtype):
    rng = np.random.default_rng(len(op))
    m = models.Maker(rng)
    a, b, y = m.quant(dtype, 0.1), m.quant(dtype, 0.07), m.quant(dtype, 0.2)
    p = m.dq(m.q(m.input([2, 5, 6, 7], name="p"), a), a)
    q = m.dq(m.q(m.input([2, 5, 6, 7], name="q"), b), b)
    m.output(m.dq(m.q(m.node(op, p, q), y), y))
    graph = check(m.model(), rng, 1)
    assert [type(found) for found in graph.ops] == [KINDS[op]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_qlinear_mul(models, check, dtype):
    rng = np.random.default_rng(7)
    m = models.Maker(rng)
    a, b, y = m.quant(dtype, 0.1), m.quant(dtype, 0.07), m.quant(dtype, 0.9)
    p, q = (m.q(m.input([1, 20, 4, 4], name=name), quant) for name, quant in (("p", a), ("q", b)))
    m.output(m.dq(m.node("QLinearMul", p, *a, q, *b, *y), y))
    graph = check(m.model(), rng, 1)
    assert [type(found) for found in graph.ops] == [ir.Mul]


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("shape", [(), (3, 1, 1)])
@pytest.mark.parametrize("op", ["Sub", "Mul"])
def test_with_a_constant_is_a_table(models, check, op, shape, side):
    rng = np.random.default_rng(side)
    m = models.Maker(rng)
    quant, y = m.quant("int8", 0.04), m.quant("int8", 0.05)
    value = m.dq(m.q(m.input([2, 3, 16, 16]), quant), quant)
    constant = m.constant(rng.normal(size=shape).astype(np.float32))
    value = m.node(op, *((value, constant) if side == 0 else (constant, value)))
    m.output(m.dq(m.q(value, y), y))
    graph = check(m.model(), rng, 0)
    assert graph.ops[0].table.shape == ((256, 3) if shape else (256,))


def test_relu_joins_the_product(models, check):
    rng = np.random.default_rng(3)
    m = models.Maker(rng)
    quant, y = m.quant("int8", 0.1), m.quant("int8", 0.5)
    p = m.dq(m.q(m.input([1, 4, 5, 5]), quant), quant)
    m.output(m.dq(m.q(m.node("Relu", m.node("Mul", p, p)), y), y))
    graph = check(m.model(), rng, 1)
    assert len(graph.ops) == 1
