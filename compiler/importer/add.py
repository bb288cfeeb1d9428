"""Add, Sub and Mul of two activations, or of an activation and a constant."""

from hpu.compiler import ir
from hpu.compiler.importer import unary
from hpu.compiler.importer.arrange import own_places, settle
from hpu.compiler.importer.build import Builder
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import (
    Activation,
    Constant,
    OnnxQuant,
    Pending,
    QuantConstant,
    Value,
)

__all__ = ["add", "add_activations", "binary"]

_KINDS: dict[str, type[ir.Binary]] = {"Add": ir.Add, "Sub": ir.Sub, "Mul": ir.Mul}


def add(builder: Builder, node: Node) -> Pending:
    """Add: element-wise, into a bias, or a table per channel."""
    for side in (0, 1):
        other = node.given(1 - side)
        if isinstance(other, Constant | QuantConstant):
            return _add_constant(builder, node, side, other)
    return binary(builder, node)


def _add_constant(
    builder: Builder, node: Node, side: int, other: Constant | QuantConstant
) -> Pending:
    value = node.given(side)
    if isinstance(value, Pending) and value.bias is not None:
        array = other.real if isinstance(other, QuantConstant) else other.array
        unary.per_channel(builder, node, value, array)
        biased = value.bias(other if isinstance(other, QuantConstant) else array, node.name)
        return biased.relabelled(value.layout)
    return unary.function(builder, node)


def binary(builder: Builder, node: Node) -> Pending:
    """Add, Sub or Mul: element-wise; a table where it is a function of one tensor."""
    if all(_is_of_one(node.given(k)) for k in (0, 1)):
        joined = unary.of_one_tensor(builder, node)
        if joined is not None:
            return joined
    a, b = builder.quantised(node, 0), builder.quantised(node, 1)
    return add_activations(builder, node, a, b, _KINDS[node.proto.op_type])


def _is_of_one(value: Value) -> bool:
    return not isinstance(value, Pending) or value.chain is not None


def add_activations(
    builder: Builder, node: Node, a: Activation, b: Activation, kind: type[ir.Binary] = ir.Add
) -> Pending:
    """a + b, or another ``kind``, of one shape and layout."""
    if a.shape != b.shape:
        node.refuse(
            f"its inputs have the shapes {list(a.shape)} and {list(b.shape)}; "
            "activations of different shapes are not broadcast"
        )
    bind_alike(builder, node, a, b)
    places = own_places(a)
    if a.layout != b.layout or a.base.shape4 != b.base.shape4:
        a, b = settle(builder, node, a, places), settle(builder, node, b, places)
    x, y = builder.tensor(a.base), builder.tensor(b.base)

    def finish(pending: Pending, name: str, quant: OnnxQuant) -> ir.Op:
        out = ir.Tensor(name, x.shape, quant.device())
        low, high = quant.quantise(pending.low), quant.quantise(pending.high)
        return kind(nodes=pending.nodes, x=x, y=y, out=out, low=low, high=high)

    return Pending(finish, x.shape, a.layout, (node.name,), node.op_type)


def bind_alike(builder: Builder, node: Node, a: Activation, b: Activation) -> None:
    """Give an input with open axes those of the other operand; both open: the usual ones."""
    if a.base.shape4 is None and b.base.shape4 is None:
        builder.bind_usual(node, a)
    for have, want in ((a, b), (b, a)):
        if have.base.shape4 is not None:
            builder.bind(node, want, [axis for axis, _ in own_places(have)])
