"""How a data movement is cut up when its sources or its result are in DRAM."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

from hpu.compiler.allocate import Space, refusal
from hpu.compiler.ir import Move, Tensor
from hpu.compiler.pieces import FILL, Box, Piece, inside
from hpu.compiler.tiling import Region, largest_piece, shrinking, tiles
from hpu.hw.config import Config
from hpu.runtime.layout import Block, block_widths, blocks

__all__ = ["MovePlan", "part_of", "plan_move", "windows"]

_OUT_SLOTS = 2
#: Plans of more tiles than this are not looked at.
_MOST_TILES = 1 << 14
#: More passes than this are refused.
_MOST_PASSES = 1 << 13


@dataclasses.dataclass(frozen=True)
class MovePlan:
    """Tiles of ``tile`` results; ``buffers`` buffers of ``input_words`` for what is in DRAM.

    Results that go to DRAM pass through ``out_slots`` slots of ``slot`` words.
    """

    tile: tuple[int, int, int]
    buffers: int = 0
    input_words: int = 0
    out_slots: int = 0
    slot: int = 0

    @property
    def sizes(self) -> list[int]:
        """Words of every buffer: inputs, then result slots."""
        return [self.input_words] * self.buffers + [self.slot] * self.out_slots


def plan_move(
    op: Move, in_dram: set[str], space: Space, config: Config
) -> tuple[MovePlan, list[int]] | None:
    """The largest tiles whose buffers fit ``space``; ``None`` when the smallest do not.

    Raises
    ------
    UnsupportedError
        When so many channels would be gathered one by one that the host is far quicker.
    """
    passes = sum(_passes(piece, op, config) for piece in op.pieces)
    if passes > _MOST_PASSES:
        raise refusal(op, f"it would take {passes} passes over the array to move its channels")
    for plan in _candidates(op, in_dram, config):
        if space.fits(plan.sizes):
            return plan, plan.sizes
    return None


def _passes(piece: Piece, op: Move, config: Config) -> int:
    """Passes over the array where channels become positions other than in whole lane groups."""
    if piece.source == FILL:
        return 0
    apart = [p for p in piece.loops if p.axis == 3 and p.to != 3 and p.from_step % config.group]
    into = (p.size for p in piece.loops if p.axis != 3 and p.to == 3 and p.from_step)
    fit = config.row_groups // block_widths(op.inputs[piece.source].shape[3], config)[0]
    return math.prod(p.size for p in apart) * -(-math.prod(into) // max(fit, 1)) if apart else 0


def _candidates(op: Move, in_dram: set[str], config: Config) -> Iterator[MovePlan]:
    whole = Region.whole(op.out.shape)
    slots = _OUT_SLOTS if op.out.name in in_dram else 0
    streamed = {k for k, tensor in enumerate(op.inputs) if tensor.name in in_dram}
    if not slots and not streamed:
        yield MovePlan(whole.size)
        return
    for buffers in (2, 1):
        for tile in shrinking(whole.size):
            if slots and tile[0] * tile[1] * tile[2] > max(largest_piece(config), 1):
                continue
            regions = list(tiles(whole, tile))
            if len(regions) > _MOST_TILES:
                return
            words = _input_words(op, regions, streamed, config) if streamed else 0
            slot = tile[0] * tile[1] * tile[2] if slots else 0
            yield MovePlan(tile, buffers if streamed else 0, words, slots, slot)


def _input_words(op: Move, regions: list[Region], streamed: set[int], config: Config) -> int:
    """The most words that one tile of one channel block reads of the sources in DRAM."""
    most = 1
    for region in regions:
        for block in blocks(op.out.shape, config):
            needed = windows(part_of(op, region, block), op.inputs, streamed, config)
            most = max(most, sum(view.words for view in needed.values()))
    return most


def part_of(op: Move, region: Region, block: Block) -> list[Piece]:
    """What of the pieces lies in a tile of one channel block of the result."""
    limits: Box = (
        (region.n0, region.n1),
        (region.y0, region.y1),
        (region.x0, region.x1),
        (block.first, block.first + block.channels),
    )
    return [part for piece in op.pieces for part in inside(piece, limits)]


def windows(
    pieces: Sequence[Piece], sources: Sequence[Tensor], wanted: set[int], config: Config
) -> dict[tuple[int, int], Region]:
    """What the pieces read of the ``wanted`` sources: a region by (source, channel block)."""
    found: dict[tuple[int, int], Region] = {}
    for piece in pieces:
        if piece.source == FILL or piece.source not in wanted:
            continue
        n, y, x, c = piece.source_hull
        region = Region(*n, *y, *x)
        for number, block in enumerate(blocks(sources[piece.source].shape, config)):
            if block.first < c[1] and c[0] < block.first + block.channels:
                key = (piece.source, number)
                found[key] = _joined(found.get(key, region), region)
    return found


def _joined(a: Region, b: Region) -> Region:
    return Region(
        min(a.n0, b.n0),
        max(a.n1, b.n1),
        min(a.y0, b.y0),
        max(a.y1, b.y1),
        min(a.x0, b.x0),
        max(a.x1, b.x1),
    )
