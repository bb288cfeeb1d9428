"""Functions of one tensor: a clip of the byte where that says it all, a table otherwise."""

import dataclasses

import numpy as np
import onnx
from onnx import helper

from hpu.compiler import ir
from hpu.compiler.importer.build import Builder, whole
from hpu.compiler.importer.chain import Chain, clip_bounds, evaluate
from hpu.compiler.importer.layout import Layout
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import (
    Activation,
    Constant,
    OnnxQuant,
    Pending,
    QuantConstant,
    Value,
)

__all__ = [
    "batch_normalization",
    "clip",
    "function",
    "make",
    "of_one_tensor",
    "per_channel",
    "start",
    "swish",
]


def start(builder: Builder, node: Node, value: Activation) -> Pending:
    """A chain with no function yet: a requantising copy."""
    chain = Chain(_tensor(builder, node, value), _known(node, value))
    return _pending(chain, value.layout, (node.name,), node.op_type)


def _known(node: Node, value: Activation) -> OnnxQuant:
    if value.base.quant is None:
        node.refuse("its input is not quantised; put QuantizeLinear before it")
    return value.base.quant


def _tensor(builder: Builder, node: Node, value: Activation) -> ir.Tensor:
    _known(node, value)
    builder.bind_usual(node, value)
    return builder.tensor(value.base)


def function(builder: Builder, node: Node) -> Pending:
    """A function of one tensor: every other input is a constant, or a function of it as well.

    A constant is one number, or one for every channel.
    """
    joined = of_one_tensor(builder, node)
    if joined is None:
        node.refuse("its inputs are two activations; the HPU has a table for one")
    return joined


def of_one_tensor(builder: Builder, node: Node) -> Pending | None:
    """The node as one more step of a table, where all its activations are one tensor's."""
    given = {k: value for k, value in enumerate(node.inputs) if value is not None}
    moving = {k: v for k, v in given.items() if isinstance(v, Activation | Pending)}
    if not moving:
        node.refuse("all its inputs are constants")
    if len({_root(node, value) for value in moving.values()}) > 1:
        return None
    chains = {k: _chained(builder, node, value) for k, value in moving.items()}
    first = next(iter(chains.values()))
    if any(each.layout != first.layout for each in chains.values()):
        return None
    inputs: dict[int, Chain | np.ndarray] = {}
    for k, value in given.items():
        if isinstance(value, Constant | QuantConstant):
            inputs[k] = per_channel(builder, node, first, _real(value))
        else:
            inputs[k] = _chain(chains[k])
    nodes = tuple(dict.fromkeys(name for each in chains.values() for name in each.nodes))
    chain = _chain(first).then(node.proto, inputs)
    return _pending(chain, first.layout, (*nodes, node.name), node.op_type)


def _real(value: Constant | QuantConstant) -> np.ndarray:
    return value.real if isinstance(value, QuantConstant) else value.array


def _chain(value: Pending) -> Chain:
    assert value.chain is not None
    return value.chain


def _root(node: Node, value: Activation | Pending) -> str:
    """Name of the tensor that a value is a function of."""
    if isinstance(value, Activation):
        return value.base.name
    if value.chain is None:
        node.refuse(
            f"its input is the float result of {value.op_type}; "
            "put QuantizeLinear and DequantizeLinear between them"
        )
    return value.chain.x.name


def _chained(builder: Builder, node: Node, value: Activation | Pending) -> Pending:
    """``value`` as a table in the making."""
    if isinstance(value, Activation):
        return dataclasses.replace(start(builder, node, value), nodes=())
    _root(node, value)
    return value


def swish(builder: Builder, node: Node) -> Pending:
    """Swish, Silu and QuickGelu: x · sigmoid(alpha · x), in operators that onnxruntime has."""
    value = node.given(0)
    if not isinstance(value, Activation | Pending):
        node.refuse("its input is a constant")
    pending = _chained(builder, node, value)
    x = _chain(pending)
    names = [f"{node.output}/{step}" for step in ("scaled", "sigmoid")] + [node.output]
    default = 1.702 if node.op_type == "QuickGelu" else 1.0
    alpha = np.asarray(node.attribute("alpha", default), np.float32)
    scaled = x.then(helper.make_node("Mul", ["x", "a"], names[:1]), {0: x, 1: alpha})
    sigmoid = scaled.then(helper.make_node("Sigmoid", ["x"], names[1:2]), {0: scaled})
    chain = x.then(helper.make_node("Mul", ["x", "s"], names[2:]), {0: x, 1: sigmoid})
    return _pending(chain, pending.layout, (*pending.nodes, node.name), node.op_type)


def batch_normalization(builder: Builder, node: Node) -> Pending:
    """BatchNormalization with constants: a table for every channel."""
    value = node.given(0)
    if not isinstance(value, Activation | Pending):
        node.refuse("its input is a constant")
    if isinstance(value, Pending) and value.affine is not None:
        return _normalised(builder, node, value)
    pending = _chained(builder, node, value)
    columns = [_per_channel_vector(builder, node, pending, k) for k in range(1, 5)]
    chain = _chain(pending)
    inputs: dict[int, Chain | np.ndarray] = {0: chain} | dict(enumerate(columns, 1))
    proto = helper.make_node(
        "BatchNormalization",
        ["x", "scale", "bias", "mean", "variance"],
        [node.output],
        epsilon=node.attribute("epsilon", 1e-5),
    )
    longer = chain.then(proto, inputs)
    return _pending(longer, pending.layout, (*pending.nodes, node.name), node.op_type)


def _per_channel_vector(builder: Builder, node: Node, value: Pending, k: int) -> np.ndarray:
    array = node.constant(k, f"input {k}").reshape(-1)
    per_channel(builder, node, value, array.reshape(-1, *(1,) * (len(value.shape) - 2)))
    return array


def _normalised(builder: Builder, node: Node, value: Pending) -> Pending:
    """Into the weights and bias of the convolution before it."""
    scale, bias, mean, variance = (
        _per_channel_vector(builder, node, value, k).astype(np.float64) for k in range(1, 5)
    )
    factor = scale / np.sqrt(variance + node.attribute("epsilon", 1e-5))
    assert value.affine is not None
    return value.affine(factor, bias - mean * factor, node.name).relabelled(value.layout)


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


def _pending(chain: Chain, layout: Layout, nodes: tuple[str, ...], op: str) -> Pending:
    def finish(pending: Pending, name: str, quant: OnnxQuant) -> ir.Op:
        return make(chain, pending.nodes, name, quant)

    return Pending(finish, chain.x.shape, layout, nodes, op, chain=chain)


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


def clip(builder: Builder, node: Node) -> Value:
    """Relu and Clip: bounds of the operator before them, or a table of their own."""
    value = node.given(0)
    low, high = _bounds(node)
    if isinstance(value, Activation) and not value.real:
        return _clip_bytes(builder, node, low, high)
    if not isinstance(value, Pending) or value.chain is not None:
        bounds = [Constant(np.asarray(bound, np.float32)) for bound in (low, high)]
        return function(builder, _as_clip(node, [value, *bounds]))
    return dataclasses.replace(
        value,
        low=min(max(value.low, low), high),
        high=min(max(value.high, low), high),
        nodes=(*value.nodes, node.name),
        bias=None,
        affine=None,
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


def _as_clip(node: Node, inputs: list[Value | None]) -> Node:
    """Relu, or a Clip of any opset, with its bounds as inputs."""
    proto = onnx.helper.make_node("Clip", ["x", "low", "high"], [node.output])
    plain = Node(proto, inputs, 0, node.opset)
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
