"""Reshape, Flatten, Transpose, Squeeze, Unsqueeze and Identity: other names for the same data.

Data moves only where an operator needs the value in another arrangement than it has.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from hpu.compiler.importer.arrange import settle, usual_places
from hpu.compiler.importer.build import Builder
from hpu.compiler.importer.layout import Layout, LayoutError
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import Activation, Constant, Pending, QuantConstant, Value

__all__ = ["depth_to_space", "identity", "reshape", "shape", "space_to_depth", "transpose"]


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
    return _transposed(builder, node, value, perm)


def _transposed(
    builder: Builder, node: Node, value: Activation | Pending, perm: Sequence[int]
) -> Activation | Pending:
    try:
        return value.relabelled(_own(value).transpose(perm))
    except LayoutError:
        if isinstance(value, Pending) or value.raw or value.base.quant is None:
            node.refuse("its input was reshaped across its axes, and is not quantised yet")
        whole = settle(builder, node, value, usual_places(value.shape))
        return whole.relabelled(whole.flat.transpose(perm))


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


def depth_to_space(builder: Builder, node: Node) -> Value:
    """DepthToSpace: channels become pixels, under other names until an operator reads them."""
    value, size = node.given(0), _block_size(node)
    n, c, y, x = value.shape
    if c % (size * size):
        node.refuse(f"its {c} channels do not make blocks of {size} x {size}")
    if node.text("mode", "DCR") == "DCR":
        cut, perm = (n, size, size, c // size**2, y, x), (0, 3, 4, 1, 5, 2)
    else:
        cut, perm = (n, c // size**2, size, size, y, x), (0, 1, 4, 2, 5, 3)
    return _shuffled(builder, node, value, cut, perm, (n, c // size**2, y * size, x * size))


def space_to_depth(builder: Builder, node: Node) -> Value:
    """SpaceToDepth: pixels become channels."""
    value, size = node.given(0), _block_size(node)
    n, c, y, x = value.shape
    if y % size or x % size:
        node.refuse(f"its image of {y} x {x} does not make blocks of {size} x {size}")
    cut = (n, c, y // size, size, x // size, size)
    shape = (n, c * size**2, y // size, x // size)
    return _shuffled(builder, node, value, cut, (0, 3, 5, 1, 2, 4), shape)


def _block_size(node: Node) -> int:
    if len(node.given(0).shape) != 4:
        node.refuse("its input must have 4 dimensions")
    size = node.attribute("blocksize", 0)
    if size < 1:
        node.refuse(f"its blocksize must be positive, not {size}")
    return size


def _shuffled(
    builder: Builder,
    node: Node,
    value: Value,
    cut: Sequence[int],
    perm: Sequence[int],
    shape: Sequence[int],
) -> Value:
    if isinstance(value, Constant):
        return Constant(value.array.reshape(cut).transpose(perm).reshape(shape))
    if isinstance(value, QuantConstant):
        return value.map(lambda array: array.reshape(cut).transpose(perm).reshape(shape))
    split = value.relabelled(_own(value).reshape(cut))
    turned = _transposed(builder, node, split, perm)
    return turned.relabelled(_own(turned).reshape(shape))


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
