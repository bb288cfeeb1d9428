"""QuantizeLinear and DequantizeLinear: where a QDQ group begins and ends."""

import numpy as np
from onnx import helper

from hpu.compiler.errors import ModelError
from hpu.compiler.importer import unary
from hpu.compiler.importer.build import Builder
from hpu.compiler.importer.fold import fold
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import (
    Activation,
    Constant,
    OnnxQuant,
    Pending,
    QuantConstant,
    Value,
)

__all__ = ["dequantize", "meet", "onnx_quant", "quant_constant", "quantize"]


def quantize(builder: Builder, node: Node) -> Value:
    """QuantizeLinear: gives a waiting operator its result, or labels a float input."""
    value = node.given(0)
    if isinstance(value, Constant | QuantConstant):
        return fold(node)[0]
    quant = onnx_quant(node, 1, 2)
    if isinstance(value, Pending):
        return builder.emit(value, node.output, quant)
    if value.base.quant is None:
        value.base.quant = quant
    if value.base.quant == quant:
        return Activation(value.base, value.flat, real=False)
    if value.raw:
        node.refuse(f"its input {value.base.name!r} is quantised in two different ways")
    pending = unary.start(builder, node, value)
    return builder.emit(pending, node.output, quant)


def dequantize(builder: Builder, node: Node) -> Value:
    """DequantizeLinear: of a constant, or the real view of an activation."""
    value = node.given(0)
    if isinstance(value, Constant):
        return quant_constant(node, 0, 1, 2, node.attribute("axis", 1))
    if not isinstance(value, Activation):
        node.refuse("its input is not an integer tensor")
    meet(node, value, onnx_quant(node, 1, 2, _byte_type(value)))
    return Activation(value.base, value.flat, real=True)


def meet(node: Node, value: Activation, quant: OnnxQuant) -> None:
    """Check that a reader's quantisation is the writer's; the first to speak decides an input's."""
    if value.base.quant is None:
        value.base.quant = quant
    have = value.base.quant
    if (have.scale, have.zero) != (quant.scale, quant.zero):
        node.refuse(
            f"it reads {value.base.name!r} with scale {quant.scale:g} and zero point {quant.zero}, "
            f"but that was written with {have.scale:g} and {have.zero}"
        )


def onnx_quant(node: Node, scale: int, zero: int, like: str = "uint8") -> OnnxQuant:
    """The per-tensor quantisation in inputs ``scale`` and ``zero`` of ``node``.

    ``like`` is the type of bytes when there is no zero point (which is 0 then).
    """
    scales = check_scale(node, node.constant(scale, "scale"))
    given = node.input(zero)
    zeros = _default_zero(node, like) if given is None else node.constant(zero, "zero point")
    zeros = np.asarray(zeros)
    if scales.size != 1 or zeros.size != 1:
        node.refuse("activations are quantised per tensor, so scale and zero point must be scalars")
    if str(zeros.dtype) not in ("int8", "uint8"):
        wide = "16" in str(zeros.dtype)
        why = (
            "; the vector unit gives 8 bits of a sum, so two passes cannot make 16" if wide else ""
        )
        node.refuse(f"activations must be int8 or uint8, not {zeros.dtype}{why}")
    return OnnxQuant(np.float32(scales.item()), int(zeros.reshape(())), str(zeros.dtype))


def _byte_type(value: Activation) -> str:
    return value.base.quant.dtype if value.base.quant else value.base.dtype


def _default_zero(node: Node, like: str) -> np.ndarray:
    if node.op_type == "QuantizeLinear" and node.attribute("output_dtype", 0):
        return np.zeros((), helper.tensor_dtype_to_np_dtype(node.attribute("output_dtype")))
    return np.zeros((), like)


def check_scale(node: Node, scale: np.ndarray) -> np.ndarray:
    """``scale`` as float32 when every element is positive and finite; float16 of QLinear only.

    Raises
    ------
    ModelError
        Otherwise.
    """
    if scale.dtype == np.float16 and node.op_type.startswith("QLinear"):
        scale = scale.astype(np.float32)
    if scale.dtype != np.float32:
        node.refuse(f"its scale must be float32, not {scale.dtype}")
    wrong = scale[~(np.isfinite(scale) & (scale > 0))]
    if wrong.size:
        raise ModelError(
            f"{node.op_type} node {node.name!r} has the scale {wrong.ravel()[0]:g}; "
            "scales must be positive and finite"
        )
    return scale


def quant_constant(node: Node, data: int, scale: int, zero: int, axis: int) -> QuantConstant:
    """The quantised constant in three inputs of ``node``; ``axis`` is the scales' own."""
    q = node.constant(data, "quantised constant")
    if str(q.dtype) not in ("int8", "uint8", "int32"):
        node.refuse(f"quantised constants must be int8, uint8 or int32, not {q.dtype}")
    scales = check_scale(node, node.constant(scale, "scale"))
    zeros = np.zeros((), q.dtype) if node.input(zero) is None else node.constant(zero, "zero point")
    if zeros.dtype != q.dtype:
        raise ModelError(
            f"{node.op_type} node {node.name!r} has {q.dtype} data but a {zeros.dtype} zero point"
        )
    return QuantConstant(q, _spread(node, scales, q, axis), _spread(node, zeros, q, axis))


def _spread(node: Node, values: np.ndarray, q: np.ndarray, axis: int) -> np.ndarray:
    if values.size == 1:
        return np.broadcast_to(values.reshape(()), q.shape)
    if values.ndim != 1 or not -q.ndim <= axis < q.ndim or values.size != q.shape[axis]:
        node.refuse(
            f"scales and zero points of shape {list(values.shape)} do not fit a constant of shape "
            f"{list(q.shape)} along axis {axis}"
        )
    shape = [1] * q.ndim
    shape[axis] = values.size
    return np.broadcast_to(values.reshape(shape), q.shape)
