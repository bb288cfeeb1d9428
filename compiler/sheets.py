"""A data movement as sheets: sets of result positions whose channels are gathered alike.

A channel of a source may become a position of the result (that loop is unrolled: each step is a
sheet) and a position of a source may become a channel (then it is a tap, as of a kernel).
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

from hpu.compiler.pieces import FILL, Loop, Piece, moved
from hpu.runtime.layout import Block

__all__ = ["Position", "Sheet", "Strand", "Tap", "sheets"]

_CHANNEL = 3

Position = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Tap:
    """What one column takes: a source channel, ``offset`` positions from the strand's own."""

    offset: Position
    channel: int


@dataclasses.dataclass
class Strand:
    """What a sheet takes from one source, or from the fill byte (source ``FILL``).

    The sheet's position with indices (iₖ) takes from ``origin`` plus Σ iₖ·stepₖ along axisₖ;
    ``columns`` are its channels, counted from the block's first.
    """

    source: int
    origin: Position
    steps: tuple[tuple[int, int], ...]  # (axis, step) for every loop of the sheet
    columns: dict[int, Tap]


@dataclasses.dataclass
class Sheet:
    """Positions ``dest`` plus Σ iₖ·stepₖ along axisₖ of one channel block of the result."""

    dest: Position
    loops: tuple[tuple[int, int, int], ...]  # (size, axis, step), the longest step first
    strands: list[Strand]

    @property
    def positions(self) -> int:
        """Positions of the result."""
        return math.prod(size for size, _, _ in self.loops)

    @property
    def columns(self) -> set[int]:
        """Channels of the block that the sheet writes."""
        return {column for strand in self.strands for column in strand.columns}


def sheets(pieces: Iterable[Piece], block: Block, group: int) -> list[Sheet]:
    """The sheets of the result's channel block that ``pieces``, all inside it, write.

    Sheets that share a lane group of ``group`` channels share no position: where they would, they
    are taken apart into single positions.
    """
    found = _merged(pieces, block)
    if _conflict(found, group):
        found = _merged((p for piece in pieces for p in _single(piece)), block)
    return found


def _merged(pieces: Iterable[Piece], block: Block) -> list[Sheet]:
    merged: dict[object, Sheet] = {}
    for piece in pieces:
        for sheet in _of_piece(piece, block):
            known = merged.setdefault((sheet.dest, sheet.loops), Sheet(sheet.dest, sheet.loops, []))
            _join(known, sheet.strands[0])
    return list(merged.values())


def _join(sheet: Sheet, strand: Strand) -> None:
    for other in sheet.strands:
        alike = (other.source, other.origin, other.steps)
        if alike == (strand.source, strand.origin, strand.steps):
            other.columns |= strand.columns
            return
    sheet.strands.append(strand)


def _of_piece(piece: Piece, block: Block) -> Iterator[Sheet]:
    """One sheet for every way to choose the source channels that become positions."""
    unrolled = [k for k, loop in enumerate(piece.loops) if _to_position(loop)]
    if piece.source == FILL:
        unrolled = []
    for index in itertools.product(*(range(piece.loops[k].size) for k in unrolled)):
        part = piece
        for k, step in sorted(zip(unrolled, index, strict=True), reverse=True):
            part = part.at(k, step, step + 1)
        yield _sheet(part, block)


def _to_position(loop: Loop) -> bool:
    return loop.to != _CHANNEL and loop.axis == _CHANNEL and loop.from_step != 0


def _sheet(piece: Piece, block: Block) -> Sheet:
    places = [loop for loop in piece.loops if loop.to != _CHANNEL]
    places.sort(key=lambda loop: (loop.to, -loop.to_step))
    loops = tuple((loop.size, loop.to, loop.to_step) for loop in places)
    steps = tuple((loop.axis if loop.from_step else 0, loop.from_step) for loop in places)
    channels = [loop for loop in piece.loops if loop.to == _CHANNEL]
    columns = {}
    for index in itertools.product(*(range(loop.size) for loop in channels)):
        column, source = piece.dest[3] - block.first, (0, 0, 0, piece.origin[3])
        for step, loop in zip(index, channels, strict=True):
            column += step * loop.to_step
            source = moved(source, loop.axis, step * loop.from_step)
        columns[column] = Tap(source[:3], source[3])
    strand = Strand(piece.source, piece.origin[:3], steps, columns)
    return Sheet(piece.dest[:3], loops, [strand])


def _conflict(found: Sequence[Sheet], group: int) -> bool:
    """Whether two sheets may write the same lane group of the same position."""
    touched = [{column // group for column in sheet.columns} for sheet in found]
    for a, b in itertools.combinations(range(len(found)), 2):
        if touched[a] & touched[b] and _meet(found[a], found[b]):
            return True
    return False


def _meet(a: Sheet, b: Sheet) -> bool:
    """Whether two sheets with different channels share a position: equal ones do not differ."""
    if a.columns & b.columns and a.columns == b.columns:
        return False  # pieces are disjoint, so are positions of the same channels
    for axis in range(3):
        (a_low, a_high), (b_low, b_high) = (_extent(sheet, axis) for sheet in (a, b))
        if a_low >= b_high or b_low >= a_high:
            return False
    return True


def _extent(sheet: Sheet, axis: int) -> tuple[int, int]:
    reach = sum(step * (size - 1) for size, along, step in sheet.loops if along == axis)
    return sheet.dest[axis], sheet.dest[axis] + reach + 1


def _single(piece: Piece) -> Iterator[Piece]:
    """The piece position by position."""
    places = [k for k, loop in enumerate(piece.loops) if loop.to != _CHANNEL]
    for index in itertools.product(*(range(piece.loops[k].size) for k in places)):
        part = piece
        for k, step in sorted(zip(places, index, strict=True), reverse=True):
            part = part.at(k, step, step + 1)
        yield part
