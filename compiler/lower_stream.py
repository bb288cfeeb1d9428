"""Operations of the vector unit on the unified buffer: pooling, addition, clip and table.

A channel block of the result depends on the same channel block of the inputs only, so each goes
through by itself, tile by tile.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

from hpu.compiler.allocate import Scratch, Space
from hpu.compiler.context import Context, Slots
from hpu.compiler.ir import Op, Tensor
from hpu.compiler.pipeline import Item, run
from hpu.compiler.tiling import (
    Axis,
    Region,
    View,
    largest_piece,
    piece_words,
    shrinking,
    split,
    tiles,
    window,
)
from hpu.hw.config import Config
from hpu.hw.isa import STREAM_WINDOW
from hpu.runtime.layout import block_widths

__all__ = ["StreamPlan", "lower_stream", "plan_stream"]

_OUT_SLOTS = 3
#: Cycles of a VECTOR beside its words, and how many times as much its words should take.
_INSTRUCTION = 50
_WORTH = 8

#: ``emit(block, part, views of the inputs, view of the result)``: the instructions of one piece.
EmitPiece = Callable[[int, Region, list[View], View], None]


@dataclasses.dataclass(frozen=True)
class StreamPlan:
    """Tiles of ``tile`` results; ``inputs`` windows of ``input_words`` words in ``buffers`` sets.

    Results that go to DRAM pass through ``out_slots`` slots of ``piece`` words.
    """

    tile: tuple[int, int, int]
    piece: int
    inputs: int = 0
    buffers: int = 0
    input_words: int = 0
    out_slots: int = 0

    @property
    def sizes(self) -> list[int]:
        """Words of every buffer: input windows set by set, then result slots."""
        return [self.input_words] * (self.inputs * self.buffers) + [self.piece] * self.out_slots


def plan_stream(
    op: Op, axes: tuple[Axis, Axis], in_dram: set[str], space: Space, config: Config
) -> tuple[StreamPlan, list[int]] | None:
    """The largest tiles whose buffers fit ``space``; ``None`` when the smallest do not."""
    for plan in _candidates(op, axes, in_dram, config):
        if space.fits(plan.sizes):
            return plan, plan.sizes
    return None


def _candidates(
    op: Op, axes: tuple[Axis, Axis], in_dram: set[str], config: Config
) -> Iterator[StreamPlan]:
    slots = _OUT_SLOTS if op.out.name in in_dram else 0
    inputs = len(_streamed(op, in_dram))
    whole = Region.whole(op.out.stored).size
    single = len(block_widths(op.out.stored[3], config)) == 1
    piece = max(largest_piece(config), _least_piece(op, axes, config))
    if not inputs:
        for words in _halvings(piece) if slots else (piece,):
            yield StreamPlan(whole, words, out_slots=slots)
        return
    for buffers in (2, 1):
        for tile in shrinking(whole):
            y, x = (a.longest(count) for a, count in zip(axes, tile[1:], strict=True))
            used = 1 if single and tile == whole else buffers
            words = min(piece, tile[0] * tile[1] * tile[2])
            yield StreamPlan(tile, words, inputs, used, tile[0] * y * x, slots)


def _least_piece(op: Op, axes: tuple[Axis, Axis], config: Config) -> int:
    """Words of a result's piece that are worth what an instruction takes beside them.

    Neighbouring pieces of a stream both read the rows that their windows share.
    """
    y, x = axes
    if y.kernel * x.kernel == 1:
        return 0
    beside, taps = _INSTRUCTION, y.kernel * x.kernel
    if max(y.kernel, x.kernel) <= STREAM_WINDOW:
        beside, taps = beside + (y.kernel - 1) * op.out.stored[2], y.stride * x.stride
    return min(-(-_WORTH * beside // taps), config.ub_depth // 8)


def _halvings(words: int) -> Iterator[int]:
    while words:
        yield words
        words //= 2


def _streamed(op: Op, in_dram: set[str]) -> list[Tensor]:
    """The inputs that are in DRAM, each once."""
    return list({tensor.name: tensor for tensor in op.inputs if tensor.name in in_dram}.values())


def lower_stream(
    context: Context, op: Op, axes: tuple[Axis, Axis], scratch: Scratch, emit: EmitPiece
) -> None:
    """Emit ``op`` tile by tile; ``emit`` gives the instructions of a piece of a channel block."""
    plan = scratch.plan
    assert isinstance(plan, StreamPlan)
    windows = plan.inputs * plan.buffers
    slots = Slots(scratch.bases[windows:], plan.piece)
    streamed = _streamed(op, {t.name for t in op.inputs if context.places[t.name].base is None})
    items = []
    for block in range(len(context.blocks(op.out))):
        for tile in tiles(Region.whole(op.out.stored), plan.tile):
            region = window(tile, *axes)
            load = functools.partial(_load, context, streamed, block, region, scratch)
            compute = functools.partial(_compute, context, op, plan, block, tile, slots, emit, axes)
            items.append(Item(load, compute))
    run(items, max(plan.buffers, 1))


def _load(
    context: Context,
    streamed: list[Tensor],
    block: int,
    region: Region,
    scratch: Scratch,
    buffer: int,
) -> dict[int, View]:
    """Loads of the windows of the inputs that are in DRAM; views by the input's number there."""
    views = {}
    for number, tensor in enumerate(streamed):
        views[number] = View(scratch.bases[buffer * len(streamed) + number], region)
        context.load(tensor, block, views[number])
    return views


def _compute(
    context: Context,
    op: Op,
    plan: StreamPlan,
    block: int,
    tile: Region,
    slots: Slots,
    emit: EmitPiece,
    axes: tuple[Axis, Axis],
    loaded: dict[int, View],
) -> None:
    streamed = [t.name for t in op.inputs if context.places[t.name].base is None]
    names = list(dict.fromkeys(streamed))
    views = [
        context.view(tensor, block) or loaded[names.index(tensor.name)] for tensor in op.inputs
    ]
    config = context.config
    limit = max(piece_words(tile.words, config), _least_piece(op, axes, config))
    limit = min(limit, plan.piece)
    for part in split(tile, limit):
        result = context.view(op.out, block) or slots.take(part)
        emit(block, part, views, result)
        context.store(op.out, block, result, part)
