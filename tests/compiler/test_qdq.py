"""Float constants and functions of one tensor in models that are quantised here."""

import collections

import numpy as np
import pytest

from hpu.compiler import ir
from hpu.compiler.frontend import import_model
from hpu.compiler.quantise import quantise
from hpu.compiler.reference import compare

RNG = np.random.default_rng(1)
SAMPLES = {"x": RNG.normal(0, 1.5, (32, 4, 6, 6)).astype(np.float32)}
PRODUCT = np.random.default_rng(2).normal(0, 0.3, (4, 4, 1, 1)).astype(np.float32)


def number(m, value):
    return m.constant(np.float32(value))


def gelu(m, x):
    erf = m.node("Erf", m.node("Div", x, number(m, np.sqrt(2))))
    half = m.node("Mul", x, m.node("Add", erf, number(m, 1)))
    return m.node("Mul", half, number(m, 0.5))


def swish(m, x):
    return m.node("Mul", x, m.node("Sigmoid", x))


def hard_swish(m, x):
    clipped = m.node("Clip", m.node("Add", x, number(m, 3)), number(m, 0), number(m, 6))
    return m.node("Div", m.node("Mul", x, clipped), number(m, 6))


def network(models, function, opset=17):
    """A convolution, the function of its result, another convolution."""
    m = models.Maker(np.random.default_rng(3))
    value = m.node("Conv", m.input(["N", 4, 6, 6]), m.constant(PRODUCT))
    value = function(m, value)
    m.output(m.node("Conv", value, m.constant(PRODUCT), out="y"))
    return m.model(opset)


def close(models, naive, model, db=30):
    """The graph of the quantised model, whose results are those of onnxruntime, or near float."""
    graph = import_model(model, calibration=SAMPLES, batch=4)
    x = {"x": SAMPLES["x"][:4]}
    device = {graph.inputs[0].tensor: models.to_device(graph.inputs[0], x["x"])}
    tensors = naive.interpret(graph, device)
    assert not [entry for entry in compare(graph, tensors) if entry.wrong]
    (host,), (want,) = graph.outputs, models.run(model, x)
    got = models.from_device(host, tensors[host.tensor])
    assert 10 * np.log10((want**2).sum() / ((got - want) ** 2).sum()) >= db
    return graph


@pytest.mark.parametrize("function", [gelu, swish, hard_swish])
def test_functions_of_one_tensor_are_one_table(models, naive, function):
    graph = close(models, naive, network(models, function))
    kinds = [type(op) for op in graph.ops]
    assert kinds == [ir.Conv, ir.Conv] and graph.ops[0].table is not None


def test_a_tensor_that_others_read_stays(models, naive):
    """The sigmoid is read by a pool as well."""

    def both(m, x):
        sigmoid = m.node("Sigmoid", x)
        pool = m.node("MaxPool", sigmoid, kernel_shape=[1, 1])
        return m.node("Add", m.node("Mul", x, sigmoid), pool)

    graph = close(models, naive, network(models, both))
    kinds = collections.Counter(type(op) for op in graph.ops)
    assert kinds[ir.Mul] == 1 and kinds[ir.Add] == 1


def test_a_function_of_two_tensors_stays(models, naive):
    def both(m, x):
        other = m.node("Conv", x, m.constant(PRODUCT))
        return m.node("Mul", m.node("Sigmoid", other), x)

    graph = close(models, naive, network(models, both))
    assert ir.Mul in [type(op) for op in graph.ops]


def test_a_function_that_the_model_gives_stays(models):
    m = models.Maker(np.random.default_rng(3))
    value = m.node("Conv", m.input(["N", 4, 6, 6]), m.constant(PRODUCT))
    sigmoid = m.node("Sigmoid", value, out="s")
    m.output(sigmoid)
    m.output(m.node("Mul", value, sigmoid, out="y"))
    graph = import_model(m.model(17), calibration=SAMPLES, batch=4)
    assert [host.name for host in graph.outputs] == ["s", "y"]


@pytest.mark.parametrize("op", ["Pow", "PRelu", "Max", "Div"])
def test_constants_stay_float(models, naive, op):
    def function(m, x):
        constant = np.float32(2) if op == "Pow" else np.float32([0.123, 0.5, 0.7, 1.9])
        return m.node(op, x, m.constant(constant.reshape(-1, 1, 1)))

    model = network(models, function)
    quantised = quantise(model, SAMPLES)
    (node,) = [node for node in quantised.graph.node if node.op_type == op]
    assert node.input[1] in {tensor.name for tensor in quantised.graph.initializer}
    close(models, naive, model)


def test_batch_normalization(models, naive):
    """Into the convolution before it by the folding; else a table for every channel."""
    rng = np.random.default_rng(5)

    def constants(m):
        arrays = [rng.uniform(0.5, 2, 4), rng.normal(size=4), rng.normal(size=4)]
        arrays.append(rng.uniform(0.5, 2, 4))
        return [m.constant(array.astype(np.float32)) for array in arrays]

    def both(m, x):
        value = m.node("BatchNormalization", x, *constants(m))
        value = m.node("MaxPool", m.node("Relu", value), kernel_shape=[2, 2])
        return m.node("BatchNormalization", value, *constants(m))

    graph = close(models, naive, network(models, both))
    assert [type(op) for op in graph.ops] == [ir.Conv, ir.Pool, ir.Conv]
    assert graph.ops[1].table.shape == (256, 4)


def test_identity_and_dropout_leave_nothing(models, naive):
    def both(m, x):
        return m.node("Identity", m.node("Dropout", m.node("Identity", x)))

    graph = close(models, naive, network(models, both))
    assert [type(op) for op in graph.ops] == [ir.Conv, ir.Conv]


@pytest.mark.parametrize("op", ["Exp", "Softplus", "Mish", "ReduceMax", "GlobalMaxPool"])
def test_operators_that_the_quantiser_leaves_by_itself(models, naive, op):
    attributes = {"axes": [2, 3]} if op == "ReduceMax" else {}
    opset = 18 if op == "Mish" else 17
    model = network(models, lambda m, x: m.node(op, x, **attributes), opset)
    assert len(close(models, naive, model, db=25).ops) <= 3
