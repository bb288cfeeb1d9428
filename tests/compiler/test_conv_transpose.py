"""ConvTranspose and one-dimensional operators against onnxruntime on the very same model."""

import numpy as np
import pytest

from hpu.compiler import ir
from hpu.compiler.errors import UnsupportedError
from hpu.compiler.frontend import import_model
from hpu.hw.config import by_name

LAB = by_name("lab-16")
DTYPES = ("int8", "uint8")


def transposed(models, seed, spatial, **attributes):
    """A model of one ConvTranspose, and its random generator."""
    rng = np.random.default_rng(seed)
    m = models.Maker(rng)
    dtype = DTYPES[seed % 2]
    groups = attributes.get("group", 1)
    quant, last = m.quant(dtype, 0.05), m.quant(dtype, 1.5)
    x = m.dq(m.q(m.input([2, 2 * groups, *[5, 4][-spatial:]]), quant), quant)
    kernel = attributes.pop("kernel", [3, 3])[-spatial:]
    weights = m.weights((2 * groups, 3, *kernel), 1, "int8", bool(seed % 3))
    terms = [m.dq(weights[0], weights[1:], axis=1)]
    if seed % 3 == 0:
        bias = models.bias(m, quant, weights, 3 * groups)
        terms.append(m.dq(bias[0], bias[1:]))
    value = m.node("ConvTranspose", x, *terms, **attributes)
    value = m.node("Relu", value) if seed % 4 == 3 else value
    m.output(m.dq(m.q(value, last), last))
    return m.model(), rng


@pytest.mark.parametrize("seed", range(30))
def test_conv_transpose(models, check, seed):
    rng = np.random.default_rng(seed + 100)
    spatial = 1 if seed % 5 == 4 else 2
    strides = rng.integers(1, 4, spatial).tolist()
    kernel = rng.integers(1, 5, 2).tolist()
    dilations = rng.integers(1, 3, spatial).tolist()
    attributes = {"strides": strides, "dilations": dilations, "kernel": kernel}
    if seed % 3 == 0:
        attributes["group"] = 2
    mode = seed % 4
    if mode == 1:
        attributes["output_padding"] = [int(rng.integers(0, s)) for s in strides]
    if mode == 2:
        attributes["auto_pad"] = ["SAME_UPPER", "SAME_LOWER", "VALID"][seed % 3]
    else:
        reach = [d * (k - 1) for d, k in zip(dilations, kernel[-spatial:], strict=True)]
        attributes["pads"] = [int(rng.integers(0, r + 1)) for r in reach * 2]
    model, rng = transposed(models, seed, spatial, **attributes)
    check(model, rng, 1, machine=LAB)


def test_a_given_output_shape(models, check):
    model, rng = transposed(models, 2, 2, strides=[2, 3], output_shape=[10, 13], kernel=[3, 4])
    check(model, rng, 1, machine=LAB)


def test_phases_are_convolutions_of_a_share_of_the_taps(models):
    model, _ = transposed(models, 1, 2, strides=[2, 2], kernel=[4, 4], pads=[1, 1, 1, 1])
    graph = import_model(model)
    assert [type(op) for op in graph.ops] == [ir.Conv] * 4 + [ir.Move]
    assert all(op.weight.shape[1:3] == (2, 2) for op in graph.ops[:4])


def test_phases_without_taps_give_the_bias(models, check):
    model, rng = transposed(models, 3, 2, strides=[3, 3], kernel=[2, 1])
    check(model, rng, 1, machine=LAB)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("form", ["qdq", "qlinear"])
def test_convolution_of_rows(models, check, seed, form):
    rng = np.random.default_rng(seed)
    m = models.Maker(rng)
    quant, last = m.quant("int8", 0.05), m.quant("int8", 0.7)
    weights = m.weights((6, 4, 3), 0, "int8", bool(seed % 2))
    more = {"strides": [1 + seed % 3], "dilations": [1 + seed % 2], "pads": [seed % 3, 1]}
    if seed == 7:
        more = {"auto_pad": "SAME_UPPER", "strides": [2]}
    if form == "qlinear":
        m.input([2, 4, 11], "int8")
        m.output(m.node("QLinearConv", "x", *quant, *weights, *last, **more), "int8")
    else:
        x = m.dq(m.q(m.input([2, 4, 11]), quant), quant)
        value = m.node("Conv", x, m.dq(weights[0], weights[1:], axis=0), **more)
        m.output(m.dq(m.q(value, last), last))
    check(m.model(), rng, 0, machine=LAB)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "GlobalAveragePool"])
def test_pools_of_rows(models, check, op):
    rng = np.random.default_rng(5)
    m = models.Maker(rng)
    quant = m.quant("uint8", 0.05)
    more = {} if op.startswith("Global") else {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}
    x = m.dq(m.q(m.input([2, 4, 11]), quant), quant)
    m.output(m.dq(m.q(m.node(op, x, **more), quant), quant))
    check(m.model(), rng, 0 if op == "MaxPool" else 1, machine=LAB)


def test_three_spatial_dimensions_are_refused(models):
    rng = np.random.default_rng(5)
    m = models.Maker(rng)
    quant = m.quant("int8", 0.05)
    weights = m.weights((6, 4, 1, 1, 1), 0, "int8", False)
    x = m.dq(m.q(m.input([2, 4, 3, 3, 3]), quant), quant)
    m.output(m.dq(m.q(m.node("Conv", x, m.dq(weights[0], weights[1:])), quant), quant))
    with pytest.raises(UnsupportedError, match="it has 3 spatial dimensions; the HPU convolves 1"):
        import_model(m.model())
