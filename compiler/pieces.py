"""Strided boxes: how a data movement takes the elements of its sources to its result.

Every operator that only moves data (Concat, Slice, Transpose, DepthToSpace…) is a few pieces. A
piece is a loop nest in which each loop steps along one axis of the result and along at most one
axis of the source.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

__all__ = [
    "FILL",
    "Box",
    "Loop",
    "Piece",
    "Vector",
    "around",
    "box",
    "for_images",
    "inside",
    "keeps_images",
    "source_map",
]

Vector = tuple[int, int, int, int]

#: Low and high (exclusive) along n, y, x and c.
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]

#: ``Piece.source`` of a piece whose elements are the operation's fill byte.
FILL = -1


@dataclasses.dataclass(frozen=True)
class Loop:
    """``size`` steps of ``to_step`` > 0 along axis ``to`` of the result.

    Each goes ``from_step`` (any number) along axis ``axis`` of the source.
    """

    size: int
    axis: int
    from_step: int
    to: int
    to_step: int


@dataclasses.dataclass(frozen=True)
class Piece:
    """Elements ``origin + Σ iₖ·from_stepₖ`` of source number ``source``, for every index (iₖ).

    They go to ``dest + Σ iₖ·to_stepₖ`` of the result. Positions are (n, y, x, c).
    """

    source: int
    origin: Vector
    dest: Vector
    loops: tuple[Loop, ...]

    @property
    def elements(self) -> int:
        """Elements written."""
        return math.prod(loop.size for loop in self.loops)

    @functools.cached_property
    def hull(self) -> Box:
        """The least box of the result that holds the piece."""
        return _hull(self.dest, ((loop.to, loop.to_step, loop.size) for loop in self.loops))

    @functools.cached_property
    def source_hull(self) -> Box:
        """The least box of the source that holds what is read."""
        return _hull(self.origin, ((loop.axis, loop.from_step, loop.size) for loop in self.loops))

    def at(self, index: int, low: int, high: int) -> "Piece":
        """The piece with loop ``index`` cut to its steps ``low`` … ``high - 1``."""
        loop = self.loops[index]
        cut = dataclasses.replace(loop, size=high - low)
        loops = (*self.loops[:index], *([cut] if cut.size > 1 else []), *self.loops[index + 1 :])
        return Piece(
            self.source,
            moved(self.origin, loop.axis, low * loop.from_step),
            moved(self.dest, loop.to, low * loop.to_step),
            loops,
        )


def moved(vector: Vector, axis: int, by: int) -> Vector:
    """``vector`` with ``by`` added along ``axis``."""
    values = list(vector)
    values[axis] += by
    return values[0], values[1], values[2], values[3]


def _hull(first: Vector, loops: Iterable[tuple[int, int, int]]) -> Box:
    low, high = list(first), [v + 1 for v in first]
    for axis, step, size in loops:
        low[axis] += min(step * (size - 1), 0)
        high[axis] += max(step * (size - 1), 0)
    a, b, c, d = zip(low, high, strict=True)
    return a, b, c, d


def box(
    source: int,
    size: Sequence[int],
    *,
    origin: Sequence[int] = (0, 0, 0, 0),
    dest: Sequence[int] = (0, 0, 0, 0),
    from_steps: Sequence[int] = (1, 1, 1, 1),
    to_steps: Sequence[int] = (1, 1, 1, 1),
) -> Piece:
    """A piece that moves along the same axis of source and result everywhere."""
    loops = [
        Loop(size[axis], axis, from_steps[axis], axis, to_steps[axis])
        for axis in range(4)
        if size[axis] > 1
    ]
    return Piece(source, _vector(origin), _vector(dest), tuple(loops))


def _vector(values: Sequence[int]) -> Vector:
    n, y, x, c = values
    return n, y, x, c


def around(shape: Sequence[int], low: Sequence[int], high: Sequence[int]) -> list[Piece]:
    """Fill pieces for everything outside the box ``low`` … ``high`` of a result of ``shape``."""
    pieces, start, end = [], [0, 0, 0, 0], list(shape)
    for axis in range(4):
        for first, last in ((0, low[axis]), (high[axis], shape[axis])):
            if last > first:
                size = [b - a for a, b in zip(start, end, strict=True)]
                size[axis] = last - first
                dest = [*start[:axis], first, *start[axis + 1 :]]
                if min(size) > 0:
                    pieces.append(box(FILL, size, dest=dest))
        start[axis], end[axis] = low[axis], high[axis]
    return pieces


def inside(piece: Piece, limits: Box) -> Iterator[Piece]:
    """The parts of a piece whose elements lie in the box ``limits`` of the result."""
    hull = piece.hull
    for axis, ((low, high), (first, last)) in enumerate(zip(hull, limits, strict=True)):
        if high <= first or low >= last:
            return
        if low < first or high > last:
            for part in _cut(piece, axis, first, last):
                yield from inside(part, limits)
            return
    yield piece


def _cut(piece: Piece, axis: int, first: int, last: int) -> Iterator[Piece]:
    """The piece cut along ``axis``: one part that lies inside, and steps that may do so partly."""
    along = [k for k, loop in enumerate(piece.loops) if loop.to == axis]
    index = max(along, key=lambda k: piece.loops[k].to_step)
    loop = piece.loops[index]
    inner = [piece.loops[k] for k in along if k != index]
    rest = sum(other.to_step * (other.size - 1) for other in inner)
    start = piece.dest[axis]
    low = max(-((start - first) // loop.to_step), 0)  # the first step that is inside whole
    high = min((last - 1 - rest - start) // loop.to_step + 1, loop.size)
    if low < high:
        yield piece.at(index, low, high)
    for step in range(loop.size):
        at = start + step * loop.to_step
        touches = at < last and at + rest >= first
        if touches and not low <= step < high:
            yield piece.at(index, step, step + 1)


def keeps_images(pieces: Iterable[Piece], batch: int) -> bool:
    """Whether every image of the result is made alike, of the same image of the sources."""
    loop = Loop(batch, 0, 1, 0, 1)
    for piece in pieces:
        along = [one for one in piece.loops if 0 in (one.axis, one.to) and one.from_step]
        still = [one for one in piece.loops if one.to == 0 and one not in along]
        if along != ([loop] if batch > 1 else []) or still or piece.origin[0] or piece.dest[0]:
            return False
    return True


def for_images(pieces: Iterable[Piece], count: int) -> tuple[Piece, ...]:
    """Pieces of which :func:`keeps_images` is true, for ``count`` images."""
    return tuple(_with_images(piece, count) for piece in pieces)


def _with_images(piece: Piece, count: int) -> Piece:
    along = [Loop(count, 0, 1, 0, 1)] if count > 1 else []
    loops = (*along, *(loop for loop in piece.loops if loop.to != 0))
    return dataclasses.replace(piece, loops=loops)


def source_map(
    pieces: Iterable[Piece], shape: Sequence[int], sources: Sequence[Sequence[int]]
) -> np.ndarray:
    """int64 of ``shape``: for every element of the result its place in the sources laid end to end.

    -1 stands for the fill byte, -2 for an element that no piece writes, -3 for one that two write.
    """
    sizes = [math.prod(size) for size in sources]
    starts = [0, *itertools.accumulate(sizes)]
    result = np.full(math.prod(shape), -2, np.int64)
    for piece in pieces:
        to = _places(piece.dest, shape, [(p.to, p.to_step, p.size) for p in piece.loops])
        if piece.source == FILL:
            values = np.full(to.size, -1, np.int64)
        else:
            steps = [(p.axis, p.from_step, p.size) for p in piece.loops]
            values = starts[piece.source] + _places(piece.origin, sources[piece.source], steps)
        result[to] = np.where(result[to] == -2, values, -3)
    return result.reshape(tuple(shape))


def _places(
    first: Vector, shape: Sequence[int], loops: Sequence[tuple[int, int, int]]
) -> np.ndarray:
    strides = [math.prod(shape[axis + 1 :]) for axis in range(4)]
    places = np.array([sum(v * s for v, s in zip(first, strides, strict=True))])
    for axis, step, size in loops:
        steps = np.arange(size) * (step * strides[axis])
        places = (places[:, None] + steps).reshape(-1)
    return places
