"""Operators that only move data: Concat, Split, Slice, Pad, Gather, Tile and Expand.

What they give has the quantisation of what they read, so it needs no QuantizeLinear; one that
follows with another scale becomes a table of the movement. Only Concat of values with different
scales waits for its QuantizeLinear, and brings every input to it first.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from hpu.compiler import ir
from hpu.compiler.importer import unary
from hpu.compiler.importer.arrange import Part, move, own_places
from hpu.compiler.importer.build import Builder
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
from hpu.compiler.pieces import FILL

__all__ = [
    "axis_of",
    "concat",
    "expand",
    "gather",
    "join",
    "pad",
    "read",
    "requantised",
    "slice_",
    "split",
    "take",
    "tile",
]


def take(
    builder: Builder,
    node: Node,
    value: Activation,
    indices: Sequence[np.ndarray],
    fill: int = 0,
) -> Activation:
    """``value[indices[0], indices[1], …]``, dimension by dimension; -1 stands for the fill byte."""
    if all(np.array_equal(a, np.arange(n)) for a, n in zip(indices, value.shape, strict=True)):
        return value
    if any(len(each) == 0 for each in indices):
        node.refuse("its result is empty")
    builder.bind_usual(node, value)
    shape = [len(each) for each in indices]
    return move(builder, node, [value], shape, own_places(value), list(_parts(indices)), fill)


def _parts(indices: Sequence[np.ndarray]) -> Iterator[Part]:
    """Boxes without and with the fill byte: everything beyond the first dimension that has it."""
    runs = [_runs(each) for each in indices]
    good = [[run for run in each if run[1][0] >= 0] for each in runs]
    for choice in itertools.product(*good):
        yield Part(0, tuple(run[1] for run in choice), tuple(run[0] for run in choice))
    for k, each in enumerate(runs):
        outside = [run for run in each if run[1][0] < 0]
        whole = [[(0, other)] for other in indices[k + 1 :]]
        for choice in itertools.product(*good[:k], outside, *whole):
            yield Part(FILL, tuple(run[1] for run in choice), tuple(run[0] for run in choice))


def _runs(indices: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """(place, indices) of every stretch that is all fill or all not."""
    ends = np.flatnonzero(np.diff((indices < 0).astype(np.int8))) + 1
    starts = [0, *ends.tolist()]
    return list(zip(starts, np.split(indices, ends), strict=True))


def read(builder: Builder, node: Node) -> Activation:
    """The value that is moved: quantised, real or as integers."""
    value = builder.quantised(node, 0)
    if value.raw:
        node.refuse(
            f"its input {node.proto.input[0]!r} is not quantised; put QuantizeLinear before"
        )
    return value


def axis_of(node: Node, rank: int, default: int = 0) -> int:
    """The attribute ``axis``, counted from the first."""
    return int(node.attribute("axis", default)) % rank


def _every(shape: Sequence[int]) -> list[np.ndarray]:
    return [np.arange(size) for size in shape]


def slice_(builder: Builder, node: Node) -> Value:
    """Slice with constant bounds; steps may be negative."""
    value = read(builder, node)
    indices = _every(value.shape)
    for start, end, axis, step in zip(*_bounds(node, len(value.shape)), strict=True):
        if step == 0:
            node.refuse("its steps must not be 0")
        indices[axis] = indices[axis][slice(start, end, step)]
    return take(builder, node, value, indices)


def _bounds(node: Node, rank: int) -> tuple[list[int], list[int], list[int], list[int]]:
    """Starts, ends, axes and steps of a Slice, from its inputs or (before opset 10) attributes."""
    if node.input(1) is None:
        starts, ends = list(node.attribute("starts", ())), list(node.attribute("ends", ()))
        axes, steps = node.attribute("axes"), None
    else:
        starts, ends = (_numbers(node, k, what) for k, what in ((1, "starts"), (2, "ends")))
        axes = None if node.input(3) is None else _numbers(node, 3, "axes")
        steps = None if node.input(4) is None else _numbers(node, 4, "steps")
    chosen = [axis % rank for axis in (axes if axes is not None else range(len(starts)))]
    return starts, ends, chosen, steps if steps is not None else [1] * len(starts)


def _numbers(node: Node, k: int, what: str) -> list[int]:
    return [int(v) for v in node.constant(k, what).reshape(-1)]


def split(builder: Builder, node: Node) -> tuple[Value, ...]:
    """Split along one axis."""
    value = read(builder, node)
    axis = axis_of(node, len(value.shape))
    results, first = [], 0
    for size in _split_sizes(node, value.shape[axis]):
        indices = _every(value.shape)
        indices[axis] = indices[axis][first : first + size]
        results.append(take(builder, node, value, indices))
        first += size
    return tuple(results)


def _split_sizes(node: Node, total: int) -> list[int]:
    if node.input(1) is not None:
        return _numbers(node, 1, "split")
    if node.attribute("split") is not None:
        return list(node.attribute("split"))
    count = node.attribute("num_outputs", len(node.proto.output))
    size = -(-total // count)
    return [min(size, total - k * size) for k in range(count)]


def pad(builder: Builder, node: Node) -> Value:
    """Pad in every mode; a constant as a byte of the input's quantisation."""
    value = read(builder, node)
    quant = value.base.quant
    assert quant is not None
    indices = _padded(node, value.shape, node.text("mode", "constant"))
    byte, exact = _pad_byte(node, value, quant)
    if exact or all((each >= 0).all() for each in indices):
        return take(builder, node, value, indices, byte)
    return _waiting(builder, node, value, indices, byte, quant)


def _padded(node: Node, shape: Sequence[int], mode: str) -> list[np.ndarray]:
    pads, axes = _pads(node, len(shape))
    indices = _every(shape)
    for axis, low, high in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        kept = indices[axis][max(-low, 0) : shape[axis] - max(-high, 0)]
        width = (max(low, 0), max(high, 0))
        if mode == "constant":
            indices[axis] = np.pad(kept, width, constant_values=-1)
        elif mode in ("reflect", "edge", "wrap"):
            indices[axis] = np.pad(kept, width, mode=mode)  # type: ignore[call-overload]
        else:
            node.refuse(f"its mode is {mode!r}, which ONNX does not define")
    return indices


def _pads(node: Node, rank: int) -> tuple[list[int], list[int]]:
    if node.input(1) is None:
        return list(node.attribute("pads", node.attribute("paddings", ()))), list(range(rank))
    axes = list(range(rank)) if node.input(3) is None else _numbers(node, 3, "axes")
    return _numbers(node, 1, "pads"), [axis % rank for axis in axes]


def _pad_byte(node: Node, value: Activation, quant: OnnxQuant) -> tuple[int, bool]:
    """The device byte of a Pad's constant, and whether it stands for just that number."""
    number: object = node.attribute("value", 0.0)
    if node.input(2) is not None:
        number = node.constant(2, "constant value").reshape(-1)[0]
    if not value.real:
        return int(np.asarray(number)) - 128 - quant.low, True
    real = np.float32(np.asarray(number, np.float32))
    byte = quant.quantise(float(real))
    back = np.float32(byte - quant.device().zero) * quant.scale
    return byte, bool(back == real)


def _waiting(
    builder: Builder,
    node: Node,
    value: Activation,
    indices: Sequence[np.ndarray],
    byte: int,
    quant: OnnxQuant,
) -> Pending:
    """A Pad with a constant between two bytes: right only where the scale does not change."""
    plain = take(builder, node, value, indices, byte)
    op = builder.ops.pop()
    del builder.tensors[op.out.name]

    def finish(pending: Pending, name: str, y: OnnxQuant) -> ir.Op:
        if y.device() != quant.device():
            node.refuse("its constant is no multiple of the scale, and the result has another one")
        low, high = y.quantise(pending.low), y.quantise(pending.high)
        out = ir.Tensor(name, op.out.shape, y.device())
        return dataclasses.replace(op, nodes=pending.nodes, out=out, low=low, high=high)

    return Pending(finish, op.out.shape, plain.layout, (node.name,), node.op_type)


def tile(builder: Builder, node: Node) -> Value:
    """Tile with constant repeats."""
    value = read(builder, node)
    repeats = _numbers(node, 1, "repeats")
    pairs = zip(_every(value.shape), repeats, strict=True)
    return take(builder, node, value, [np.tile(each, count) for each, count in pairs])


def expand(builder: Builder, node: Node) -> Value:
    """Expand to a constant shape."""
    value = read(builder, node)
    wanted = _numbers(node, 1, "shape")
    rank = max(len(wanted), len(value.shape))
    old = (1,) * (rank - len(value.shape)) + value.shape
    new = np.broadcast_shapes(old, tuple(wanted))
    value = value.relabelled(Layout(old, value.flat.digits))
    indices = [
        np.zeros(size, int) if had == 1 else np.arange(size)
        for had, size in zip(old, new, strict=True)
    ]
    return take(builder, node, value, indices)


def gather(builder: Builder, node: Node) -> Value:
    """Gather with constant indices."""
    value = read(builder, node)
    axis = axis_of(node, len(value.shape))
    chosen = node.constant(1, "indices")
    size = value.shape[axis]
    if chosen.size and not (-size <= chosen.min() and chosen.max() < size):
        node.refuse(f"its indices must be from {-size} to {size - 1}")
    indices = _every(value.shape)
    indices[axis] = chosen.reshape(-1).astype(np.int64) % size
    taken = take(builder, node, value, indices)
    shape = (*value.shape[:axis], *chosen.shape, *value.shape[axis + 1 :])
    return taken.relabelled(taken.flat.reshape(shape))


def concat(builder: Builder, node: Node) -> Value:
    """Concat: at once where all inputs have one quantisation, else after its QuantizeLinear."""
    values = []
    for k, name in enumerate(node.proto.input):
        if isinstance(node.given(k), Constant | QuantConstant):
            node.refuse(f"its input {name!r} is a constant; the HPU joins activations")
        values.append(builder.quantised(node, k))
    quants = [value.base.quant for value in values]
    if all(quant == quants[0] for quant in quants):
        return join(builder, node, values, axis_of(node, len(values[0].shape)))
    if not all(value.real for value in values):
        node.refuse("its inputs are integers of different scales; put DequantizeLinear before it")
    return _concat_later(builder, node, values)


def _concat_later(builder: Builder, node: Node, values: Sequence[Activation]) -> Pending:
    axis = axis_of(node, len(values[0].shape))
    for value in values:
        builder.bind_usual(node, value)
    # A first go tells the shape and arrangement; it leaves nothing behind.
    trial = join(builder, node, values, axis)
    op = builder.ops.pop()
    del builder.tensors[op.out.name]

    def finish(pending: Pending, name: str, quant: OnnxQuant) -> ir.Op:
        alike = [requantised(builder, node, value, quant) for value in values]
        join(builder, node, alike, axis)
        made = builder.ops.pop()
        del builder.tensors[made.out.name]
        low, high = quant.quantise(pending.low), quant.quantise(pending.high)
        out = ir.Tensor(name, made.out.shape, quant.device())
        return dataclasses.replace(made, nodes=pending.nodes, out=out, low=low, high=high)

    return Pending(finish, op.out.shape, trial.layout, (node.name,), node.op_type)


def requantised(builder: Builder, node: Node, value: Activation, quant: OnnxQuant) -> Activation:
    """``value`` with another quantisation, by a table."""
    if value.base.quant == quant:
        return value
    pending = unary.start(builder, node, value)
    made = builder.emit(pending, builder.fresh(value.base.name), quant)
    return Activation(made.base, made.flat, real=value.real)


def join(
    builder: Builder, node: Node, values: Sequence[Activation], axis: int, name: str = ""
) -> Activation:
    """Values of one quantisation one behind another along a dimension; ``name`` is the result's."""
    for value in values:
        if not _fits(value.shape, values[0].shape, axis):
            node.refuse(
                f"its inputs have the shapes {list(values[0].shape)} and {list(value.shape)}, "
                f"which do not join along axis {axis}"
            )
        builder.bind_usual(node, value)
    if len(values) == 1 and not name:
        return values[0]
    parts, first = [], 0
    for k, value in enumerate(values):
        dest = tuple(first if d == axis else 0 for d in range(len(value.shape)))
        parts.append(Part(k, tuple(_every(value.shape)), dest))
        first += value.shape[axis]
    shape = [first if d == axis else size for d, size in enumerate(values[0].shape)]
    return move(builder, node, values, shape, own_places(values[0]), parts, name=name)


def _fits(shape: Sequence[int], other: Sequence[int], axis: int) -> bool:
    if len(shape) != len(other):
        return False
    return all(a == b for k, (a, b) in enumerate(zip(shape, other, strict=True)) if k != axis)
