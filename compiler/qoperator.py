"""Export: the QOperator ONNX model that a graph means, for comparison with onnxruntime.

Fused operations are taken apart again into the operators they stand for. Every tensor is int8, as
on the device, or uint8 with the top bit flipped when some weights do not fit int8 (onnxruntime
wants activations and weights of one type).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from hpu.compiler import ir
from hpu.compiler.errors import UnsupportedError
from hpu.compiler.onnx_writer import Writer, value_name
from hpu.compiler.pieces import source_map

__all__ = ["export"]


def export(graph: ir.Graph) -> onnx.ModelProto:
    """The model; its inputs and outputs have the graph's names, shapes and types.

    The device tensor T is the value ``T::nchw`` in it, with the axes (n, c, y, x).

    Raises
    ------
    UnsupportedError
        When weights of one operation spread over more than 255 steps, which onnxruntime has no
        type for.
    """
    wide = any(isinstance(op, ir.Conv) and _is_wide(op.weight) for op in graph.ops)
    writer = Writer("uint8" if wide else "int8")
    for host in graph.inputs:
        _input(writer, host, graph.tensors[host.tensor])
    for op in graph.ops:
        _operation(writer, op)
    for host in graph.outputs:
        _output(writer, host, graph.tensors[host.tensor])
    return writer.model(graph.inputs, graph.outputs)


def _is_wide(weight: np.ndarray) -> bool:
    return int(weight.min(initial=0)) < -128 or int(weight.max(initial=0)) > 127


def _input(writer: Writer, host: ir.HostTensor, tensor: ir.Tensor) -> None:
    if host.dtype == "float32":
        value = writer.node("QuantizeLinear", [host.name, *writer.quant(tensor.quant)])
    else:
        value = writer.retype(host.name, host.dtype, writer.dtype)
    view = writer.node("Reshape", [value, writer.shape(host.view)])
    perm = [host.perm[axis] for axis in (0, 3, 1, 2)]
    writer.node("Transpose", [view], value_name(tensor), perm=perm)


def _output(writer: Writer, host: ir.HostTensor, tensor: ir.Tensor) -> None:
    places = [(0, 2, 3, 1)[axis] for axis in range(4)]  # where (n, y, x, c) stand in (n, c, y, x)
    perm = [places[host.perm.index(k)] for k in range(4)]
    view = writer.node("Transpose", [value_name(tensor)], perm=perm)
    value = writer.node("Reshape", [view, writer.shape(host.shape)])
    if host.dtype == "float32":
        writer.node("DequantizeLinear", [value, *writer.quant(tensor.quant)], host.name)
    else:
        writer.retype(value, writer.dtype, host.dtype, host.name)


def _operation(writer: Writer, op: ir.Op) -> None:
    """The chain of an operation: what it computes, its residual, its clip, its table."""
    value = _COMPUTE[type(op)](writer, op)
    if isinstance(op, ir.Conv) and op.residual:
        other = [value_name(op.residual.tensor), *writer.quant(op.residual.tensor.quant)]
        own = [value, *writer.quant(op.residual.own)]
        value = writer.node("QLinearAdd", [*own, *other, *writer.quant(op.result)])
    if (op.low, op.high) != (-128, 127):
        bounds = [writer.constant(writer.byte(bound)) for bound in (op.low, op.high)]
        value = writer.node("Clip", [value, *bounds])
    if op.table is not None:
        value = _table(writer, op, value)
    writer.node("Identity", [value], value_name(op.out))


def _table(writer: Writer, op: ir.Op, value: str) -> str:
    """The models that the table was made with, one after another, over [pixels, channels]."""
    n, y, x, c = op.out.shape
    value = writer.retype(value, writer.dtype, "int8")
    value = writer.node("Transpose", [value], perm=[0, 2, 3, 1])
    value = writer.node("Reshape", [value, writer.shape((n * y * x, c))])
    for source in op.sources:
        value = _inline(writer, source, value)
    value = writer.node("Reshape", [value, writer.shape((n, y, x, c))])
    value = writer.node("Transpose", [value], perm=[0, 3, 1, 2])
    return writer.retype(value, "int8", writer.dtype)


def _inline(writer: Writer, source: onnx.ModelProto, value: str) -> str:
    names = {source.graph.input[0].name: value}
    for tensor in source.graph.initializer:
        names[tensor.name] = writer.constant(onnx.numpy_helper.to_array(tensor))
    for node in source.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [names[name] if name else "" for name in node.input]
        names[node.output[0]] = writer.fresh(node.op_type)
        copy.output[:] = [names[node.output[0]]]
        copy.name = f"make {copy.output[0]}"
        writer.nodes.append(copy)
    return names[source.graph.output[0].name]


def _conv(writer: Writer, op: ir.Op) -> str:
    assert isinstance(op, ir.Conv)
    made = op.residual.own if op.residual else op.result
    weight, zero = _typed_weights(writer, op)
    x_scale, weight_scale, y_scale = _scales(op, made)
    quants = [
        [writer.constant(x_scale), writer.constant(writer.byte(op.x.quant.zero))],
        [writer.constant(weight_scale), writer.constant(zero)],
        [writer.constant(y_scale), writer.constant(writer.byte(made.zero))],
    ]
    if _is_dense(op):
        return _dense(writer, op, weight, quants)
    data = writer.constant(np.ascontiguousarray(weight.transpose(0, 3, 1, 2)))
    return writer.node(
        "QLinearConv",
        [value_name(op.x), *quants[0], data, *quants[1], *quants[2], writer.constant(op.bias)],
        kernel_shape=list(op.weight.shape[1:3]),
        strides=list(op.strides),
        pads=list(op.pads),
        dilations=list(op.dilations),
        group=op.groups,
    )


def _scales(op: ir.Conv, made: ir.Quant) -> tuple[np.float32, np.ndarray, np.float32]:
    """Scales of x, weights and result: the real ones where known, else 1, ``scale`` and 1."""
    one = np.float32(1)
    if op.weight_scale is None:
        return one, op.scale, one
    return op.x.quant.scale, op.weight_scale, made.scale


def _typed_weights(writer: Writer, op: ir.Conv) -> tuple[np.ndarray, np.ndarray]:
    """Weights in the model's type, and the zero point to subtract from them, per channel."""
    channels = op.weight.shape[0]
    if writer.dtype == "int8":
        return op.weight.astype(np.int8), np.zeros(channels, np.int8)
    low, high = int(op.weight.min(initial=0)), int(op.weight.max(initial=0))
    if high - low > 255:
        raise UnsupportedError(
            "convolution or product",
            op.nodes[0],
            "its weights have zero points that differ by channel, which onnxruntime cannot run",
        )
    return (op.weight - low).astype(np.uint8), np.full(channels, -low, np.uint8)


def _is_dense(op: ir.Conv) -> bool:
    whole = op.weight.shape[1:3] == op.x.shape[1:3] and op.dilations == (1, 1)
    return whole and not any(op.pads) and op.groups == 1


def _dense(writer: Writer, op: ir.Conv, weight: np.ndarray, quants: list[list[str]]) -> str:
    """A product: QGemm, or QLinearMatMul where there is no bias."""
    n, y, x, c = op.x.shape
    cout = weight.shape[0]
    rows = writer.node("Reshape", [value_name(op.x), writer.shape((n, c * y * x))])
    matrix = np.ascontiguousarray(weight.transpose(3, 1, 2, 0).reshape(c * y * x, cout))
    inputs = [rows, *quants[0], writer.constant(matrix), *quants[1]]
    if op.bias.any():
        value = writer.node("QGemm", [*inputs, writer.constant(op.bias), *quants[2]])
    else:
        value = writer.node("QLinearMatMul", [*inputs, *quants[2]])
    return writer.node("Reshape", [value, writer.shape((n, cout, 1, 1))])


def _pool(writer: Writer, op: ir.Op) -> str:
    assert isinstance(op, ir.Pool)
    x = value_name(op.x)
    window: dict[str, Any] = {
        "kernel_shape": list(op.kernel),
        "strides": list(op.strides),
        "pads": list(op.pads),
    }
    if op.kind == "max":
        return writer.node("MaxPool", [x], dilations=list(op.dilations), **window)
    ends = [*writer.quant(op.x.quant), *writer.quant(op.result)]
    if op.kernel == op.x.shape[1:3] and not any(op.pads):
        return writer.node("QLinearGlobalAveragePool", [x, *ends])
    include = int(op.count_include_pad)
    if op.dilations == (1, 1):
        return writer.node("QLinearAveragePool", [x, *ends], count_include_pad=include, **window)
    real = writer.node("DequantizeLinear", [x, *ends[:2]])
    dilations = list(op.dilations)
    real = writer.node(
        "AveragePool", [real], count_include_pad=include, dilations=dilations, **window
    )
    return writer.node("QuantizeLinear", [real, *ends[2:]])


def _binary(writer: Writer, op: ir.Op) -> str:
    assert isinstance(op, ir.Binary)
    sides = [
        value_name(op.x),
        *writer.quant(op.x.quant),
        value_name(op.y),
        *writer.quant(op.y.quant),
    ]
    if not isinstance(op, ir.Sub):
        name = "QLinearMul" if isinstance(op, ir.Mul) else "QLinearAdd"
        return writer.node(name, [*sides, *writer.quant(op.result)])
    real = [writer.node("DequantizeLinear", sides[k : k + 3]) for k in (0, 3)]
    return writer.node("QuantizeLinear", [writer.node("Sub", real), *writer.quant(op.result)])


def _move(writer: Writer, op: ir.Op) -> str:
    """Every element by its place in the sources, laid end to end, and the fill byte behind them."""
    assert isinstance(op, ir.Move)
    flat = [
        writer.node(
            "Reshape",
            [
                writer.node("Transpose", [value_name(tensor)], perm=[0, 2, 3, 1]),
                writer.shape((math.prod(tensor.shape),)),
            ],
        )
        for tensor in op.inputs
    ]
    fill = writer.constant(writer.byte(op.fill).reshape(1))
    joined = writer.node("Concat", [*flat, fill], axis=0)
    places = source_map(op.pieces, op.out.shape, [tensor.shape for tensor in op.inputs])
    taken = writer.node("Gather", [joined, writer.constant(places)], axis=0)
    return writer.node("Transpose", [taken], perm=[0, 3, 1, 2])


def _blend(writer: Writer, op: ir.Op) -> str:
    """Two weighted gathers along the axis, in float; in steps of x, so that sums are exact."""
    assert isinstance(op, ir.Blend)
    one, zero = writer.constant(np.float32(1)), writer.constant(writer.byte(op.x.quant.zero))
    real = writer.node("DequantizeLinear", [value_name(op.x), one, zero])
    share = np.array(op.share, np.float32).reshape((-1, 1) if op.axis == 1 else (-1,))
    terms = []
    for places, weight in ((op.first, 1 - share), (op.second, share)):
        index = writer.constant(np.array(places, np.int64))
        taken = writer.node("Gather", [real, index], axis=op.axis + 1)
        terms.append(writer.node("Mul", [taken, writer.constant(weight)]))
    total = writer.node("Add", terms)
    ratio = writer.constant(np.float32(op.result.scale / op.x.quant.scale))
    result = writer.constant(writer.byte(op.result.zero))
    return writer.node("QuantizeLinear", [total, ratio, result])


def _unary(writer: Writer, op: ir.Op) -> str:
    return value_name(op.x)


_COMPUTE: dict[type, Callable[[Writer, ir.Op], str]] = {
    ir.Conv: _conv,
    ir.Pool: _pool,
    ir.Add: _binary,
    ir.Sub: _binary,
    ir.Mul: _binary,
    ir.Blend: _blend,
    ir.Move: _move,
    ir.Unary: _unary,
}
