"""Add of two activations, or of an activation and a constant."""

from hpu.compiler import ir
from hpu.compiler.importer import unary
from hpu.compiler.importer.build import Builder, whole
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import (
    Activation,
    Constant,
    OnnxQuant,
    Pending,
    QuantConstant,
)

__all__ = ["add", "add_activations"]


def add(builder: Builder, node: Node) -> Pending:
    """Add: element-wise, into a bias, or a table per channel."""
    for side in (0, 1):
        other = node.given(1 - side)
        if isinstance(other, Constant | QuantConstant):
            return _add_constant(builder, node, side, other)
    return add_activations(builder, node, builder.quantised(node, 0), builder.quantised(node, 1))


def _add_constant(
    builder: Builder, node: Node, side: int, other: Constant | QuantConstant
) -> Pending:
    value = node.given(side)
    if isinstance(value, Pending) and value.bias is not None:
        array = other.real if isinstance(other, QuantConstant) else other.array
        unary.per_channel(builder, node, value, array)
        return value.bias(other if isinstance(other, QuantConstant) else array, node.name)
    return unary.with_constant(builder, node, side)


def add_activations(builder: Builder, node: Node, a: Activation, b: Activation) -> Pending:
    """a + b of one shape and layout."""
    if a.shape != b.shape:
        node.refuse(
            f"its inputs have the shapes {list(a.shape)} and {list(b.shape)}; "
            "activations of different shapes are not broadcast"
        )
    bind_alike(builder, node, a, b)
    x, y = builder.tensor(a.base), builder.tensor(b.base)
    if x.shape != y.shape or a.layout != b.layout:
        builder.moved(node)

    def finish(pending: Pending, name: str, quant: OnnxQuant) -> ir.Op:
        out = ir.Tensor(name, x.shape, quant.device())
        low, high = quant.quantise(pending.low), quant.quantise(pending.high)
        return ir.Add(nodes=pending.nodes, x=x, y=y, out=out, low=low, high=high)

    return Pending(finish, x.shape, a.layout, (node.name,), node.op_type)


def bind_alike(builder: Builder, node: Node, a: Activation, b: Activation) -> None:
    """Give an input with open axes those of the other operand; both open: the usual ones."""
    if a.base.shape4 is None and b.base.shape4 is None:
        builder.bind_usual(node, a)
    for have, want in ((a, b), (b, a)):
        if want.base.shape4 is not None or have.base.shape4 is None:
            continue
        axes = _axes_of(builder, node, have)
        builder.bind(node, want, axes)


def _axes_of(builder: Builder, node: Node, value: Activation) -> tuple[int, ...]:
    shape4 = value.base.shape4
    assert shape4 is not None
    free = [axis for axis in (0, 1, 2, 3) if shape4[axis] == 1]
    axes = []
    for digits in builder.dims(node, value):
        if not digits and not free:
            node.refuse(f"its input has {len(value.shape)} dimensions; the HPU takes at most 4")
        axis = digits[0].axis if digits else free.pop(0)
        if digits and digits != whole(axis, shape4[axis]):
            builder.moved(node)
        axes.append(axis)
    return tuple(axes)
