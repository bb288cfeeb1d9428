"""Weights, biases and scales of convolutions and dense layers."""

import dataclasses

import numpy as np

from hpu.compiler.errors import ModelError
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import Constant, OnnxQuant, QuantConstant

__all__ = ["Weights", "bias_of", "requantisation", "weights_from", "weights_of"]


@dataclasses.dataclass(frozen=True)
class Weights:
    """``steps``: int16, zero point subtracted, any axes; ``scale``: float32 [output channels]."""

    steps: np.ndarray
    scale: np.ndarray


def weights_of(node: Node, k: int, axis: int) -> Weights:
    """Input ``k`` as weights whose output channels are ``axis``.

    Raises
    ------
    UnsupportedError
        When it is not a quantised int8 or uint8 constant, or its scales vary along another axis.
    """
    value = node.given(k)
    if isinstance(value, Constant):
        node.refuse("its weights are float constants; quantise them (DequantizeLinear before it)")
    if not isinstance(value, QuantConstant):
        node.refuse("its weights must be constants")
    return weights_from(node, value, axis)


def weights_from(node: Node, value: QuantConstant, axis: int) -> Weights:
    """A quantised constant as weights whose output channels are ``axis``.

    Raises
    ------
    UnsupportedError
        As for :func:`weights_of`.
    """
    if str(value.q.dtype) not in ("int8", "uint8"):
        node.refuse(f"its weights must be int8 or uint8, not {value.q.dtype}")
    scales = np.moveaxis(value.scale, axis, 0).reshape(value.q.shape[axis], -1)
    zeros = np.moveaxis(value.zero, axis, 0).reshape(value.q.shape[axis], -1)
    if (scales != scales[:, :1]).any() or (zeros != zeros[:, :1]).any():
        node.refuse("its weights must be quantised per tensor or per output channel")
    steps = value.q.astype(np.int16) - value.zero.astype(np.int16)
    return Weights(steps, np.ascontiguousarray(scales[:, 0]))


def bias_of(node: Node, value: object, x: OnnxQuant, weights: Weights) -> np.ndarray:
    """A bias as int32 [output channels] in steps of x's scale times the weights'.

    Raises
    ------
    UnsupportedError
        When it is not a constant of the right size.
    ModelError
        When it is not finite or leaves int32.
    """
    channels = weights.scale.size
    if not isinstance(value, Constant | QuantConstant):
        node.refuse("its bias must be a constant")
    if value.shape and int(np.prod(value.shape)) not in (1, channels):
        node.refuse(f"its bias has the shape {list(value.shape)}, not [{channels}]")
    steps = x.scale * weights.scale
    if isinstance(value, QuantConstant) and value.q.dtype == np.int32:
        scale = np.broadcast_to(value.scale.reshape(-1), steps.shape)
        if np.allclose(scale, steps, rtol=1e-4, atol=0):
            q = value.q.astype(np.int64) - value.zero
            return _int32(node, np.broadcast_to(q.reshape(-1), steps.shape))
    if isinstance(value, Constant) and value.array.dtype == np.int32:
        return _int32(node, np.broadcast_to(value.array.reshape(-1), steps.shape))
    real = value.real if isinstance(value, QuantConstant) else value.array
    real = np.broadcast_to(real.reshape(-1), steps.shape)
    with np.errstate(divide="ignore", invalid="ignore"):  # steps may be 0; refused below
        quotient = real.astype(np.float64) / steps.astype(np.float64)
    return _int32(node, np.rint(quotient))


def _int32(node: Node, bias: np.ndarray) -> np.ndarray:
    limits = np.iinfo(np.int32)
    if not np.isfinite(bias).all() or bias.min() < limits.min or bias.max() > limits.max:
        raise ModelError(
            f"{node.op_type} node {node.name!r} has a bias that is not finite, or does not fit "
            "int32 in steps of its input scale times its weight scale"
        )
    return bias.astype(np.int32)


def requantisation(x: OnnxQuant, weights: Weights, y: OnnxQuant) -> np.ndarray:
    """float32 [output channels]: accumulator to result, in onnxruntime's order of operations.

    Kept positive and finite: a smaller scale gives 0 and a larger one saturates just as well.
    """
    with np.errstate(over="ignore", under="ignore"):
        scale = ((x.scale * weights.scale) / y.scale).astype(np.float32)
    return np.clip(scale, np.float32(2.0**-100), np.float32(2.0**100))
