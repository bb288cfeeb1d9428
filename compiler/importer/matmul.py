"""MatMul and QLinearMatMul with constant weights on either side, one matrix or one for each item.

Weights on the left are those of the transposed product, which is only another name for the
operand's dimensions. With a matrix for every item of a batch each item is a product of its own,
and the results are laid one behind another.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from hpu.compiler import ir
from hpu.compiler.importer import moves
from hpu.compiler.importer.build import Builder
from hpu.compiler.importer.dense import product
from hpu.compiler.importer.layout import Layout, LayoutError
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import Activation, OnnxQuant, Pending, QuantConstant
from hpu.compiler.importer.weights import Weights, weights_from
from hpu.compiler.pieces import box

__all__ = ["matmul", "multiply"]

#: Products that one operator is taken apart into, at most.
_MOST_ITEMS = 256


def matmul(builder: Builder, node: Node) -> Pending:
    """MatMul of a dequantised activation and quantised constant weights."""
    for side in (0, 1):
        weights = node.given(side)
        if isinstance(weights, QuantConstant):
            return multiply(builder, node, builder.quantised(node, 1 - side), weights, side)
    node.refuse("its weights are float constants; quantise them (DequantizeLinear before it)")


def multiply(
    builder: Builder, node: Node, value: Activation, weights: QuantConstant, side: int
) -> Pending:
    """The product of ``value`` and weights that stand at input ``side`` (0: on the left)."""
    if min(len(value.shape), len(weights.shape)) < 2 and (side == 0 or len(weights.shape) < 2):
        node.refuse("its operands must be matrices, or batches of them")
    if side == 0:
        turned = weights.map(lambda array: np.swapaxes(array, -1, -2))
        made = multiply(builder, node, _turned(node, value), turned, 1)
        return made.relabelled(made.layout.transpose(_swapped(len(made.shape))))
    items = weights.shape[:-2]
    if math.prod(items) == 1:
        matrix = weights.map(lambda array: array.reshape(array.shape[-2:]))
        made = product(builder, node, value, weights_from(node, matrix, 1), None)
        rank = max(len(value.shape), len(weights.shape))
        return made.relabelled(made.layout.reshape((1,) * (rank - len(made.shape)) + made.shape))
    return _item_by_item(builder, node, value, weights)


def _swapped(rank: int) -> list[int]:
    return [*range(rank - 2), rank - 1, rank - 2]


def _turned(node: Node, value: Activation) -> Activation:
    try:
        return value.relabelled(value.flat.transpose(_swapped(len(value.shape))))
    except LayoutError:
        node.refuse("its input was reshaped across its axes; put its weights on the right")


def _item_by_item(
    builder: Builder, node: Node, value: Activation, weights: QuantConstant
) -> Pending:
    outer, rows = value.shape[:-2], value.shape[-2]
    try:
        batch = np.broadcast_shapes(outer, weights.shape[:-2])
    except ValueError:
        node.refuse(f"its operands {list(value.shape)} and {list(weights.shape)} do not fit")
    count, columns = math.prod(batch), weights.shape[-1]
    if count > _MOST_ITEMS:
        node.refuse(f"it has {count} items of a batch; the HPU takes up to {_MOST_ITEMS}")
    flat = value.relabelled(value.flat.reshape((math.prod(outer), *value.shape[-2:])))
    sources = _item_numbers(outer, batch)
    matrices = _item_numbers(weights.shape[:-2], batch)
    parts = [
        product(builder, node, _item(builder, node, flat, a), _matrix(node, weights, b), None)
        for a, b in zip(sources, matrices, strict=True)
    ]

    def finish(pending: Pending, name: str, quant: OnnxQuant) -> ir.Op:
        bounded = (
            dataclasses.replace(part, nodes=pending.nodes, low=pending.low, high=pending.high)
            for part in parts
        )
        made = [builder.emit(part, f"{name}/item {k}", quant) for k, part in enumerate(bounded)]
        tensors = [builder.tensor(each.base) for each in made]
        out = ir.Tensor(name, (count, *tensors[0].shape[1:]), quant.device())
        pieces = tuple(box(k, t.shape, dest=(k, 0, 0, 0)) for k, t in enumerate(tensors))
        return ir.Move(
            nodes=pending.nodes, x=tensors[0], others=tuple(tensors[1:]), out=out, pieces=pieces
        )

    shape4 = (count, *parts[0].shape4[1:])
    layout = Layout.rows(shape4).reshape((*batch, rows, columns))
    return Pending(finish, shape4, layout, (node.name,), node.op_type)


def _item_numbers(outer: Sequence[int], batch: Sequence[int]) -> list[int]:
    """The item of a batch ``outer`` that every item of the broadcast ``batch`` takes."""
    numbers = np.arange(math.prod(outer)).reshape(tuple(outer))
    return [int(k) for k in np.broadcast_to(numbers, tuple(batch)).reshape(-1)]


def _item(builder: Builder, node: Node, value: Activation, item: int) -> Activation:
    """One item [1, rows, k] of a value [items, rows, k], its columns in the channels."""
    indices = [np.array([item]), *(np.arange(size) for size in value.shape[1:])]
    builder.bind(node, value, (0, 2, 3))
    return moves.take(builder, node, value, indices)


def _matrix(node: Node, weights: QuantConstant, item: int) -> Weights:
    flat = weights.map(lambda array: array.reshape(-1, *array.shape[-2:])[item])
    return weights_from(node, flat, 1)
