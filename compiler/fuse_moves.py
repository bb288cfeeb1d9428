"""Movements that join what stands next to them: two become one, and padding joins a window."""

import dataclasses
import math
from collections import Counter

from hpu.compiler import ir
from hpu.compiler.pieces import FILL, Loop, Piece, Vector
from hpu.compiler.rewrite import with_ops

__all__ = ["fuse_moves", "fuse_pads"]


def is_plain(op: ir.Op) -> bool:
    """Whether the operation has neither clip nor table."""
    return op.table is None and (op.low, op.high) == (-128, 127)


def fuse_moves(graph: ir.Graph) -> ir.Graph:
    """A movement whose whole result goes into another one, which alone reads it, joins that."""
    readers = Counter(tensor.name for op in graph.ops for tensor in op.inputs)
    readers.update(host.tensor for host in graph.outputs for _ in range(2))
    ops: dict[str, ir.Op] = {}
    for op in graph.ops:
        if isinstance(op, ir.Move):
            for tensor in op.inputs:
                maker = ops.get(tensor.name)
                if isinstance(maker, ir.Move) and readers[tensor.name] == 1:
                    joined = _joined(maker, op)
                    if joined is not None:
                        del ops[tensor.name]
                        op = joined
        ops[op.out.name] = op
    return with_ops(graph, list(ops.values()))


def _joined(inner: ir.Move, outer: ir.Move) -> ir.Move | None:
    """``outer`` reading what ``inner`` reads, or ``None`` where that is not one movement."""
    number = outer.inputs.index(inner.out)
    carriers = [piece for piece in outer.pieces if piece.source == number]
    fills = {move.fill for move in (inner, outer) for p in move.pieces if p.source == FILL}
    if not is_plain(inner) or len(carriers) != 1 or len(fills) > 1:
        return None
    steps = _whole(carriers[0], inner.out)
    if steps is None:
        return None
    sources = [tensor for tensor in outer.inputs if tensor is not inner.out]
    sources += [tensor for tensor in inner.inputs if tensor not in sources]
    places = {tensor.name: k for k, tensor in enumerate(sources)} | {"": FILL}
    own = [
        _renamed(piece, places[_source_name(outer, piece)])
        for piece in outer.pieces
        if piece.source != number
    ]
    carried = [
        _carried(_renamed(piece, places[_source_name(inner, piece)]), carriers[0].dest, steps)
        for piece in inner.pieces
    ]
    return dataclasses.replace(
        outer,
        nodes=(*inner.nodes, *(node for node in outer.nodes if node not in inner.nodes)),
        x=sources[0],
        others=tuple(sources[1:]),
        pieces=(*own, *carried),
        fill=fills.pop() if fills else outer.fill,
    )


def _source_name(op: ir.Move, piece: Piece) -> str:
    return "" if piece.source == FILL else op.inputs[piece.source].name


def _renamed(piece: Piece, source: int) -> Piece:
    return dataclasses.replace(piece, source=source)


def _whole(piece: Piece, source: ir.Tensor) -> Vector | None:
    """Steps in the result of a piece that takes all of its source as it lies; else ``None``."""
    steps = [1, 1, 1, 1]
    for loop in piece.loops:
        if loop.axis != loop.to or loop.from_step != 1:
            return None
        steps[loop.to] = loop.to_step
    if any(piece.origin) or piece.elements != math.prod(source.shape):
        return None
    return steps[0], steps[1], steps[2], steps[3]


def _carried(piece: Piece, dest: Vector, steps: Vector) -> Piece:
    """A piece of the inner movement, written where the outer one takes it."""
    loops = tuple(
        Loop(loop.size, loop.axis, loop.from_step, loop.to, loop.to_step * steps[loop.to])
        for loop in piece.loops
    )
    n, y, x, c = (a + b * s for a, b, s in zip(dest, piece.dest, steps, strict=True))
    return Piece(piece.source, piece.origin, (n, y, x, c), loops)


def fuse_pads(graph: ir.Graph) -> ir.Graph:
    """Padding joins the convolutions and maxima that read it, where it is what they pad with."""
    held = {host.tensor for host in graph.outputs}
    readers: dict[str, list[ir.Op]] = {}
    for op in graph.ops:
        for tensor in op.inputs:
            readers.setdefault(tensor.name, []).append(op)
    padded: dict[str, ir.Move] = {}
    for op in graph.ops:
        if not isinstance(op, ir.Move) or op.out.name in held or _pads(op) is None:
            continue
        if all(_takes(reader, op) for reader in readers.get(op.out.name, [])):
            padded[op.out.name] = op
    kept = (op for op in graph.ops if op.out.name not in padded)
    ops = [_padding(op, padded[op.x.name]) if op.x.name in padded else op for op in kept]
    return with_ops(graph, ops)


def _pads(op: ir.Move) -> tuple[int, int, int, int] | None:
    """Top, left, bottom and right, when ``op`` does nothing but pad an image."""
    carriers = [piece for piece in op.pieces if piece.source != FILL]
    if not is_plain(op) or len(op.inputs) != 1 or len(carriers) != 1:
        return None
    shape, (n, top, left, c) = op.x.shape, carriers[0].dest
    unmoved = _whole(carriers[0], op.x) == (1, 1, 1, 1) and (n, c) == (0, 0)
    if not unmoved or (op.out.shape[0], op.out.shape[3]) != (shape[0], shape[3]):
        return None
    return top, left, op.out.shape[1] - top - shape[1], op.out.shape[2] - left - shape[2]


def _takes(reader: ir.Op, pad: ir.Move) -> bool:
    """Whether an operation that reads a padded image may pad it itself."""
    if isinstance(reader, ir.Conv):
        beside = reader.residual is None or reader.residual.tensor is not pad.out
        return beside and pad.fill == pad.x.quant.zero
    if isinstance(reader, ir.Pool) and reader.kind == "max" and pad.fill == -128:
        pads = _sum(reader.pads, pad)
        reach = [d * (k - 1) for d, k in zip(reader.dilations, reader.kernel, strict=True)]
        return all(amount <= reach[k % 2] for k, amount in enumerate(pads))
    return False


def _sum(pads: tuple[int, int, int, int], pad: ir.Move) -> tuple[int, int, int, int]:
    more = _pads(pad)
    assert more is not None
    top, left, bottom, right = (a + b for a, b in zip(pads, more, strict=True))
    return top, left, bottom, right


def _padding(op: ir.Op, pad: ir.Move) -> ir.Op:
    assert isinstance(op, ir.Conv | ir.Pool)
    nodes = (*pad.nodes, *op.nodes)
    return dataclasses.replace(op, nodes=nodes, x=pad.x, pads=_sum(op.pads, pad))
