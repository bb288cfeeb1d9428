"""Concatenated channels that begin at lane groups.

The vector unit moves whole lane groups. Channels that would begin in the middle of one must go
through the array, with a matrix that only permutes. Where none but convolutions read the result,
nobody minds a few unused channels in between: their weights are zero.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from hpu.compiler.ir import Conv, Graph, Move, Op, Tensor
from hpu.compiler.pieces import FILL, Piece, box
from hpu.hw.config import Config

__all__ = ["align_concats"]

#: First and last channel (exclusive) of a part, and its place among those of the aligned tensor.
_Part = tuple[int, int, int]


def align_concats(graph: Graph, config: Config) -> Graph:
    """``graph`` with every part of a concatenation from a lane group on, where that is possible."""
    ops: dict[int, Op] = dict(enumerate(graph.ops))
    tensors = dict(graph.tensors)
    outputs = {host.tensor for host in graph.outputs}
    for index, op in enumerate(graph.ops):
        parts = _parts(op, config) if isinstance(op, Move) else None
        readers = [i for i, other in ops.items() if op.out in other.inputs]
        if parts is None or op.out.name in outputs or not all(_spares(ops[i], op) for i in readers):
            continue
        assert isinstance(op, Move)
        out = _aligned(op.out, parts)
        ops[index] = _moved(op, out, parts)
        for reader in readers:
            ops[reader] = _widened(ops[reader], out, parts)
        del tensors[op.out.name]
        tensors[out.name] = out
    return Graph([ops[index] for index in sorted(ops)], graph.inputs, graph.outputs, tensors)


def _parts(op: Move, config: Config) -> list[_Part] | None:
    """The channels of every piece, and where they begin when aligned; ``None`` if that is no use.

    Every piece must be a whole source, side by side with the others.
    """
    sources = (op.x, *op.others)
    if any(piece.source == FILL or not _is_whole(piece, sources) for piece in op.pieces):
        return None
    parts, place = [], 0
    for piece in sorted(op.pieces, key=lambda piece: piece.dest[3]):
        first, channels = piece.dest[3], sources[piece.source].shape[3]
        parts.append((first, first + channels, place))
        place += -(-channels // config.group) * config.group
    return parts if any(first % config.group for first, _, _ in parts) else None


def _is_whole(piece: Piece, sources: Sequence[Tensor]) -> bool:
    dest = (0, 0, 0, piece.dest[3])
    return piece == box(piece.source, sources[piece.source].shape, dest=dest)


def _spares(reader: Op, maker: Op) -> bool:
    """Whether ``reader`` can do with unused channels in its input."""
    if not isinstance(reader, Conv) or reader.groups > 1:
        return False
    return reader.residual is None or reader.residual.tensor is not maker.out


def _aligned(out: Tensor, parts: Sequence[_Part]) -> Tensor:
    first, end, place = parts[-1]
    shape = (*out.shape[:3], place + end - first)
    return dataclasses.replace(out, name=f"{out.name} aligned", shape=shape)


def _moved(op: Move, out: Tensor, parts: Sequence[_Part]) -> Move:
    places = {first: place for first, _, place in parts}
    pieces = tuple(
        dataclasses.replace(piece, dest=(0, 0, 0, places[piece.dest[3]])) for piece in op.pieces
    )
    return dataclasses.replace(op, out=out, pieces=pieces)


def _widened(op: Op, out: Tensor, parts: Sequence[_Part]) -> Op:
    """A convolution with zero weights for the unused channels."""
    assert isinstance(op, Conv)
    weight = np.zeros((*op.weight.shape[:3], out.shape[3]), op.weight.dtype)
    for first, end, place in parts:
        weight[..., place : place + end - first] = op.weight[..., first:end]
    unused = out.shape[3] - op.weight.shape[3]
    return dataclasses.replace(op, x=out, weight=weight, unused=op.unused + unused)
