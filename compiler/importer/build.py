"""The graph under construction: device tensors, binding of inputs' axes, emission of operations."""

import math
from collections.abc import Sequence
from typing import NoReturn

from hpu.compiler import ir
from hpu.compiler.importer.layout import Digit, Layout, LayoutError, merge
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import Activation, Base, OnnxQuant, Pending

__all__ = ["Builder"]

_USUAL = {4: (0, 3, 1, 2), 3: (0, 2, 3), 2: (0, 3), 1: (3,), 0: ()}


class Builder:
    """Collects operations and tensors; ``tensors`` holds every device tensor by name."""

    def __init__(self) -> None:
        self.ops: list[ir.Op] = []
        self.tensors: dict[str, ir.Tensor] = {}

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
        """Decide the device axes of a graph input: dimension k of ``value`` is axis ``axes[k]``."""
        base = value.base
        if base.shape4 is not None:
            return
        shape = [1, 1, 1, 1]
        pairs: list[tuple[Digit, Digit]] = []
        for axis, digits in zip(axes, _dims(node, value), strict=True):
            shape[axis] = math.prod(digit.size for digit in digits)
            stride = shape[axis]
            for digit in digits:
                stride //= digit.size
                pairs.append((digit, Digit(axis, stride, digit.size)))
        base.shape4 = (shape[0], shape[1], shape[2], shape[3])
        base.binding = tuple(pairs)

    def image(self, node: Node, value: Activation) -> ir.Tensor:
        """The device tensor of a value (n, c, y, x); the value must lie over it in that order."""
        if len(value.shape) != 4:
            node.refuse(f"its input has {len(value.shape)} dimensions, not 4 (n, c, y, x)")
        self.bind(node, value, (0, 3, 1, 2))
        tensor = self.tensor(value.base)
        if value.layout != Layout.image(tensor.shape):
            self.moved(node)
        return tensor

    def bind_usual(self, node: Node, value: Activation) -> None:
        """Axes of an input whose first reader takes any: as ONNX's operators have them."""
        rank = len(value.shape)
        if value.base.shape4 is None and rank not in _USUAL:
            node.refuse(f"its input has {rank} dimensions; the HPU takes at most 4")
        if value.base.shape4 is None:
            self.bind(node, value, _USUAL[rank])

    def moved(self, node: Node) -> NoReturn:
        """Refuse a relabelling that would need data to move."""
        node.refuse(
            "its input reaches it through a Transpose or Reshape that moves data; only "
            "relabellings that leave the channels whole are done"
        )

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
