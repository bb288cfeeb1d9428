"""The graph under construction: device tensors, binding of inputs' axes, emission of operations."""

import math
from collections.abc import Sequence
from typing import NoReturn

from hpu.compiler import ir
from hpu.compiler.importer import arrange
from hpu.compiler.importer.arrange import USUAL
from hpu.compiler.importer.layout import (
    Digit,
    Layout,
    LayoutError,
    host_view,
    merge,
    translate,
)
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import Activation, Base, OnnxQuant, Pending

__all__ = ["Builder", "whole"]


class Builder:
    """Collects operations and tensors; ``tensors`` holds every device tensor by name."""

    def __init__(self) -> None:
        self.ops: list[ir.Op] = []
        self.tensors: dict[str, ir.Tensor] = {}
        self._count = 0

    def quantised(self, node: Node, k: int) -> Activation:
        """Input ``k`` of ``node`` as a quantised activation.

        Raises
        ------
        UnsupportedError
            When the value is a constant, or float and not quantised.
        """
        value = node.given(k)
        name = node.proto.input[k]
        if isinstance(value, Pending):
            node.refuse(
                f"its input {name!r} is the float result of {value.op_type}; "
                "put QuantizeLinear and DequantizeLinear between them"
            )
        if not isinstance(value, Activation):
            node.refuse(f"its input {name!r} is a constant where an activation is expected")
        if value.base.quant is None:
            node.refuse(f"its input {name!r} is not quantised; put QuantizeLinear before it")
        return value

    def bind(self, node: Node, value: Activation, axes: Sequence[int]) -> None:
        """Decide the device axes of a graph input: dimension k of ``value`` is axis ``axes[k]``.

        An input that the host could not bring into that order keeps the order of its own shape.
        """
        base = value.base
        if base.shape4 is None and not _bind(base, value.flat, axes):
            outer = math.prod(base.shape[:-3])
            shape = base.shape if len(base.shape) in USUAL else (outer, *base.shape[-3:])
            bound = _bind(base, Layout.flat(shape), USUAL.get(len(base.shape), (0, 1, 2, 3)))
            assert bound, "an input as it is has its axes in order"

    def bind_usual(self, node: Node, value: Activation) -> None:
        """Axes of an input whose first reader takes any: as ONNX's operators have them."""
        self.bind(node, value, USUAL.get(len(value.shape), ()))

    def image(self, node: Node, value: Activation) -> ir.Tensor:
        """The device tensor of a value (n, c, y, x) or (n, c, x), its data moved where needed."""
        rank = len(value.shape)
        if rank not in (3, 4):
            node.refuse(f"its input has {rank} dimensions, not 3 (n, c, x) or 4 (n, c, y, x)")
        return self.tensor(arrange.settle(self, node, value, arrange.image_places(rank)).base)

    def moved(self, node: Node) -> NoReturn:
        """Refuse a relabelling that would need data to move."""
        node.refuse("its input reaches it through a Transpose or Reshape that moves data")

    def fresh(self, hint: str) -> str:
        """A name for a tensor that is no value of the model."""
        self._count += 1
        return f"{hint}/moved {self._count}"

    def tensor(self, base: Base) -> ir.Tensor:
        """The tensor of a base whose axes and quantisation are known."""
        if base.tensor is None:
            assert base.shape4 is not None and base.quant is not None
            base.tensor = ir.Tensor(base.name, base.shape4, base.quant.device())
            self.tensors[base.name] = base.tensor
        return base.tensor

    def dims(self, node: Node, value: Activation | Pending) -> list[tuple[Digit, ...]]:
        """Device digits of each dimension."""
        return _dims(node, value)

    def emit(self, pending: Pending, name: str, quant: OnnxQuant) -> Activation:
        """Make the operation of ``pending``, its result quantised so; ``name`` is the result's."""
        op = pending.finish(pending, name, quant)
        self.ops.append(op)
        self.tensors[name] = op.out
        base = Base(name, quant.dtype, quant, op.out.shape, tensor=op.out)
        return Activation(base, pending.layout, real=False)


def _bind(base: Base, flat: Layout, axes: Sequence[int]) -> bool:
    """Give an input the axes; whether the host can bring it into that order."""
    try:
        dims = flat.dims()
    except LayoutError:
        return False
    if len(axes) != len(dims) or len(set(axes)) != len(axes):
        return False
    shape = [1, 1, 1, 1]
    pairs: list[tuple[Digit, Digit]] = []
    for axis, digits in zip(axes, dims, strict=True):
        shape[axis] = math.prod(digit.size for digit in digits)
        stride = shape[axis]
        for digit in digits:
            stride //= digit.size
            pairs.append((digit, Digit(axis, stride, digit.size)))
    try:
        host_view(translate(Layout.flat([math.prod(shape)]), pairs), shape)
    except LayoutError:
        return False
    base.shape4 = (shape[0], shape[1], shape[2], shape[3])
    base.binding = tuple(pairs)
    return True


def _dims(node: Node, value: Activation | Pending) -> list[tuple[Digit, ...]]:
    try:
        return value.layout.dims()
    except LayoutError:
        node.refuse(
            "its input reaches it through a Reshape that cuts an axis where it cannot be cut"
        )


def whole(axis: int, size: int) -> tuple[Digit, ...]:
    """The digits of a dimension that is all of one axis."""
    return merge([Digit(axis, 1, size)])
