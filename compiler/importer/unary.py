"""Functions of one input: a clip of the byte where that says it all, a 256-entry table otherwise.

The table is what onnxruntime gives for every byte, running the user's own nodes between the
DequantizeLinear and the QuantizeLinear around them.
"""

import dataclasses

import numpy as np
import onnx
from onnx import helper

from hpu.compiler import ir
from hpu.compiler.importer.build import Builder, whole
from hpu.compiler.importer.fold import run_model, small_model
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import (
    Activation,
    Constant,
    OnnxQuant,
    Pending,
    QuantConstant,
    Value,
)

__all__ = ["clip", "clip_bounds", "function", "start", "with_constant"]


@dataclasses.dataclass(frozen=True)
class Chain:
    """Nodes from ``quant`` on, their constants, and the name of the latest result."""

    x: ir.Tensor
    quant: OnnxQuant
    nodes: tuple[onnx.NodeProto, ...] = ()
    constants: tuple[tuple[str, np.ndarray], ...] = ()
    last: str = "real"

    def then(self, node: onnx.NodeProto, side: int, constants: dict[int, np.ndarray]) -> "Chain":
        """The chain with one more node, which reads it at input ``side``."""
        proto = onnx.NodeProto()
        proto.CopyFrom(node)
        out = f"step{len(self.nodes)}"
        proto.output[0] = out
        added = []
        for k, array in constants.items():
            proto.input[k] = f"{out}_{k}"
            added.append((f"{out}_{k}", array))
        proto.input[side] = self.last
        return Chain(
            self.x,
            self.quant,
            (*self.nodes, proto),
            (*self.constants, *added),
            out,
        )

    def clipped(self, low: float, high: float) -> "Chain":
        """The chain with a clip to real bounds."""
        proto = helper.make_node("Clip", ["x", "low", "high"], ["y"])
        bounds = {1: np.asarray(low, np.float32), 2: np.asarray(high, np.float32)}
        return self.then(proto, 0, bounds)

    def model(self, quant: OnnxQuant) -> onnx.ModelProto:
        """A model from device bytes [n, 1 or channels] to device bytes of ``quant``.

        A uint8 tensor's top bit is flipped at either end, by its zero point.
        """
        before, after = self.quant.device(), quant.device()
        nodes = [
            helper.make_node("DequantizeLinear", ["bytes", "x_scale", "x_zero"], ["real"]),
            *self.nodes,
            helper.make_node("QuantizeLinear", [self.last, "y_scale", "y_zero"], ["result"]),
        ]
        constants: dict[str, np.ndarray] = {
            "x_scale": np.asarray(before.scale, np.float32),
            "x_zero": np.asarray(before.zero, np.int8),
            "y_scale": np.asarray(after.scale, np.float32),
            "y_zero": np.asarray(after.zero, np.int8),
            **dict(self.constants),
        }
        inputs = {"bytes": np.zeros((256, self.channels), np.int8)}
        return small_model(nodes, inputs, constants, ["result"])

    @property
    def channels(self) -> int:
        """Columns of the table: the channels when a constant differs between them, else 1."""
        vectors = [array.size for _, array in self.constants if array.ndim == 2]
        return max(vectors, default=1)


def start(builder: Builder, node: Node, value: Activation) -> Pending:
    """A chain with no function yet: a requantising copy."""
    chain = Chain(_tensor(builder, node, value), _known(node, value))
    return _pending(chain, value, (node.name,), node.op_type)


def _known(node: Node, value: Activation) -> OnnxQuant:
    if value.base.quant is None:
        node.refuse("its input is not quantised; put QuantizeLinear before it")
    return value.base.quant


def _tensor(builder: Builder, node: Node, value: Activation) -> ir.Tensor:
    _known(node, value)
    builder.bind_usual(node, value)
    return builder.tensor(value.base)


def function(builder: Builder, node: Node) -> Pending:
    """One more function of one input, with scalar constants in its other inputs."""
    value = node.given(0)
    constants = {
        k: node.constant(k, f"input {k}").reshape(())
        for k in range(1, len(node.inputs))
        if node.input(k) is not None
    }
    return _append(builder, node, value, 0, constants)


def with_constant(builder: Builder, node: Node, side: int) -> Pending:
    """Addition, product… with a constant that is one number, or one for every channel."""
    value = node.given(side)
    other = node.given(1 - side)
    if isinstance(value, Constant | QuantConstant):
        node.refuse("both its inputs are constants")
    assert isinstance(other, Constant | QuantConstant)
    array = other.real if isinstance(other, QuantConstant) else other.array
    if isinstance(value, Activation):
        _tensor(builder, node, value)
    return _append(builder, node, value, side, {1 - side: per_channel(builder, node, value, array)})


def per_channel(
    builder: Builder, node: Node, value: Activation | Pending, array: np.ndarray
) -> np.ndarray:
    """``array`` as a scalar, or [1, channels] when it differs along the channels of ``value``."""
    if array.size == 1 and array.ndim <= len(value.shape):
        return array.reshape(())
    shape = (1,) * (len(value.shape) - array.ndim) + array.shape
    if len(shape) != len(value.shape):
        node.refuse("its constant has more dimensions than the activation")
    size = value.base.shape4 if isinstance(value, Activation) else value.shape4
    assert size is not None
    for k, digits in enumerate(builder.dims(node, value)):
        if shape[k] != 1 and digits != whole(3, size[3]):
            node.refuse(
                "its constant must be one number, or one for every channel, "
                f"not of shape {list(array.shape)}"
            )
    return array.reshape(1, -1)


def _append(
    builder: Builder, node: Node, value: object, side: int, constants: dict[int, np.ndarray]
) -> Pending:
    if isinstance(value, Activation):
        value = start(builder, node, value)
        value = dataclasses.replace(value, nodes=())
    if not isinstance(value, Pending):
        node.refuse("its input is not an activation")
    if value.step is None:
        node.refuse(
            f"its input is the float result of {value.op_type}; "
            "put QuantizeLinear and DequantizeLinear between them"
        )
    return value.step(value, node, side, constants)


def _pending(chain: Chain, value: Activation | Pending, nodes: tuple[str, ...], op: str) -> Pending:
    def finish(pending: Pending, name: str, quant: OnnxQuant) -> ir.Op:
        return make(chain, pending.nodes, name, quant)

    def step(before: Pending, node: Node, side: int, constants: dict[int, np.ndarray]) -> Pending:
        longer = chain.then(node.proto, side, constants)
        return _pending(longer, before, (*before.nodes, node.name), node.op_type)

    return Pending(finish, chain.x.shape, value.layout, nodes, op, step=step)


def make(chain: Chain, nodes: tuple[str, ...], name: str, quant: OnnxQuant) -> ir.Unary:
    """The operation for a whole chain."""
    model = chain.model(quant)
    table = evaluate(model)
    out = ir.Tensor(name, chain.x.shape, quant.device())
    bounds = clip_bounds(table)
    if bounds is not None and chain.x.quant == out.quant:
        return ir.Unary(nodes=nodes, x=chain.x, out=out, low=bounds[0], high=bounds[1])
    return ir.Unary(
        nodes=nodes, x=chain.x, out=out, table=table, inner=chain.x.quant, sources=(model,)
    )


def evaluate(model: onnx.ModelProto) -> np.ndarray:
    """The table of a chain's model: int8 [256] or [256, channels], indexed by the byte."""
    columns = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    column = np.arange(256, dtype=np.uint8).view(np.int8)
    feed = np.repeat(column[:, None], columns, axis=1)
    table = run_model(model, {"bytes": feed})[0]
    return table[:, 0] if columns == 1 else table


def clip_bounds(table: np.ndarray) -> tuple[int, int] | None:
    """The bounds when ``table`` is nothing but a clip."""
    if table.ndim != 1:
        return None
    low, high = int(table.min()), int(table.max())
    bytes_ = np.arange(256, dtype=np.uint8).view(np.int8)
    return (low, high) if np.array_equal(table, np.clip(bytes_, low, high)) else None


def clip(builder: Builder, node: Node) -> Value:
    """Relu and Clip: bounds of the operator before them, or a table of their own."""
    value = node.given(0)
    low, high = _bounds(node)
    if isinstance(value, Activation) and not value.real:
        return _clip_bytes(builder, node, low, high)
    if not isinstance(value, Pending) or value.step is not None:
        bounds = {1: np.asarray(low, np.float32), 2: np.asarray(high, np.float32)}
        return _append(builder, _as_clip(node), value, 0, bounds)
    return dataclasses.replace(
        value,
        low=min(max(value.low, low), high),
        high=min(max(value.high, low), high),
        nodes=(*value.nodes, node.name),
        bias=None,
    )


def _clip_bytes(builder: Builder, node: Node, low: float, high: float) -> Activation:
    """Relu or Clip of integers as such: bounds in the integers' own type."""
    value = builder.quantised(node, 0)
    x = _tensor(builder, node, value)
    quant = _known(node, value)
    first, last = (int(np.clip(v, quant.low, quant.low + 255)) for v in (low, high))

    def finish(pending: Pending, name: str, y: OnnxQuant) -> ir.Op:
        out = ir.Tensor(name, x.shape, y.device())
        flip = quant.low + 128
        return ir.Unary(nodes=pending.nodes, x=x, out=out, low=first - flip, high=last - flip)

    pending = Pending(finish, x.shape, value.layout, (node.name,), node.op_type)
    return builder.emit(pending, node.output, quant)


def _as_clip(node: Node) -> Node:
    """Relu, or a Clip of any opset, with its bounds as inputs."""
    proto = onnx.helper.make_node("Clip", ["x", "low", "high"], [node.output])
    plain = Node(proto, node.inputs, 0, node.opset)
    plain.name, plain.op_type = node.name, node.op_type
    return plain


def _bounds(node: Node) -> tuple[float, float]:
    if node.op_type == "Relu":
        return 0.0, np.inf
    low, high = node.attribute("min", -np.inf), node.attribute("max", np.inf)
    if node.input(1) is not None:
        low = float(node.constant(1, "minimum"))
    if node.input(2) is not None:
        high = float(node.constant(2, "maximum"))
    if np.isnan(low) or np.isnan(high):
        node.refuse("its bounds must be numbers, not NaN")
    return low, high
