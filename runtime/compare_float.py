"""A quantised network without rounding: its float twin, for telling how much rounding costs.

QuantizeLinear becomes a clip to the range that its type reaches (a range can stand for a Relu), and
DequantizeLinear nothing; weights are the dequantised ones. Every value keeps its name, and holds
real numbers where it held integers.
"""

from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np
import onnx
from onnx import helper, numpy_helper

from hpu.compiler.errors import UnsupportedError
from hpu.compiler.importer.external import array_of

__all__ = ["float_twin"]

#: Operators that move, choose or clip numbers, so that they mean the same of real ones.
_SAME = {
    "Clip",
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "Max",
    "MaxPool",
    "Min",
    "Pad",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
}
#: Operators whose results do not depend on scale and zero point.
_ORDER = {"ArgMax", "ArgMin", "Shape", "Size"}
#: QLinear operators of one and of two operands, each with a scale and a zero point.
_ONE = {
    "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSigmoid": "Sigmoid",
}
_TWO = {"QLinearAdd": "Add", "QLinearMatMul": "MatMul", "QLinearMul": "Mul"}
_BYTES = ("int8", "uint8", "int16", "uint16")


def float_twin(model: onnx.ModelProto) -> onnx.ModelProto:
    """The twin of a checked, quantised model; its inputs are the model's own.

    Raises
    ------
    UnsupportedError
        At the first node of which the meaning without rounding is not known.
    """
    twin = _Twin(model)
    for node in model.graph.node:
        twin.take(node)
    return twin.model(model)


class _Twin:
    """Nodes and constants of the twin under construction."""

    def __init__(self, model: onnx.ModelProto):
        self._nodes: list[onnx.NodeProto] = []
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._constant = set(self._tensors)
        #: Values that held integers and are real now: scale and zero point of each.
        self._real: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._qlinear: dict[str, Callable[[onnx.NodeProto], None]] = {
            "QuantizeLinear": self._quantise,
            "DequantizeLinear": self._dequantise,
            "QLinearConv": self._conv,
            "QGemm": self._gemm,
            "QLinearConcat": self._concat,
            **dict.fromkeys(_ONE, self._one),
            **dict.fromkeys(_TWO, self._two),
        }

    def model(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """The finished twin of ``model``."""
        made = onnx.ModelProto()
        made.CopyFrom(model)
        del made.graph.node[:], made.graph.initializer[:], made.graph.value_info[:]
        made.graph.node.extend(self._nodes)
        made.graph.initializer.extend(self._tensors.values())
        outputs = [onnx.ValueInfoProto(name=value.name) for value in model.graph.output]
        del made.graph.output[:]
        made.graph.output.extend(outputs)
        return made

    def take(self, node: onnx.NodeProto) -> None:
        """Add what ``node`` means of real numbers."""
        inputs = [name for name in node.input if name]
        if node.op_type == "Constant" or (inputs and self._constant.issuperset(inputs)):
            self._constant.update(node.output)
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._tensors[node.output[0]] = _named(node.attribute[0].t, node.output[0])
            else:
                self._nodes.append(node)
        elif node.op_type in self._qlinear:
            self._qlinear[node.op_type](node)
        elif self._real.keys().isdisjoint(inputs) and not node.op_type.startswith("QLinear"):
            self._nodes.append(node)
        else:
            self._same(node)

    def _same(self, node: onnx.NodeProto) -> None:
        """An operator on values that were integers."""
        if node.op_type not in _SAME | _ORDER:
            _refuse(node, "it reads or gives integers as such")
        quant = next(self._real[name] for name in node.input if name in self._real)
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for k, name in enumerate(node.input):
            tensor = self._tensors.get(name)
            if tensor is not None and array_of(tensor).dtype.name in _BYTES:
                copy.input[k] = self._constants(self._steps(name, *quant))
        self._nodes.append(copy)
        if node.op_type in _SAME:
            self._real |= dict.fromkeys(node.output, quant)

    def _quantise(self, node: onnx.NodeProto) -> None:
        zero = node.input[2] if len(node.input) > 2 else ""
        attributes = {entry.name: entry.i for entry in node.attribute}
        dtype = np.dtype(
            helper.tensor_dtype_to_np_dtype(
                attributes.get("output_dtype") or onnx.TensorProto.UINT8
            )
        )
        middle = self._array(node, zero) if zero else np.zeros((), dtype)
        self._clip(node, node.input[0], self._array(node, node.input[1]), middle)

    def _dequantise(self, node: onnx.NodeProto) -> None:
        if node.input[0] in self._real:
            self._emit("Identity", node.input[:1], node.output[0])
        else:
            self._nodes.append(node)

    def _one(self, node: onnx.NodeProto) -> None:
        x = self._operand(node, 0)
        self._result(node, self._emit(_ONE[node.op_type], [x], attributes=_kept(node)), 3)

    def _two(self, node: onnx.NodeProto) -> None:
        ends = [self._operand(node, 0), self._operand(node, 3)]
        self._result(node, self._emit(_TWO[node.op_type], ends), 6)

    def _concat(self, node: onnx.NodeProto) -> None:
        ends = [self._operand(node, k) for k in range(2, len(node.input), 3)]
        self._result(node, self._emit("Concat", ends, attributes=_kept(node)), 0)

    def _conv(self, node: onnx.NodeProto) -> None:
        ends = [self._operand(node, 0), self._weights(node, 0)]
        if len(node.input) > 8 and node.input[8]:
            ends.append(self._bias(node, 8))
        self._result(node, self._emit("Conv", ends, attributes=_kept(node)), 6)

    def _gemm(self, node: onnx.NodeProto) -> None:
        turned = any(entry.name == "transB" and entry.i for entry in node.attribute)
        ends = [self._operand(node, 0), self._weights(node, 0 if turned else 1)]
        if node.input[6]:
            ends.append(self._bias(node, 6))
        made = self._emit("Gemm", ends, attributes=_kept(node))
        if len(node.input) > 8 and node.input[8]:
            self._result(node, made, 7)
        else:
            self._emit("Identity", [made], node.output[0])

    def _operand(self, node: onnx.NodeProto, k: int) -> str:
        """Operand ``k``, a real value; its scale and zero point stand behind it."""
        name, scale, zero = node.input[k : k + 3]
        if name in self._real:
            return name
        if name in self._constant:
            steps = self._steps(name, self._array(node, scale), self._array(node, zero))
            return self._constants(steps)
        return self._emit("DequantizeLinear", [name, scale, zero])

    def _weights(self, node: onnx.NodeProto, axis: int) -> str:
        """Operand 3, constant, with scales along ``axis``."""
        array = self._array(node, node.input[3])
        shape = [1] * array.ndim
        shape[axis] = -1
        ends = [self._array(node, name) for name in node.input[4:6]]
        scale, zero = (end.reshape(shape) if end.size > 1 else end.reshape(()) for end in ends)
        return self._constants(self._steps(node.input[3], scale, zero))

    def _bias(self, node: onnx.NodeProto, k: int) -> str:
        """Operand ``k``, int32 in steps of both other operands' scales."""
        steps = self._array(node, node.input[1]) * self._array(node, node.input[4])
        return self._constants((self._array(node, node.input[k]) * steps).astype(np.float32))

    def _steps(self, name: str, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
        array = array_of(self._tensors[name]).astype(np.int64)
        return ((array - zero.astype(np.int64)) * scale).astype(np.float32)

    def _result(self, node: onnx.NodeProto, value: str, k: int) -> None:
        """``value`` as the node's output, with the scale and zero point at inputs k and k + 1."""
        scale, zero = (self._array(node, name) for name in node.input[k : k + 2])
        self._clip(node, value, scale, zero)

    def _clip(self, node: onnx.NodeProto, value: str, scale: np.ndarray, zero: np.ndarray) -> None:
        if scale.size != 1 or zero.dtype.name not in _BYTES:
            _refuse(node, f"it quantises to {zero.dtype} with {scale.size} scales")
        scale, zero = scale.reshape(()).astype(np.float32), zero.reshape(())
        limits = np.iinfo(zero.dtype)
        low, high = (
            self._constants(np.array(float(scale) * (end - int(zero)), np.float32))
            for end in (limits.min, limits.max)
        )
        self._emit("Min", [self._emit("Max", [value, low]), high], node.output[0])
        self._real[node.output[0]] = (scale, zero)

    def _array(self, node: onnx.NodeProto, name: str) -> np.ndarray:
        if name not in self._tensors:
            _refuse(node, f"its input {name!r} is no constant that is known")
        return array_of(self._tensors[name])

    def _constants(self, array: np.ndarray) -> str:
        name = f"twin::{len(self._tensors)}"
        self._tensors[name] = numpy_helper.from_array(np.asarray(array), name)
        return name

    def _emit(
        self,
        op_type: str,
        inputs: Sequence[str],
        output: str = "",
        attributes: Sequence[onnx.AttributeProto] = (),
    ) -> str:
        output = output or f"twin:{len(self._nodes)}"
        node = helper.make_node(op_type, list(inputs), [output], name=f"twin {output}")
        node.attribute.extend(attributes)
        self._nodes.append(node)
        return output


def _kept(node: onnx.NodeProto) -> list[onnx.AttributeProto]:
    """A QLinear operator's attributes, those of its operator of real numbers."""
    kept = []
    for entry in node.attribute:
        if entry.name == "channels_last":
            if entry.i:
                _refuse(node, "its channels are last")
            continue
        kept.append(entry)
    return kept


def _named(tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    return copy


def _refuse(node: onnx.NodeProto, reason: str) -> NoReturn:
    raise UnsupportedError(node.op_type, node.name, reason)
