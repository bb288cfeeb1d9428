"""The QOperator form: one node that reads bytes and writes bytes."""

import onnx
from onnx import helper

from hpu.compiler.importer import add, conv, dense, matmul, moves, pool, unary
from hpu.compiler.importer.build import Builder
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.quantisation import meet, onnx_quant, quant_constant
from hpu.compiler.importer.values import Activation, OnnxQuant, QuantConstant, Value
from hpu.compiler.importer.weights import weights_of

__all__ = [
    "max_pool",
    "q_gemm",
    "qlinear_average_pool",
    "qlinear_binary",
    "qlinear_concat",
    "qlinear_conv",
    "qlinear_function",
    "qlinear_global_average_pool",
    "qlinear_matmul",
]


def _read(builder: Builder, node: Node, data: int) -> Activation:
    """The activation in inputs ``data``, ``data + 1`` (scale) and ``data + 2`` (zero point)."""
    value = node.given(data)
    if not isinstance(value, Activation):
        node.refuse(f"its input {node.proto.input[data]!r} must be an activation")
    meet(node, value, onnx_quant(node, data + 1, data + 2, value.base.dtype))
    return builder.quantised(node, data)


def _result(node: Node, scale: int, like: Activation) -> OnnxQuant:
    """The result's quantisation in inputs ``scale`` and ``scale + 1``."""
    if node.input(scale) is None:
        node.refuse("it gives a float result; only quantised results are supported")
    assert like.base.quant is not None
    return onnx_quant(node, scale, scale + 1, like.base.quant.dtype)


def _constant(node: Node, k: int, axis: int) -> QuantConstant:
    return quant_constant(node, k, k + 1, k + 2, axis)


def _with(node: Node, inputs: list[Value | None]) -> Node:
    """The node with other inputs, for an importer of the float operator's place of inputs."""
    other = Node(node.proto, inputs, 0, node.opset)
    other.name = node.name
    return other


def qlinear_conv(builder: Builder, node: Node) -> Activation:
    """QLinearConv."""
    value = _read(builder, node, 0)
    weights = weights_of(_with(node, [_constant(node, 3, 0)]), 0, 0)
    pending = conv.convolve(builder, node, value, weights, node.input(8))
    return builder.emit(pending, node.output, _result(node, 6, value))


def qlinear_matmul(builder: Builder, node: Node) -> Activation:
    """QLinearMatMul with constant weights on either side."""
    left = not isinstance(node.given(0), Activation)
    value = _read(builder, node, 3 if left else 0)
    weights = _constant(node, 0 if left else 3, -2 if left else -1)
    pending = matmul.multiply(builder, node, value, weights, 0 if left else 1)
    return builder.emit(pending, node.output, _result(node, 6, value))


def q_gemm(builder: Builder, node: Node) -> Activation:
    """QGemm of the domain com.microsoft."""
    value = _read(builder, node, 0)
    axis = 0 if node.attribute("transB", 0) else 1
    weights = dense.gemm_weights(_with(node, [_constant(node, 3, axis)]), 0)
    pending = dense.product(builder, node, value, weights, node.input(6))
    return builder.emit(pending, node.output, _result(node, 7, value))


def qlinear_binary(builder: Builder, node: Node) -> Activation:
    """QLinearAdd and QLinearMul of com.microsoft, of two activations or one and a constant."""
    sides: list[Value | None] = []
    for k in (0, 3):
        if isinstance(node.given(k), Activation):
            value = _read(builder, node, k)
            sides.append(Activation(value.base, value.flat, real=True))
        else:
            sides.append(_constant(node, k, 0))
    read = [value for value in sides if isinstance(value, Activation)]
    if not read:
        node.refuse("both its inputs are constants")
    real = node.op_type.removeprefix("QLinear")
    plain = Node(helper.make_node(real, ["a", "b"], [node.output]), sides, 0, node.opset)
    plain.op_type, plain.name = node.op_type, node.name
    pending = (add.add if real == "Add" else add.binary)(builder, plain)
    return builder.emit(pending, node.output, _result(node, 6, read[0]))


def qlinear_function(builder: Builder, node: Node) -> Activation:
    """QLinearSigmoid and QLinearLeakyRelu of com.microsoft: tables."""
    value = _read(builder, node, 0)
    plain = _with(node, [Activation(value.base, value.flat, real=True)])
    plain.proto = onnx.NodeProto()
    plain.proto.CopyFrom(node.proto)
    plain.proto.op_type, plain.proto.domain = node.op_type.removeprefix("QLinear"), ""
    del plain.proto.input[1:]
    pending = unary.function(builder, plain)
    return builder.emit(pending, node.output, _result(node, 3, value))


def qlinear_concat(builder: Builder, node: Node) -> Activation:
    """QLinearConcat of the domain com.microsoft: each input with a scale of its own."""
    values = []
    for k in range(2, len(node.inputs), 3):
        if not isinstance(node.given(k), Activation):
            node.refuse(
                f"its input {node.proto.input[k]!r} is a constant; the HPU joins activations"
            )
        values.append(_read(builder, node, k))
    quant = onnx_quant(node, 0, 1)
    alike = [moves.requantised(builder, node, value, quant) for value in values]
    axis = moves.axis_of(node, len(values[0].shape))
    return moves.join(builder, node, alike, axis, node.output)


def qlinear_average_pool(builder: Builder, node: Node) -> Activation:
    """QLinearAveragePool of the domain com.microsoft."""
    value = _read(builder, node, 0)
    return builder.emit(pool.average(builder, node, value), node.output, _result(node, 3, value))


def qlinear_global_average_pool(builder: Builder, node: Node) -> Activation:
    """QLinearGlobalAveragePool of the domain com.microsoft."""
    value = _read(builder, node, 0)
    pending = pool.global_average_pool(builder, node, value)
    return builder.emit(pending, node.output, _result(node, 3, value))


def max_pool(builder: Builder, node: Node) -> Value:
    """MaxPool: on bytes it gives bytes, on real values it waits for QuantizeLinear."""
    pending = pool.max_pool(builder, node)
    value = node.given(0)
    assert isinstance(value, Activation) and value.base.quant is not None
    return pending if value.real else builder.emit(pending, node.output, value.base.quant)
