"""Graphs whose layers a contract must be able to recompute."""

import dataclasses

import numpy as np
from tests.compiler.random_graph import Builder, random_graph, random_move

from hpu.compiler import ir
from hpu.compiler.ir import Blend, Graph


def tame(graph: Graph) -> Graph:
    """Weights of an output channel within 256 steps, as those of any ONNX model are."""
    for index, op in enumerate(graph.ops):
        if isinstance(op, ir.Conv) and (abs(op.weight) > 128).any():
            weight = abs(op.weight) * np.resize([1, -1], len(op.weight))[:, None, None, None]
            graph.ops[index] = dataclasses.replace(op, weight=weight.astype(np.int16))
    return graph


def random_network(seed: int) -> Graph:
    """Six random operations on a small image."""
    return tame(random_graph(seed, size=7, channels=40, length=6, batch=2))


def moves(seed: int) -> Graph:
    """A random data movement of two sources."""
    b = Builder(seed)
    return b.graph(random_move(b, 40, 6))


def long_network(length: int) -> Graph:
    """Sums of tensors from near and far, so that a layer's inputs stand anywhere in the trace."""
    b = Builder(2)
    tensors = [b.input(1, 2, 2, 5), b.input(1, 2, 2, 5)]
    for _ in range(length):
        x, y = b.rng.integers(0, len(tensors), 2)
        tensors.append(b.binary(tensors[-1], tensors[int(min(x, y))]))
    return b.graph(*tensors[-20:])


def large_layer() -> Graph:
    """A table over more bytes than 16² leaves hold."""
    b = Builder(11)
    return b.graph(b.unary(b.input(1, 64, 64, 37)))


def one_op(depth: int, width: int) -> Graph:
    """A dense layer."""
    b = Builder(1)
    return b.graph(b.conv(b.input(1, 1, 1, depth), width, (1, 1)))


def _conv(shape, cout, kernel, **more):
    def make() -> Graph:
        b = Builder(7)
        return tame(b.graph(b.conv(b.input(*shape), cout, kernel, **more)))

    return make


def _pool(shape, kind, kernel, **more):
    def make() -> Graph:
        b = Builder(8)
        return b.graph(b.pool(b.input(*shape), kind, kernel, **more))

    return make


def _residual() -> Graph:
    b = Builder(9)
    x = b.input(1, 6, 6, 20)
    y = b.conv(x, 20, (1, 1))
    return b.graph(b.conv(x, 20, (3, 3), pads=(1, 1, 1, 1), residual=y))


def _binary(seed: int):
    def make() -> Graph:
        b = Builder(seed)
        return b.graph(b.binary(b.input(1, 5, 5, 30), b.input(1, 5, 5, 30)))

    return make


def _unary() -> Graph:
    b = Builder(11)
    return b.graph(b.unary(b.input(1, 5, 5, 60)))


def _blend(axis: int):
    def make() -> Graph:
        b = Builder(12)
        x = b.input(2, 5, 4, 7)
        shape = (2, 9, 4, 7) if axis == 1 else (2, 5, 9, 7)
        most = x.shape[axis]
        first, second = (tuple(b.rng.integers(0, most, 9).tolist()) for _ in range(2))
        share = tuple(float(s) for s in (0, 1, *b.rng.uniform(0, 1, 7)))
        out = b.tensor(shape, ir.Quant(x.quant.scale, 5))
        fields = dict(axis=axis, first=first, second=second, share=share)
        b.ops.append(Blend(nodes=("blend",), x=x, out=out, **fields))
        return b.graph(out)

    return make


#: Layers that each need something of their own.
HARD = {
    "one channel": _conv((1, 9, 9, 1), 5, (7, 7), pads=(3, 3, 3, 3)),
    "dilated": _conv((1, 12, 12, 6), 5, (3, 3), pads=(2, 2, 2, 2), dilations=(2, 3)),
    "groups": _conv((1, 6, 6, 24), 12, (3, 3), groups=3, pads=(1, 0, 1, 0)),
    "depthwise": _conv((1, 8, 8, 300), 300, (3, 3), groups=300, pads=(1, 1, 1, 1)),
    "strides": _conv((2, 11, 9, 17), 6, (4, 3), strides=(3, 2), pads=(2, 1, 3, 0)),
    "wide weights": _conv((1, 5, 5, 33), 4, (3, 3), wide=True),
    "image": _conv((1, 13, 7, 32), 9, (13, 7)),
    "window in the padding": _conv((1, 2, 2, 3), 4, (2, 2), strides=(3, 3), pads=(2, 2, 2, 2)),
    "maximum of padding": _pool((1, 2, 2, 3), "max", (2, 2), strides=(3, 3), pads=(2, 2, 2, 2)),
    "average of all": _pool((1, 7, 7, 600), "average", (7, 7)),
    "average": _pool((1, 9, 9, 20), "average", (3, 3), strides=(2, 2), pads=(1, 1, 1, 1)),
    "average with padding": _pool(
        (1, 9, 9, 20), "average", (3, 3), pads=(1, 2, 2, 1), count_include_pad=True
    ),
    "residual": _residual,
    "binary 1": _binary(1),
    "binary 2": _binary(2),
    "binary 3": _binary(3),
    "binary 4": _binary(5),
    "unary": _unary,
    "blend y": _blend(1),
    "blend x": _blend(2),
}
