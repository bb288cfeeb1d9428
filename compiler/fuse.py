"""Fusion: what the vector unit does on the way from the accumulators to the buffer.

Passes, each from graph to graph. A fused operation gives the same bytes as the chain it
stands for. Tables join only operations that are exact (see :func:`is_exact`): after one that may
differ from onnxruntime by 1 LSB a table could make any difference of it.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from hpu.compiler import ir
from hpu.compiler.fuse_moves import fuse_moves, fuse_pads
from hpu.compiler.rewrite import with_ops
from hpu.compiler.verify import verify

__all__ = [
    "fuse",
    "fuse_clips",
    "fuse_residuals",
    "fuse_tables",
    "is_exact",
    "prune",
    "with_ops",
]


def fuse(graph: ir.Graph) -> ir.Graph:
    """All passes, the graph verified after each."""
    for each in (prune, fuse_pads, fuse_moves, fuse_clips, fuse_tables, fuse_residuals):
        graph = verify(each(graph))
    return graph


def is_exact(op: ir.Op) -> bool:
    """Whether the operation gives onnxruntime's bytes; else each is within 1 LSB of it."""
    if isinstance(op, ir.Conv):
        return op.residual is None
    return isinstance(op, ir.Unary | ir.Move) or (isinstance(op, ir.Pool) and op.kind == "max")


def prune(graph: ir.Graph) -> ir.Graph:
    """Without operations whose result nobody reads."""
    wanted = {host.tensor for host in graph.outputs}
    kept: list[ir.Op] = []
    for op in reversed(graph.ops):
        if op.out.name in wanted:
            kept.append(op)
            wanted |= {tensor.name for tensor in op.inputs}
    return with_ops(graph, kept[::-1])


def _private(graph: ir.Graph) -> set[str]:
    """Names of the tensors that one operation reads once and that are no outputs."""
    readers = Counter(tensor.name for op in graph.ops for tensor in op.inputs)
    readers.update(host.tensor for host in graph.outputs for _ in range(2))
    return {op.out.name for op in graph.ops if readers[op.out.name] == 1}


def fuse_clips(graph: ir.Graph) -> ir.Graph:
    """A clip alone becomes the clip of the operation before it."""

    def joined(maker: ir.Op, op: ir.Unary) -> ir.Op | None:
        if op.table is not None or maker.table is not None or maker.out.quant != op.out.quant:
            return None
        low, high = np.clip((maker.low, maker.high), op.low, op.high)
        return _joined(maker, op, low=int(low), high=int(high))

    return _fuse_unary(graph, joined)


def fuse_tables(graph: ir.Graph) -> ir.Graph:
    """A table alone becomes, or joins, the table of the exact operation before it."""

    def joined(maker: ir.Op, op: ir.Unary) -> ir.Op | None:
        if op.table is None or not is_exact(maker) or (op.low, op.high) != (-128, 127):
            return None
        table = op.table if maker.table is None else look_up(op.table, maker.table)
        inner = maker.inner if maker.table is not None else maker.out.quant
        sources = (*maker.sources, *op.sources)
        return _joined(maker, op, table=table, inner=inner, sources=sources)

    return _fuse_unary(graph, joined)


def look_up(table: np.ndarray, values: np.ndarray) -> np.ndarray:
    """``table[values]``, by the byte; either may be one for all channels or one for each.

    The last axis of ``values`` is the channels when either has them.
    """
    index = values.view(np.uint8)
    if table.ndim == 1:
        return table[index]
    if values.ndim == 1 and values.shape[0] == 256:
        index = index[:, None]
    return table[index, np.arange(table.shape[1])]


def _joined(maker: ir.Op, op: ir.Op, **changes: Any) -> ir.Op:
    nodes = (*maker.nodes, *op.nodes)
    return dataclasses.replace(maker, nodes=nodes, out=op.out, **changes)


def _fuse_unary(graph: ir.Graph, joined: Callable[[ir.Op, ir.Unary], ir.Op | None]) -> ir.Graph:
    ops: dict[str, ir.Op] = {}
    private = _private(graph)
    for op in graph.ops:
        maker = ops.get(op.x.name) if op.x.name in private else None
        fused = joined(maker, op) if maker is not None and isinstance(op, ir.Unary) else None
        if fused is not None:
            del ops[op.x.name]
        ops[op.out.name] = fused or op
    return with_ops(graph, list(ops.values()))


def fuse_residuals(graph: ir.Graph) -> ir.Graph:
    """An addition joins the convolution that makes one of its operands, the later one of two."""
    ops: dict[str, ir.Op] = {}
    private = _private(graph)
    for op in graph.ops:
        maker = _conv_before(op, ops, private)
        if maker is not None:
            del ops[maker.out.name]
            op = _with_residual(maker, op)
        ops[op.out.name] = op
    return with_ops(graph, list(ops.values()))


def _conv_before(op: ir.Op, ops: dict[str, ir.Op], private: set[str]) -> ir.Conv | None:
    if not isinstance(op, ir.Add):
        return None
    found = [ops.get(tensor.name) for tensor in op.inputs if tensor.name in private]
    convs = [maker for maker in found if isinstance(maker, ir.Conv) and _can_take(maker)]
    order = list(ops)
    return max(convs, key=lambda maker: order.index(maker.out.name), default=None)


def _can_take(conv: ir.Conv) -> bool:
    plain = conv.table is None and (conv.low, conv.high) == (-128, 127)
    return plain and conv.residual is None


def _with_residual(conv: ir.Conv, op: ir.Op) -> ir.Op:
    assert isinstance(op, ir.Add)
    other = op.y if op.x is conv.out else op.x
    residual = ir.Residual(other, conv.out.quant)
    return _joined(conv, op, residual=residual, low=op.low, high=op.high)
