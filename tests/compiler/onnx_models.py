"""Small quantised ONNX models in QDQ and QOperator form, and running them."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

CUSTOM = {
    "QGemm",
    "QLinearAdd",
    "QLinearLeakyRelu",
    "QLinearSigmoid",
    "QLinearMul",
    "QLinearAveragePool",
    "QLinearConcat",
    "QLinearGlobalAveragePool",
}
TYPES = {"float32": TensorProto.FLOAT, "int8": TensorProto.INT8, "uint8": TensorProto.UINT8}


class Maker:
    """Nodes and constants of a model; names are given automatically."""

    def __init__(self, rng):
        self.rng = rng
        self.nodes, self.constants, self.inputs, self.outputs = [], [], [], []

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def input(self, shape, dtype="float32", name="x"):
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[dtype], shape))
        return name

    def output(self, name, dtype="float32"):
        self.outputs.append(helper.make_tensor_value_info(name, TYPES[dtype], None))

    def node(self, op, *inputs, out=None, **attributes):
        out = out or f"v{len(self.nodes)}"
        domain = "com.microsoft" if op in CUSTOM else ""
        node = helper.make_node(op, list(inputs), [out], domain=domain, **attributes)
        node.name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(node)
        return out

    def quant(self, dtype, scale=None):
        """Names of a random scale and zero point."""
        scale = np.float32(scale or 2.0 ** self.rng.uniform(-6, -1))
        low = 0 if dtype == "uint8" else -128
        zero = np.array(low + self.rng.integers(256), dtype)
        return [self.constant(scale), self.constant(zero)]

    def q(self, value, quant):
        return self.node("QuantizeLinear", value, *quant)

    def dq(self, value, quant, **attributes):
        return self.node("DequantizeLinear", value, *quant, **attributes)

    def model(self, opset=21):
        graph = helper.make_graph(self.nodes, "g", self.inputs, self.outputs, self.constants)
        domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=domains, ir_version=10)
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")
        return model

    def weights(self, shape, axis, dtype, per_channel, zero=False):
        """Names of random weights, their scale and their zero point."""
        low = 0 if dtype == "uint8" else -128
        data = self.rng.integers(low, low + 256, shape).astype(dtype)
        count = shape[axis] if per_channel else ()
        scale = (2.0 ** self.rng.uniform(-8, -4, count)).astype(np.float32)
        middle = np.full(count, low + (self.rng.integers(100, 156) if zero else 128), dtype)
        return [self.constant(data), self.constant(scale), self.constant(middle)]

    def value(self, name):
        """The array of a constant."""
        return next(numpy_helper.to_array(c) for c in self.constants if c.name == name)


def bias(maker, x_quant, weights, channels):
    """An int32 bias, its scale (x's times the weights') and zero point."""
    scale = maker.value(x_quant[0]) * maker.value(weights[1])
    data = maker.rng.integers(-3000, 3000, channels).astype(np.int32)
    zero = np.zeros(scale.shape, np.int32)
    return [maker.constant(data), maker.constant(scale), maker.constant(zero)]


def run(model, feeds, optimised=False):
    """onnxruntime's outputs; ``optimised``: QDQ groups become QLinear operators."""
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = (
        levels.ORT_ENABLE_EXTENDED if optimised else levels.ORT_DISABLE_ALL
    )
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def to_device(host, value):
    """Device bytes (n, y, x, c) of a user's input."""
    low = 0 if host.quantised == "uint8" else -128
    if host.dtype == "float32":
        steps = np.rint(value / np.float32(host.scale)) + host.zero
        value = np.clip(steps, low, low + 255)
    return (value - (low + 128)).astype(np.int8).reshape(host.view).transpose(host.perm)


def from_device(host, tensor):
    """The user's output of device bytes (n, y, x, c)."""
    low = 0 if host.quantised == "uint8" else -128
    value = tensor.transpose(np.argsort(host.perm)).reshape(host.shape)
    value = value.astype(np.int16) + low + 128
    if host.dtype == "float32":
        return (value - host.zero).astype(np.float32) * np.float32(host.scale)
    return value.astype(host.dtype)


def random_input(host, rng):
    """A random input that reaches every byte."""
    if host.dtype == "float32":
        low = 0 if host.quantised == "uint8" else -128
        steps = rng.integers(low - 10, low + 266, host.shape) - host.zero + rng.uniform(-0.4, 0.4)
        return (steps * host.scale).astype(np.float32)
    low = 0 if host.dtype == "uint8" else -128
    return rng.integers(low, low + 256, host.shape).astype(host.dtype)


def save(model, folder, name="model.onnx"):
    """The path of the saved model."""
    path = folder / name
    onnx.save(model, path)
    return path
