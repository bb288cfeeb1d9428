"""Functions of one tensor, with constants or without, against onnxruntime on the same bytes."""

import numpy as np
import pytest

from hpu.compiler import ir
from hpu.compiler.errors import UnsupportedError
from hpu.compiler.frontend import import_model
from hpu.compiler.support import FUNCTIONS

CONSTANTS = {"Div", "Max", "Min", "PRelu", "Pow"}
ATTRIBUTES = {
    "Celu": {"alpha": 0.5},
    "Elu": {"alpha": 0.7},
    "Gelu": {"approximate": "tanh"},
    "LeakyRelu": {"alpha": 0.3},
    "Selu": {"alpha": 1.2, "gamma": 1.1},
    "Shrink": {"bias": 0.25, "lambd": 0.5},
    "ThresholdedRelu": {"alpha": 0.6},
}
#: Functions that are numbers only on a part of the line: their bytes are mapped into it.
DOMAINS = {
    **dict.fromkeys(("Acos", "Asin", "Atanh"), (-0.99, 0.99)),
    **dict.fromkeys(("Log", "Sqrt", "Reciprocal"), (0.01, 3.0)),
    "Acosh": (1.0, 4.0),
}


def quantised(m, function, dtype="int8", low=-2.0, high=2.0, opset=21):
    """``function(real)`` between the two ends of a QDQ group whose bytes are low … high."""
    scale = np.float32((high - low) / 255)
    first = 0 if dtype == "uint8" else -128
    zero = int(np.clip(first - round(low / scale), first, first + 255))
    quant = [m.constant(scale), m.constant(np.array(zero, dtype))]
    y = m.quant(dtype, 0.03)
    real = m.dq(m.q(m.input([2, 3, 9, 10]), quant), quant)
    m.output(m.dq(m.q(function(real), y), y))
    return m.model(opset)


@pytest.mark.parametrize("op", sorted(set(FUNCTIONS) - CONSTANTS))
def test_of_one_input(models, check, op):
    rng = np.random.default_rng(len(op))
    m = models.Maker(rng)
    low, high = DOMAINS.get(op, (-2.0, 2.0))
    dtype = ("int8", "uint8")[len(op) % 2]
    attributes = ATTRIBUTES.get(op, {})
    model = quantised(m, lambda x: m.node(op, x, **attributes), dtype, low=low, high=high)
    graph = check(model, rng, 0)
    assert [type(each) for each in graph.ops] == [ir.Unary]


@pytest.mark.parametrize("shape", [(), (3, 1, 1), (1, 3, 1, 1)])
@pytest.mark.parametrize("op", sorted({"Add", "Mul", "Sub", *CONSTANTS}))
def test_with_a_constant(models, check, op, shape):
    rng = np.random.default_rng(len(op))
    m = models.Maker(rng)
    constant = m.constant(rng.uniform(0.5, 3.0, shape).astype(np.float32))
    low = 0.1 if op == "Pow" else -2.0
    graph = check(quantised(m, lambda x: m.node(op, x, constant), low=low), rng, 0)
    assert len(graph.ops) == 1
    table = graph.ops[0].table
    assert table.shape == ((256, 3) if shape else (256,))


def test_a_constant_on_the_left(models, check):
    rng = np.random.default_rng(1)
    m = models.Maker(rng)
    two = m.constant(np.float32(2))
    check(quantised(m, lambda x: m.node("Div", two, m.node("Pow", two, x))), rng, 0)


def test_a_whole_exponent(models, check):
    rng = np.random.default_rng(2)
    m = models.Maker(rng)
    cube = m.constant(np.int64(3))
    check(quantised(m, lambda x: m.node("Pow", x, cube)), rng, 0)


def test_constants_of_other_shapes_are_refused(models):
    m = models.Maker(np.random.default_rng(3))
    row = m.constant(np.ones(10, np.float32))
    model = quantised(m, lambda x: m.node("Max", x, row))
    with pytest.raises(UnsupportedError, match="must be one number, or one for every channel"):
        import_model(model)


def test_two_activations_have_no_table(models):
    m = models.Maker(np.random.default_rng(3))
    quant = m.quant("int8")
    other = m.dq(m.q(m.input([2, 3, 9, 10], name="other"), quant), quant)
    model = quantised(m, lambda x: m.node("Div", x, other))
    with pytest.raises(UnsupportedError, match="two activations; the HPU has a table for one"):
        import_model(model)


def swish(m, x):
    return m.node("Mul", x, m.node("Sigmoid", x))


def hard_swish(m, x):
    three, six, none = (m.constant(np.float32(v)) for v in (3, 6, 0))
    clipped = m.node("Clip", m.node("Add", x, three), none, six)
    return m.node("Div", m.node("Mul", x, clipped), six)


def gelu(m, x):
    root, one, half = (m.constant(np.float32(v)) for v in (np.sqrt(2), 1, 0.5))
    erf = m.node("Erf", m.node("Div", x, root))
    return m.node("Mul", m.node("Mul", x, m.node("Add", erf, one)), half)


def mish(m, x):
    return m.node("Mul", m.node("Tanh", m.node("Softplus", x)), x)


@pytest.mark.parametrize("pattern", [swish, hard_swish, gelu, mish])
def test_several_nodes_on_one_tensor_are_one_table(models, check, pattern):
    rng = np.random.default_rng(4)
    m = models.Maker(rng)
    graph = check(quantised(m, lambda x: pattern(m, x)), rng, 0)
    assert len(graph.ops) == 1 and graph.ops[0].table.shape == (256,)


def test_swish_with_its_sigmoid_quantised(models, check):
    rng = np.random.default_rng(5)
    m = models.Maker(rng)
    s = m.quant("uint8", 1 / 256)

    def pattern(x):
        return m.node("Mul", x, m.dq(m.q(m.node("Sigmoid", x), s), s))

    graph = check(quantised(m, pattern), rng, 1)
    assert [type(each) for each in graph.ops] == [ir.Unary, ir.Mul]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("op,attributes", [("Sigmoid", {}), ("LeakyRelu", {"alpha": 0.2})])
def test_qlinear_functions(models, check, op, attributes, dtype):
    """onnxruntime's kernels round the table's numbers in another way: within one byte."""
    rng = np.random.default_rng(5)
    m = models.Maker(rng)
    x, y = m.quant(dtype, 0.05), m.quant(dtype, 0.02)
    value = m.q(m.input([2, 3, 9, 10]), x)
    m.output(m.dq(m.node(f"QLinear{op}", value, *x, *y, **attributes), y))
    graph = check(m.model(), rng, 1)
    assert [type(each) for each in graph.ops] == [ir.Unary]


def test_one_function_read_twice(models, check):
    rng = np.random.default_rng(6)
    m = models.Maker(rng)
    e, f = m.quant("int8", 0.02), m.quant("int8", 0.03)

    def both(x):
        exp = m.node("Exp", x)
        return m.node("Mul", m.dq(m.q(m.node("Neg", exp), e), e), m.dq(m.q(exp, f), f))

    check(quantised(m, both), rng, 1)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_swish_of_newer_opsets(models, naive, alpha):
    """onnxruntime has it in its own opset alone."""
    rng = np.random.default_rng(7)
    m = models.Maker(rng)
    graph = import_model(quantised(m, lambda x: m.node("Swish", x, alpha=alpha), opset=24))
    x, y = graph.ops[0].x.quant, graph.ops[0].out.quant
    steps = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float64)
    real = (steps - x.zero) * x.scale
    want = np.rint(real / (1 + np.exp(-alpha * real)) / y.scale) + y.zero
    assert np.abs(graph.ops[0].table - np.clip(want, -128, 127)).max() <= 1
    assert np.mean(graph.ops[0].table != np.clip(want, -128, 127)) < 0.02


def normalisation(m, rng, channels=3):
    scale = rng.uniform(-1.5, 1.5, channels)
    arrays = [scale, rng.normal(size=channels), rng.normal(size=channels), rng.uniform(0.5, 2, 3)]
    return [m.constant(array.astype(np.float32)) for array in arrays]


def test_batch_normalization_is_a_table_for_every_channel(models, check):
    rng = np.random.default_rng(8)
    m = models.Maker(rng)
    constants = normalisation(m, rng)
    graph = check(quantised(m, lambda x: m.node("BatchNormalization", x, *constants)), rng, 0)
    assert graph.ops[0].table.shape == (256, 3)


@pytest.mark.parametrize("biased", [False, True])
def test_batch_normalization_joins_the_convolution(models, check, biased):
    """The bias is rounded to steps of the accumulator, so a byte may differ by one."""
    rng = np.random.default_rng(9)
    m = models.Maker(rng)
    weights = m.weights([3, 3, 3, 3], 0, "int8", True)
    constants = normalisation(m, rng)
    bias = [m.constant(rng.normal(size=3).astype(np.float32))] if biased else []

    def both(x):
        conv = m.node("Conv", x, m.dq(weights[0], weights[1:], axis=0), *bias)
        return m.node("Relu", m.node("BatchNormalization", conv, *constants))

    graph = check(quantised(m, both), rng, 1)
    assert [type(each) for each in graph.ops] == [ir.Conv]


def test_batch_normalization_in_training_is_refused(models):
    rng = np.random.default_rng(8)
    m = models.Maker(rng)
    constants = normalisation(m, rng)

    def training(x):
        value = m.node("BatchNormalization", x, *constants, training_mode=1)
        m.nodes[-1].output.extend(["mean", "variance"])
        return value

    model = quantised(m, training)
    with pytest.raises(UnsupportedError, match="training_mode must be 0"):
        import_model(model)
