"""Resize: to the nearest element a data movement, linear an interpolation along y and one along x.

Where every result lies between the input's elements is what onnxruntime's own Resize makes of the
numbers 0, 1, 2 … along the dimension.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from hpu.compiler import ir
from hpu.compiler.importer.arrange import image_places, own_places, settle
from hpu.compiler.importer.build import Builder
from hpu.compiler.importer.fold import run_model, small_model
from hpu.compiler.importer.layout import Digit, Layout, merge
from hpu.compiler.importer.moves import read, take
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import Activation, Constant, OnnxQuant, Pending, Value

__all__ = ["resize"]

#: Shares are rounded to steps of this, so that those which float32 computed alike are the same.
_STEPS = 1 << 16
#: An intermediate rounding of half a step of x must stay less than a whole step of the result.
_MOST_RATIO = 1.9


def resize(builder: Builder, node: Node) -> Value:
    """Resize in mode nearest or linear."""
    value = read(builder, node)
    lines = [_resized_numbers(node, value.shape, axis) for axis in range(len(value.shape))]
    if node.text("mode", "nearest") == "nearest":
        return take(builder, node, value, [line.astype(np.int64) for line in lines])
    if not value.real:
        node.refuse("its input are integers as such; put DequantizeLinear before it")
    return _linear(builder, node, value, lines)


def _resized_numbers(node: Node, shape: Sequence[int], axis: int) -> np.ndarray:
    """Where every result along dimension ``axis`` lies between the elements of the input."""
    numbers = np.arange(shape[axis], dtype=np.float32)
    line = numbers.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    feed = {node.proto.input[0]: np.ascontiguousarray(np.broadcast_to(line, shape))}
    model = small_model([node.proto], feed, dict(_constants(node)), [node.output], node.opset)
    result = run_model(model, feed)[0]
    along: np.ndarray = np.moveaxis(result, axis, 0).reshape(result.shape[axis], -1)[:, 0]
    return along


def _constants(node: Node) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in zip(node.proto.input, node.inputs, strict=True):
        if isinstance(value, Constant):
            yield name, value.array


def _linear(
    builder: Builder, node: Node, value: Activation, lines: Sequence[np.ndarray]
) -> Pending:
    value, places = _arranged(builder, node, value, lines)
    x = builder.tensor(value.base)
    stages = [
        (axis, lines[k])
        for k, (axis, _) in enumerate(places)
        if not np.array_equal(lines[k], np.arange(value.shape[k]))
    ]
    stages.sort(key=lambda stage: len(stage[1]) / x.shape[stage[0]])  # the small result first
    stages = stages or [(2, np.arange(x.shape[2], dtype=np.float32))]
    quant = value.base.quant
    assert quant is not None

    def finish(pending: Pending, name: str, y: OnnxQuant) -> ir.Op:
        if len(stages) > 1 and quant.scale / y.scale > _MOST_RATIO:
            node.refuse(
                f"its result's scale {y.scale:g} is much finer than its input's {quant.scale:g}"
            )
        here = x
        for axis, line in stages[:-1]:
            op = _stage(here, axis, line, builder.fresh(name), quant, pending.nodes)
            builder.ops.append(op)
            builder.tensors[op.out.name] = op.out
            here = op.out
        op = _stage(here, *stages[-1], name, y, pending.nodes)
        low, high = y.quantise(pending.low), y.quantise(pending.high)
        return dataclasses.replace(op, low=low, high=high)

    shape = [len(line) for line in lines]
    digits = [Digit(axis, 1, size) for (axis, _), size in zip(places, shape, strict=True)]
    shape4 = list(x.shape)
    for axis, line in stages:
        shape4[axis] = len(line)
    final = (shape4[0], shape4[1], shape4[2], shape4[3])
    layout = Layout(tuple(shape), merge(digits))
    return Pending(finish, final, layout, (node.name,), node.op_type)


def _arranged(
    builder: Builder, node: Node, value: Activation, lines: Sequence[np.ndarray]
) -> tuple[Activation, tuple[tuple[int, int], ...]]:
    """The value with the resized dimensions along y and x, and the axes of its dimensions."""
    resized = [
        k for k, line in enumerate(lines) if not np.array_equal(line, np.arange(value.shape[k]))
    ]
    builder.bind_usual(node, value)
    places = own_places(value)
    if len(value.shape) not in (3, 4) or any(places[k][0] not in (1, 2) for k in resized):
        if len(value.shape) not in (3, 4) or any(k < 2 for k in resized):
            node.refuse("it resizes other dimensions than those of an image")
        places = image_places(len(value.shape))
    return settle(builder, node, value, places), places


def _stage(
    x: ir.Tensor, axis: int, line: np.ndarray, name: str, quant: OnnxQuant, nodes: tuple[str, ...]
) -> ir.Blend:
    """One interpolation."""
    last = x.shape[axis] - 1
    places = np.clip(np.rint(line.astype(np.float64) * _STEPS) / _STEPS, 0, last)
    first = np.floor(places).astype(int)
    shape = list(x.shape)
    shape[axis] = len(line)
    return ir.Blend(
        nodes=nodes,
        x=x,
        out=ir.Tensor(name, (shape[0], shape[1], shape[2], shape[3]), quant.device()),
        axis=axis,
        first=tuple(first.tolist()),
        second=tuple(np.minimum(first + 1, last).tolist()),
        share=tuple((places - first).tolist()),
    )
