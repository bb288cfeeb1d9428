"""Reshape, Flatten, Transpose, Squeeze, Unsqueeze and Identity: nothing moves."""

import math
from collections.abc import Callable

import numpy as np

from hpu.compiler.importer.build import Builder
from hpu.compiler.importer.layout import Layout, LayoutError
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import Activation, Constant, Pending, QuantConstant, Value

__all__ = ["identity", "reshape", "shape", "transpose"]


def identity(builder: Builder, node: Node) -> Value:
    """Identity and Dropout (which does nothing at inference)."""
    return node.given(0)


def shape(builder: Builder, node: Node) -> Value:
    """Shape: known at compile time."""
    dims = node.given(0).shape
    chosen = dims[node.attribute("start", 0) : node.attribute("end", len(dims))]
    return Constant(np.array(chosen, np.int64))


def transpose(builder: Builder, node: Node) -> Value:
    """Transpose: another walk over the same tensor."""
    value = node.given(0)
    perm = list(node.attribute("perm", range(len(value.shape))[::-1]))
    if isinstance(value, Constant):
        return Constant(value.array.transpose(perm))
    if isinstance(value, QuantConstant):
        return value.map(lambda array: array.transpose(perm))
    try:
        return value.relabelled(_own(value).transpose(perm))
    except LayoutError:
        node.refuse("its input was reshaped across channels and pixels, so data would have to move")


def reshape(builder: Builder, node: Node) -> Value:
    """Reshape, Flatten, Squeeze and Unsqueeze: other dimensions over the same walk."""
    value = node.given(0)
    new = _NEW_SHAPE[node.op_type](node, value.shape)
    if math.prod(new) != math.prod(value.shape):
        node.refuse(f"{list(value.shape)} cannot become {list(new)}")
    if isinstance(value, Constant):
        return Constant(value.array.reshape(new))
    if isinstance(value, QuantConstant):
        return value.map(lambda array: array.reshape(new))
    return value.relabelled(_own(value).reshape(new))


def _own(value: Activation | Pending) -> Layout:
    return value.flat if isinstance(value, Activation) else value.layout


def _reshape(node: Node, old: tuple[int, ...]) -> tuple[int, ...]:
    wanted = [int(d) for d in node.constant(1, "shape")]
    if not node.attribute("allowzero", 0):
        wanted = [old[k] if d == 0 and k < len(old) else d for k, d in enumerate(wanted)]
    if -1 in wanted:
        rest = math.prod(d for d in wanted if d != -1)
        wanted[wanted.index(-1)] = math.prod(old) // rest if rest else 0
    return tuple(wanted)


def _flatten(node: Node, old: tuple[int, ...]) -> tuple[int, ...]:
    axis = node.attribute("axis", 1)
    axis += len(old) if axis < 0 else 0
    return math.prod(old[:axis]), math.prod(old[axis:])


def _axes(node: Node) -> list[int] | None:
    if node.input(1) is not None:
        return [int(axis) for axis in node.constant(1, "axes")]
    axes = node.attribute("axes")
    return None if axes is None else list(axes)


def _squeeze(node: Node, old: tuple[int, ...]) -> tuple[int, ...]:
    axes = _axes(node)
    if axes is None:
        return tuple(d for d in old if d != 1)
    gone = {axis % len(old) for axis in axes}
    return tuple(d for k, d in enumerate(old) if k not in gone)


def _unsqueeze(node: Node, old: tuple[int, ...]) -> tuple[int, ...]:
    axes = _axes(node) or []
    rank = len(old) + len(axes)
    added = {axis % rank for axis in axes}
    rest = iter(old)
    return tuple(1 if k in added else next(rest) for k in range(rank))


_NEW_SHAPE: dict[str, Callable[[Node, tuple[int, ...]], tuple[int, ...]]] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
