"""ReduceMean, ReduceSum and ReduceMax, and the global pools.

Over whole rows or columns of the image they are pools. A mean or sum over other dimensions is a
product with ones; a maximum over others is a pool after its data have moved into a row.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from onnx import helper

from hpu.compiler import ir
from hpu.compiler.importer import unary
from hpu.compiler.importer.arrange import settle
from hpu.compiler.importer.build import Builder
from hpu.compiler.importer.chain import Chain
from hpu.compiler.importer.dense import product
from hpu.compiler.importer.layout import Digit, Layout, LayoutError, merge
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.pool import pooled
from hpu.compiler.importer.values import Activation, OnnxQuant, Pending, Value
from hpu.compiler.importer.weights import Weights
from hpu.compiler.importer.window import Window

__all__ = ["global_max_pool", "reduce", "reduce_max"]


def global_max_pool(builder: Builder, node: Node) -> Value:
    """GlobalMaxPool, of real values or of bytes."""
    value = builder.quantised(node, 0)
    x = builder.image(node, value)
    window = _window(x, (1, 2))
    shape4 = (x.shape[0], 1, 1, x.shape[3])
    layout = Layout.row(shape4) if len(value.shape) == 3 else Layout.image(shape4)
    return _bytes_or_real(builder, node, value, pooled(x, node, value, "max", window, layout))


def reduce_max(builder: Builder, node: Node) -> Value:
    """ReduceMax, of real values or of bytes."""
    value = builder.quantised(node, 0)
    axes = _axes(node, len(value.shape))
    if not axes:
        return value
    pending = _over_pixels(builder, node, value, axes, "max")
    if pending is None:
        rows = settle(builder, node, _behind(node, value, axes), ((3, 1), (2, 1)))
        pending = _over_pixels(builder, node, rows, [1], "max")
        assert pending is not None
    return _bytes_or_real(builder, node, value, _shaped(node, pending, value.shape, axes))


def reduce(builder: Builder, node: Node) -> Pending:
    """ReduceMean or ReduceSum."""
    value = builder.quantised(node, 0)
    axes = _axes(node, len(value.shape))
    if not axes:
        return unary.start(builder, node, value)
    count = math.prod(value.shape[axis] for axis in axes)
    mean = node.op_type == "ReduceMean"
    pending = _over_pixels(builder, node, value, axes, "average")
    if pending is None:
        pending = _product(builder, node, value, axes, 1 / count if mean else 1.0)
    elif not mean:
        pending = _times(builder, node, pending, count)
    return _shaped(node, pending, value.shape, axes)


def _bytes_or_real(builder: Builder, node: Node, value: Activation, made: Pending) -> Value:
    assert value.base.quant is not None
    return made if value.real else builder.emit(made, node.output, value.base.quant)


def _axes(node: Node, rank: int) -> list[int]:
    """The dimensions to reduce, from 0; all where none are given, unless that means none."""
    given = node.attribute("axes", [])
    if node.input(1) is not None:
        given = node.constant(1, "axes").reshape(-1).tolist()
    wrong = [axis for axis in given if not -rank <= axis < rank]
    if wrong:
        node.refuse(f"its axis {wrong[0]} is none of its input's {rank} dimensions")
    if not given and not node.attribute("noop_with_empty_axes", 0):
        return list(range(rank))
    return sorted({axis % rank for axis in given})


def _over_pixels(
    builder: Builder, node: Node, value: Activation, axes: Sequence[int], kind: str
) -> Pending | None:
    """A pool, where the dimensions are whole axes y or x of the device tensor; of one row."""
    builder.bind_usual(node, value)
    shape4 = value.base.shape4
    assert shape4 is not None
    try:
        dims = value.layout.dims()
    except LayoutError:
        return None
    gone = [digit for axis in axes for digit in dims[axis]]
    if any(d.axis not in (1, 2) or d != Digit(d.axis, 1, shape4[d.axis]) for d in gone):
        return None
    x = builder.tensor(value.base)
    kept = [k for k in range(len(dims)) if k not in axes]
    digits = merge([digit for k in kept for digit in dims[k]])
    layout = Layout(tuple(value.shape[k] for k in kept), digits)
    return pooled(x, node, value, kind, _window(x, [digit.axis for digit in gone]), layout)


def _window(x: ir.Tensor, axes: Sequence[int]) -> Window:
    """The window of all of the device axes (1: y, 2: x), at every place of the other one."""
    height, width = (x.shape[axis] if axis in axes else 1 for axis in (1, 2))
    out = (x.shape[1] // height, x.shape[2] // width)
    return Window((height, width), (1, 1), (0, 0, 0, 0), (1, 1), out)


def _behind(node: Node, value: Activation, axes: Sequence[int]) -> Activation:
    """``value`` as a matrix, the dimensions ``axes`` in its columns."""
    kept = [k for k in range(len(value.shape)) if k not in axes]
    rows = math.prod(value.shape[k] for k in kept)
    try:
        turned = value.flat.transpose([*kept, *axes])
    except LayoutError:
        node.refuse("its input was reshaped across its axes")
    return value.relabelled(turned.reshape((rows, math.prod(value.shape) // rows)))


def _product(
    builder: Builder, node: Node, value: Activation, axes: Sequence[int], factor: float
) -> Pending:
    """The product with a column of ones, each worth ``factor``."""
    matrix = _behind(node, value, axes)
    kept = [size for k, size in enumerate(value.shape) if k not in axes]
    rows, columns = matrix.shape
    outer = kept if len(kept) in (1, 2, 3) else [rows]
    weights = Weights(np.ones((columns, 1), np.int16), np.array([factor], np.float32))
    several = matrix.relabelled(matrix.flat.reshape((*outer, columns)))
    return product(builder, node, several, weights, None)


def _times(builder: Builder, node: Node, mean: Pending, count: int) -> Pending:
    """A sum: the mean in steps of one part of ``count``, read as so many times that."""

    def finish(pending: Pending, name: str, y: OnnxQuant) -> ir.Op:
        part = OnnxQuant(np.float32(y.scale / np.float32(count)), y.zero, y.dtype)
        made = builder.emit(mean, builder.fresh(name), part)
        proto = helper.make_node("Mul", ["x", "count"], [node.output])
        chain = Chain(builder.tensor(made.base), part)
        chain = chain.then(proto, {0: chain, 1: np.asarray(count, np.float32)})
        return unary.make(chain.clipped(pending.low, pending.high), pending.nodes, name, y)

    return dataclasses.replace(mean, finish=finish)


def _shaped(node: Node, made: Pending, shape: Sequence[int], axes: Sequence[int]) -> Pending:
    """The result in ONNX's shape: the reduced dimensions are 1, or left out."""
    keep = node.attribute("keepdims", 1)
    sizes = [1 if k in axes else size for k, size in enumerate(shape) if keep or k not in axes]
    return made.relabelled(made.layout.reshape(sizes))
