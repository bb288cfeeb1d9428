"""Writing a network with random weights, quantised in QDQ form or in float.

Activations are uint8 with one scale for a tensor, weights int8 with one scale for every output
channel. Scales follow from the variance that random weights give, so no calibration is needed.
"""

import dataclasses
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = ["Value", "Writer"]

#: Opset and IR version of the models: those of the year in which QDQ operators were complete.
OPSET, IR_VERSION = 17, 8
#: A tensor's range reaches this many standard deviations from zero.
_REACH = 4.0
#: Standard deviation of the weights' bytes: four of them stand below 127.
_BYTES = 30.0


@dataclasses.dataclass(frozen=True)
class Value:
    """An activation: the name of its real values, ``shape`` behind the batch, its range.

    ``power`` is the mean of the squares that is expected of it.
    """

    name: str
    shape: tuple[int, ...]
    low: float
    high: float
    power: float

    @property
    def channels(self) -> int:
        """The first size behind the batch."""
        return self.shape[0]


class Writer:
    """Nodes and constants of a network; the batch is symbolic.

    Parameters
    ----------
    seed:
        Of the weights.
    quantised:
        ``False`` gives the same network in float32, with the values that the bytes stand for.
    """

    def __init__(self, *, seed: int, quantised: bool = True):
        self._random = np.random.default_rng(seed)
        self._quantised = quantised
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._count = 0

    def model(self, name: str) -> onnx.ModelProto:
        """The finished model."""
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._constants)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def input(self, name: str, shape: tuple[int, ...], *, std: float = 1.0) -> Value:
        """A float32 input ``[batch, *shape]``, expected to be normal with ``std``."""
        self._inputs.append(_described(name, shape))
        reach = _REACH * std
        return self._quantise(Value(name, shape, -reach, reach, std**2))

    def output(self, value: Value, name: str) -> None:
        """Make ``value`` an output of the network."""
        self._node("Identity", [value.name], out=name)
        self._outputs.append(_described(name, value.shape))

    def conv(
        self,
        x: Value,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        clip: str = "",
    ) -> Value:
        """A convolution padded by half the kernel; ``clip`` is ``""``, ``Relu`` or ``Relu6``."""
        per_group, pad = x.channels // groups, kernel // 2
        std = 2.0 if clip == "Relu6" else 1.0
        parameters = self._parameters(x, (channels, per_group, kernel, kernel), 0, std)
        name = self._node(
            "Conv",
            [x.name, *parameters],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
            group=groups,
        )
        edges = tuple((size + 2 * pad - kernel) // stride + 1 for size in x.shape[1:])
        return self._clipped(name, (channels, *edges), std, clip)

    def dense(self, x: Value, units: int, *, clip: str = "", std: float = 1.0) -> Value:
        """A fully connected layer; its results have ``std`` before they are clipped."""
        parameters = self._parameters(x, (x.channels, units), 1, std)
        return self._clipped(self._node("Gemm", [x.name, *parameters]), (units,), std, clip)

    def add(self, a: Value, b: Value, *, clip: str = "") -> Value:
        """``a + b``."""
        std = float(np.sqrt(a.power + b.power))
        total = self._clipped(self._node("Add", [a.name, b.name]), a.shape, std, clip)
        # What a clip leaves of a sum with something clipped is more than half of its power.
        return dataclasses.replace(total, power=0.85 * std**2)

    def multiply(self, a: Value, b: Value) -> Value:
        """``a · b``, element by element."""
        reach = max(abs(a.low), a.high) * max(abs(b.low), b.high)
        name = self._node("Mul", [a.name, b.name])
        return self._quantise(Value(name, a.shape, -reach, reach, a.power * b.power))

    def sigmoid(self, x: Value) -> Value:
        """The logistic function."""
        return self._quantise(Value(self._node("Sigmoid", [x.name]), x.shape, 0.0, 1.0, 0.3))

    def tanh(self, x: Value) -> Value:
        """The hyperbolic tangent."""
        return self._quantise(Value(self._node("Tanh", [x.name]), x.shape, -1.0, 1.0, 0.4))

    def concat(self, a: Value, b: Value) -> Value:
        """Channels of ``a``, then those of ``b``; both must have one range."""
        if (a.low, a.high) != (b.low, b.high):
            raise ValueError(f"b must have a's range {(a.low, a.high)}, not {(b.low, b.high)}")
        shape = (a.channels + b.channels, *a.shape[1:])
        power = (a.power * a.channels + b.power * b.channels) / shape[0]
        name = self._node("Concat", [a.name, b.name], axis=1)
        return self._quantise(Value(name, shape, a.low, a.high, power))

    def max_pool(self, x: Value, kernel: int, stride: int) -> Value:
        """The largest of each window, padded by half the window."""
        pad = kernel // 2
        name = self._node(
            "MaxPool",
            [x.name],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
        )
        edges = tuple((size + 2 * pad - kernel) // stride + 1 for size in x.shape[1:])
        return self._quantise(Value(name, (x.channels, *edges), x.low, x.high, 4.5 * x.power))

    def global_average(self, x: Value) -> Value:
        """The mean of every channel, ``[batch, channels]``."""
        name = self._node("GlobalAveragePool", [x.name])
        pooled = Value(name, (x.channels, 1, 1), x.low, x.high, x.power / 2)
        pooled = self._quantise(pooled)
        return dataclasses.replace(
            pooled, name=self._node("Flatten", [pooled.name]), shape=(x.channels,)
        )

    def _clipped(self, name: str, shape: tuple[int, ...], std: float, clip: str) -> Value:
        reach = _REACH * std
        if clip == "Relu":
            return self._quantise(Value(self._node("Relu", [name]), shape, 0.0, reach, std**2 / 2))
        if clip == "Relu6":
            bounds = [self._constant(np.float32(bound)) for bound in (0, 6)]
            clipped = self._node("Clip", [name, *bounds])
            return self._quantise(Value(clipped, shape, 0.0, 6.0, std**2 / 2))
        return self._quantise(Value(name, shape, -reach, reach, std**2))

    def _parameters(self, x: Value, shape: tuple[int, ...], axis: int, std: float) -> list[str]:
        """Names of the weights and the bias that give results of ``std``."""
        units = shape[axis]
        fan_in = int(np.prod(shape)) // units
        spread = self._random.uniform(0.8, 1.25, units)
        scale = spread * std / (np.sqrt(fan_in * x.power) * _BYTES)
        scale = scale.astype(np.float32)
        weights = self._random.standard_normal(shape, np.float32) * np.float32(_BYTES)
        weights = np.clip(np.rint(weights), -127, 127).astype(np.int8)
        bias_scale = _scale(x) * scale
        bias = np.rint(self._random.standard_normal(units) * 0.1 * std / bias_scale)
        bias = bias.astype(np.int32)
        return [
            self._dequantised(weights, scale, axis),
            self._dequantised(bias, bias_scale.astype(np.float32), 0),
        ]

    def _dequantised(self, data: np.ndarray, scale: np.ndarray, axis: int) -> str:
        if not self._quantised:
            sizes = [-1 if k == axis else 1 for k in range(data.ndim)]
            return self._constant(data.astype(np.float32) * scale.reshape(sizes))
        zeros = np.zeros(scale.shape, data.dtype)
        names = [self._constant(array) for array in (data, scale, zeros)]
        return self._node("DequantizeLinear", names, axis=axis)

    def _quantise(self, value: Value) -> Value:
        if not self._quantised:
            return value
        zero = np.uint8(round(-value.low / _scale(value)))
        pair = [self._constant(_scale(value)), self._constant(zero)]
        name = self._node("QuantizeLinear", [value.name, *pair])
        return dataclasses.replace(value, name=self._node("DequantizeLinear", [name, *pair]))

    def _constant(self, array: Any) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def _node(self, op_type: str, inputs: list[str], *, out: str = "", **attributes: Any) -> str:
        self._count += 1
        name = f"{op_type}_{self._count}"
        out = out or f"{name}_output"
        self._nodes.append(helper.make_node(op_type, inputs, [out], name=name, **attributes))
        return out


def _scale(value: Value) -> np.float32:
    return np.float32((value.high - value.low) / 255)


def _described(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    sizes: list[str | int] = ["batch", *shape]
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes)
