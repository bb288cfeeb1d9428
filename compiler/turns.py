"""Transpositions of channels and positions, in three movements of whole lane groups.

Gathered at once, every channel that becomes a position is a pass of its own over all positions
that become channels. In squares of ``group`` by ``group`` it is cheap: (1) every lane group becomes
a position, (2) ``group`` neighbours, side by side in one word, change places with the lanes, by one
tile of ones and zeros for all, and (3) lane groups go where they belong.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

from hpu.compiler.ir import Graph, Move, Op, Tensor
from hpu.compiler.pieces import FILL, Loop, Piece, Vector, box, moved
from hpu.hw.config import Config
from hpu.runtime.layout import block_widths

__all__ = ["split_turns"]

_CHANNEL = 3
#: Passes that are gathered at once rather than in three movements.
_FEW = 32


def split_turns(graph: Graph, config: Config) -> Graph:
    """``graph`` with its larger transpositions of channels and positions taken apart."""
    ops = [part for op in graph.ops for part in _split(op, config)]
    tensors = dict(graph.tensors)
    for op in ops:
        tensors |= {tensor.name: tensor for tensor in (*op.inputs, op.out)}
    return Graph(ops, graph.inputs, graph.outputs, tensors)


def _split(op: Op, config: Config) -> list[Op]:
    turn = _Turn.of(op) if isinstance(op, Move) else None
    if turn is None or turn.passes(config) <= _FEW:
        return [op]
    assert isinstance(op, Move)
    return turn.movements(op, config.group)


@dataclasses.dataclass(frozen=True)
class _Turn:
    """A piece with one loop from channels to positions and others from positions to channels."""

    piece: Piece
    rest: tuple[Loop, ...]  # from positions to positions
    out: Loop  # from channels to positions
    into: tuple[Loop, ...]  # from positions to channels
    width: int  # channels of the source

    @classmethod
    def of(cls, op: Move) -> "_Turn | None":
        """The turn that ``op`` is, or ``None``."""
        if len(op.pieces) != 1 or op.pieces[0].source == FILL:
            return None
        piece = op.pieces[0]
        rest = tuple(p for p in piece.loops if p.axis != _CHANNEL and p.to != _CHANNEL)
        out = [p for p in piece.loops if p.axis == _CHANNEL and p.to != _CHANNEL]
        into = tuple(p for p in piece.loops if p.axis != _CHANNEL and p.to == _CHANNEL)
        plain = len(rest) + len(out) + len(into) == len(piece.loops)
        if not plain or len(out) != 1 or not into or out[0].from_step != 1:
            return None
        return cls(piece, rest, out[0], into, op.inputs[piece.source].shape[3])

    @property
    def size(self) -> int:
        """Positions that become channels."""
        return math.prod(loop.size for loop in self.into)

    def passes(self, config: Config) -> int:
        """Passes over the array when every channel is gathered by itself."""
        fit = config.row_groups // block_widths(self.width, config)[0]
        return self.out.size * -(-self.size // max(fit, 1))

    def movements(self, op: Move, group: int) -> list[Op]:
        """The three movements."""
        rows = math.prod(loop.size for loop in self.rest)
        bands, blocks = -(-self.out.size // group), -(-self.size // group)
        first = _tensor(op, "lane groups apart", (rows, bands, self.size, group))
        second = _tensor(op, "squares turned", (rows, bands, blocks, group * group))
        source = op.inputs[self.piece.source]
        apart = self._apart(first.shape, group)
        turned = _turned(first.shape, second.shape, group)
        placed = self._placed(group)
        last = dataclasses.replace(op, x=second, others=(), pieces=tuple(placed))
        return [_move(op, source, first, apart), _move(op, first, second, turned), last]

    def _flat(self) -> Iterator[tuple[Loop, int]]:
        """The loops from position to position, with their steps in a row-major index."""
        stride = math.prod(loop.size for loop in self.rest)
        for loop in self.rest:
            stride //= loop.size
            yield loop, stride

    def _apart(self, shape: Vector, group: int) -> Iterator[Piece]:
        """Every lane group of the source's channels as a position of its own."""
        loops = [Loop(p.size, p.axis, p.from_step, 0, stride) for p, stride in self._flat()]
        loops += [Loop(p.size, p.axis, p.from_step, 2, p.to_step) for p in self.into]
        for (at, bands), lanes in _bands(self.out.size, group):
            origin = moved(self.piece.origin, _CHANNEL, at * group)
            own = [Loop(bands, _CHANNEL, group, 1, 1), Loop(lanes, _CHANNEL, 1, _CHANNEL, 1)]
            yield _piece(0, origin, (0, at, 0, 0), [*loops, *own])
            if lanes < group:
                size = (shape[0], 1, shape[2], group - lanes)
                yield box(FILL, size, dest=(0, at, 0, lanes))

    def _placed(self, group: int) -> Iterator[Piece]:
        """Every lane group of the turned squares at its place in the result."""
        back = [Loop(p.size, 0, stride, p.to, p.to_step) for p, stride in self._flat()]
        for (band, bands), lanes in _bands(self.out.size, group):
            for (block, blocks), members in _bands(self.size, group):
                dest = moved(self.piece.dest, self.out.to, band * group * self.out.to_step)
                dest = moved(dest, _CHANNEL, block * group)
                own = [
                    Loop(bands, 1, 1, self.out.to, group * self.out.to_step),
                    Loop(lanes, _CHANNEL, group, self.out.to, self.out.to_step),
                    Loop(blocks, 2, 1, _CHANNEL, group),
                    Loop(members, _CHANNEL, 1, _CHANNEL, 1),
                ]
                yield _piece(0, (0, band, block, 0), dest, [*back, *own])


def _turned(first: Vector, second: Vector, group: int) -> Iterator[Piece]:
    """Squares of neighbours and lanes, in one word each, with their sides changed."""
    whole = [Loop(first[0], 0, 1, 0, 1), Loop(first[1], 1, 1, 1, 1)]
    for (at, blocks), members in _bands(first[2], group):
        own = [
            Loop(blocks, 2, group, 2, 1),
            Loop(members, 2, 1, _CHANNEL, 1),
            Loop(group, _CHANNEL, 1, _CHANNEL, group),
        ]
        yield _piece(0, (0, 0, at * group, 0), (0, 0, at, 0), [*whole, *own])
        for lane in range(group if members < group else 0):
            size = (second[0], second[1], 1, group - members)
            yield box(FILL, size, dest=(0, 0, at, lane * group + members))


def _bands(size: int, group: int) -> Iterator[tuple[tuple[int, int], int]]:
    """((first, number), width) of the whole groups in ``size``, and of what is left."""
    whole, left = divmod(size, group)
    if whole:
        yield (0, whole), group
    if left:
        yield (whole, 1), left


def _piece(source: int, origin: Vector, dest: Vector, loops: Sequence[Loop]) -> Piece:
    return Piece(source, origin, dest, tuple(loop for loop in loops if loop.size > 1))


def _tensor(op: Move, what: str, shape: Vector) -> Tensor:
    return Tensor(f"{op.out.name}, {what}", shape, op.result)


def _move(op: Move, x: Tensor, out: Tensor, pieces: Iterator[Piece]) -> Move:
    return Move(nodes=op.nodes, x=x, out=out, pieces=tuple(pieces))
