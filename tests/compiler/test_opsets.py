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
    "HardSigmoid": lambda m: m.node("HardSigmoid", m.value),
    "HardSwish": lambda m: m.node("HardSwish", m.value),
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
X = np.random.default_rng(4).normal(size=(1, 4, 4, 4)).astype(np.float32)


def network(name, opset):
    built = Network(opset)
    built.value = CASES[name](built)
    return built.model()


@pytest.mark.parametrize("name", CASES)
def test_every_opset_gives_the_same(name):
    (want,) = onnxruntime.InferenceSession(network(name, 17).SerializeToString()).run(
        None, {"x": X}
    )
    assert np.ptp(want) > 4 * SCALE
    first = max(FIRST, min(since(name)))
    assert max(since(name)) <= NEWEST
    for opset in range(first, NEWEST + 1):
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
