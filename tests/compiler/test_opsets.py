"""Operators in every opset in which they are: the same numbers, all of them on the HPU.

The numbers are onnxruntime's for the same network in opset 17.
"""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import hpu
from hpu.compiler.importer.load import MIN_OPSET
from hpu.compiler.support import FUNCTIONS

NEWEST = onnx.defs.onnx_opset_version()
#: The quantisation operators are older in no opset.
FIRST = 10
RNG = np.random.default_rng(3)
SCALE = 0.05


def weights(*shape):
    return np.round(RNG.normal(size=shape) * 30).astype(np.int8)


CONV, DENSE, BIAS = weights(4, 4, 3, 3), weights(64, 5), np.arange(5, dtype=np.float32)


class Network:
    """QuantizeLinear, DequantizeLinear, nodes, QuantizeLinear, DequantizeLinear; shape 1×4×4×4."""

    def __init__(self, opset):
        self.opset, self.nodes, self.constants = opset, [], {}
        self.value = self.dequantise(self.node("QuantizeLinear", "x", *self.quant()))

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def quant(self):
        return self.constant(np.float32(SCALE)), self.constant(np.int8(0))

    def node(self, op, *inputs, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"n_{name}", **attributes))
        return name

    def dequantise(self, name):
        return self.node("DequantizeLinear", name, *self.quant())

    def weight(self, value):
        return self.dequantise(self.constant(value))

    def axes(self, op, axes):
        """Squeeze and Unsqueeze: axes are an attribute before opset 13."""
        if self.opset < 13:
            return self.node(op, self.node("Relu", self.value), axes=axes)
        return self.node(
            op, self.node("Relu", self.value), self.constant(np.asarray(axes, np.int64))
        )

    def clip(self):
        if self.opset < 11:
            return self.node("Clip", self.value, min=-0.5, max=2.0)
        bounds = (self.constant(np.float32(bound)) for bound in (-0.5, 2.0))
        return self.node("Clip", self.value, *bounds)

    def near(self, low):
        """A value that is at least ``low``, or of magnitude below 1 where that is None."""
        if low is None:
            return self.node("Mul", self.node("Tanh", self.value), self.constant(np.float32(0.9)))
        more = self.node("Abs", self.value)
        return self.node("Add", more, self.constant(np.float32(low)))

    def reduce(self, op, axes, attribute_before):
        """Reductions: axes are an attribute before some opset."""
        if self.opset < attribute_before:
            return self.node(op, self.value, axes=axes)
        return self.node(op, self.value, self.constant(np.asarray(axes, np.int64)))

    def normalised(self):
        """BatchNormalization, every channel with numbers of its own."""
        rows = ((0.5, 1.5, -1, 2), (0.1, 0.2, 0.3, 0), (0, 0.5, 0, -0.5), (1, 2, 0.5, 1))
        constants = (self.constant(np.float32(row)) for row in rows)
        return self.node("BatchNormalization", self.value, *constants)

    def model(self):
        last = self.dequantise(self.node("QuantizeLinear", self.value, *self.quant()))
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 4, 4])],
            [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        ids = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=ids, ir_version=5)


CASES = {
    "Conv": lambda m: m.node("Conv", m.value, m.weight(CONV), pads=[1, 1, 1, 1]),
    "Gemm": lambda m: m.node("Gemm", m.node("Flatten", m.value), m.weight(DENSE), m.constant(BIAS)),
    "MatMul": lambda m: m.node("MatMul", m.node("Flatten", m.value), m.weight(DENSE)),
    "Add": lambda m: m.node("Add", m.value, m.value),
    "Relu": lambda m: m.node("Relu", m.value),
    "Clip": Network.clip,
    "LeakyRelu": lambda m: m.node("LeakyRelu", m.value, alpha=0.25),
    "Sigmoid": lambda m: m.node("Sigmoid", m.value),
    "Tanh": lambda m: m.node("Tanh", m.value),
    "MaxPool": lambda m: m.node("MaxPool", m.value, kernel_shape=[2, 2], strides=[2, 2]),
    "AveragePool": lambda m: m.node("AveragePool", m.value, kernel_shape=[2, 2], strides=[2, 2]),
    "GlobalAveragePool": lambda m: m.node("GlobalAveragePool", m.value),
    "Reshape": lambda m: m.node(
        "Reshape", m.node("Relu", m.value), m.constant(np.asarray([1, 64], np.int64))
    ),
    "Transpose": lambda m: m.node("Transpose", m.node("Relu", m.value), perm=[0, 2, 3, 1]),
    "Unsqueeze": lambda m: m.axes("Unsqueeze", [1]),
    "Squeeze": lambda m: m.axes("Squeeze", [0]),
    "Identity": lambda m: m.node("Identity", m.node("Relu", m.value)),
    "Dropout": lambda m: m.node("Dropout", m.node("Relu", m.value)),
}
#: Functions of one input, and where those are numbers that are not so everywhere.
NEAR = {
    **dict.fromkeys(("Acos", "Asin", "Atanh"), None),
    **dict.fromkeys(("Log", "Reciprocal", "Sqrt"), 0.2),
    "Acosh": 1.0,
}
WITH_CONSTANT = ("Div", "Max", "Min", "PRelu", "Pow", "Sub", "Mul")
FUNCTION_CASES = {
    **{
        op: lambda m, op=op: m.node(op, m.near(NEAR[op]) if op in NEAR else m.value)
        for op in (*FUNCTIONS, "Swish")
    },
    **{
        op: lambda m, op=op: m.node(op, m.near(0.1), m.constant(np.float32(1.5)))
        for op in WITH_CONSTANT
    },
    "Gelu": lambda m: m.node("Gelu", m.value, approximate="tanh"),
    "BatchNormalization": Network.normalised,
    "ReduceMean": lambda m: m.reduce("ReduceMean", [2, 3], 18),
    "ReduceSum": lambda m: m.reduce("ReduceSum", [1], 13),
    "ReduceMax": lambda m: m.reduce("ReduceMax", [2, 3], 18),
    "GlobalMaxPool": lambda m: m.node("GlobalMaxPool", m.value),
}
FUNCTION_CASES = {op: case for op, case in FUNCTION_CASES.items() if op not in CASES}
X = np.random.default_rng(4).normal(size=(1, 4, 4, 4)).astype(np.float32)


def network(name, opset):
    built = Network(opset)
    built.value = (CASES | FUNCTION_CASES)[name](built)
    return built.model()


@pytest.mark.parametrize("name", CASES)
def test_every_opset_gives_the_same(name):
    same(name, range(max(FIRST, min(since(name))), NEWEST + 1))


@pytest.mark.parametrize("name", FUNCTION_CASES)
def test_every_version_of_a_function_gives_the_same(name):
    same(name, sorted({max(FIRST, version) for version in since(name)} | {NEWEST}))


def same(name, opsets):
    assert max(since(name)) <= NEWEST
    twin = network(name, max(17, min(since(name)))).SerializeToString()
    (want,) = onnxruntime.InferenceSession(twin).run(None, {"x": X})
    assert np.ptp(want) > 4 * SCALE
    for opset in opsets:
        session = hpu.InferenceSession(network(name, opset), config="lab-16", no_fallback=True)
        (found,) = session.run(None, {"x": X})
        np.testing.assert_allclose(found, want, rtol=0, atol=1.01 * SCALE, err_msg=f"opset {opset}")


def since(name):
    schemas = onnx.defs.get_all_schemas_with_history()
    return [s.since_version for s in schemas if s.name == name and s.domain == ""]


@pytest.mark.parametrize("opset", range(MIN_OPSET, FIRST))
def test_float_models_older_than_the_quantisation_operators(opset):
    constants = {"w": CONV * np.float32(0.01), "v": DENSE * np.float32(0.01), "b": BIAS}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Flatten", ["r"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "v", "b"], ["y"], name="dense"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    ids = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=ids, ir_version=5)
    samples = np.random.default_rng(5).normal(size=(64, 4, 4, 4)).astype(np.float32)
    session = hpu.InferenceSession(
        model, config="lab-16", calibration={"x": samples}, no_fallback=True
    )
    (found,) = session.run(None, {"x": samples})
    (want,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": samples})
    assert np.abs(found - want).max() < 0.05 * np.ptp(want)


@pytest.mark.parametrize("opset", sorted({MIN_OPSET, 9, 11, 13, 14, 18, 22, NEWEST}))
@pytest.mark.parametrize("kind,gates", [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_layers(kind, gates, opset):
    rng = np.random.default_rng(6)
    shapes = {"w": (1, gates * 8, 4), "r": (1, gates * 8, 8)}
    constants = {name: rng.normal(0, 0.4, shape) for name, shape in shapes.items()}
    node = helper.make_node(kind, ["x", "w", "r"], ["", "y"], name="layer", hidden_size=8)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 8])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in constants.items()],
    )
    ids = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=ids, ir_version=5)
    samples = rng.normal(size=(48, 2, 4)).astype(np.float32)
    session = hpu.InferenceSession(
        model, config="lab-16", calibration={"x": samples}, no_fallback=True
    )
    (found,) = session.run(None, {"x": samples[:3]})
    model.opset_import[0].version = 14  # which onnxruntime has kernels of
    (want,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": samples[:3]})
    assert np.abs(found - want).max() < 0.05 * np.ptp(want)
