"""Products with constant weights on either side and in batches, against onnxruntime."""

import numpy as np
import pytest

from hpu.compiler import ir
from hpu.compiler.errors import UnsupportedError
from hpu.compiler.frontend import import_model
from hpu.hw.config import by_name

LAB = by_name("lab-16")

#: Shapes of the activation and of the weights, and the side of the weights.
CASES = [
    ((3, 4, 5), (3, 5, 6), 1),
    ((2, 3, 4, 5), (2, 3, 5, 6), 1),
    ((2, 3, 4, 5), (3, 5, 6), 1),
    ((4, 5), (3, 5, 6), 1),
    ((1, 4, 5), (3, 5, 6), 1),
    ((4, 5), (1, 1, 5, 6), 1),
    ((4, 5), (7, 4), 0),
    ((2, 4, 5), (7, 4), 0),
    ((3, 4, 5), (3, 7, 4), 0),
]


@pytest.mark.parametrize("form", ["qdq", "qlinear"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_products(models, check, case, form):
    shape, weight, side = case
    rng = np.random.default_rng(len(shape) + len(weight))
    m = models.Maker(rng)
    quant, last = m.quant("int8", 0.05), m.quant("int8", 0.6)
    weights = m.weights(weight, 0, "int8", False)
    if form == "qlinear":
        m.input(shape, "int8")
        sides = [["x", *quant], weights] if side else [weights, ["x", *quant]]
        value = m.node("QLinearMatMul", *sides[0], *sides[1], *last)
        m.output(value, "int8")
    else:
        sides = [m.dq(m.q(m.input(shape), quant), quant), m.dq(weights[0], weights[1:])]
        value = m.node("MatMul", *(sides if side else sides[::-1]))
        m.output(m.dq(m.q(value, last), last))
    check(m.model(), rng, 0 if form == "qlinear" else 1, machine=LAB)


def test_scales_by_column_of_every_item(models, check):
    rng = np.random.default_rng(2)
    m = models.Maker(rng)
    quant, last = m.quant("uint8", 0.05), m.quant("uint8", 0.6)
    weights = m.weights((3, 5, 6), 2, "int8", True)
    x = m.dq(m.q(m.input((3, 4, 5)), quant), quant)
    value = m.node("Relu", m.node("MatMul", x, m.dq(weights[0], weights[1:], axis=2)))
    m.output(m.dq(m.q(value, last), last))
    graph = check(m.model(), rng, 1, machine=LAB)
    assert sum(isinstance(op, ir.Conv) for op in graph.ops) == 3


def test_a_product_along_the_pixels(models, check):
    """Of an image: the products run over y, so data moves before."""
    rng = np.random.default_rng(3)
    m = models.Maker(rng)
    quant, last = m.quant("int8", 0.05), m.quant("int8", 0.6)
    x = m.dq(m.q(m.input((2, 3, 4, 5)), quant), quant)
    x = m.dq(m.q(m.node("MaxPool", x, kernel_shape=[1, 1]), quant), quant)
    weights = m.weights((5, 7), 1, "int8", False)
    value = m.node("MatMul", x, m.dq(weights[0], weights[1:]))
    m.output(m.dq(m.q(value, last), last))
    check(m.model(), rng, 1, machine=LAB)


def test_two_activations_are_refused(models):
    rng = np.random.default_rng(3)
    m = models.Maker(rng)
    quant = m.quant("int8", 0.05)
    x = m.dq(m.q(m.input((4, 4)), quant), quant)
    m.output(m.dq(m.q(m.node("MatMul", x, x), quant), quant))
    with pytest.raises(UnsupportedError, match="one of its operands must be constant weights"):
        import_model(m.model())
