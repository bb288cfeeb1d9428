"""How a convolution is cut up when its operands or its result are in DRAM."""

import dataclasses
import math
from collections.abc import Iterator

from hpu.compiler.allocate import Space
from hpu.compiler.ir import Conv
from hpu.compiler.narrow import narrowed
from hpu.compiler.packing import passes_of
from hpu.compiler.sweep import Geometry, Sweep, sweep_of
from hpu.compiler.tiling import Axis, Region, largest_piece, shrinking, window
from hpu.hw.config import Config

__all__ = ["ConvPlan", "input_window", "plan_conv", "sweep_for"]

_OUT_SLOTS = 3
_RESIDUAL_SLOTS = 4
#: The part of the unified buffer that weights may take which are used several times.
_HELD = 1 / 32


@dataclasses.dataclass(frozen=True)
class ConvPlan:
    """Sizes of a convolution's tiles and buffers.

    ``buffers`` input buffers of ``input_words`` words hold, for a tile of ``tile`` units, the
    windows of ``chunk`` input blocks (0: the input is in the unified buffer whole). Results and
    residuals that are in DRAM pass through slots of ``piece`` units, ``slot_words`` words. In
    ``held_words`` stand weight tiles that are used again and again.
    """

    tile: tuple[int, int, int]
    piece: int
    chunk: int = 0
    buffers: int = 0
    input_words: int = 0
    out_slots: int = 0
    residual_slots: int = 0
    slot_words: int = 0
    held_words: int = 0

    @property
    def sizes(self) -> list[int]:
        """Words of every buffer: inputs, result slots, residual slots, weights that are held."""
        slots = self.out_slots + self.residual_slots
        held = [self.held_words] if self.held_words else []
        return [self.input_words] * self.buffers + [self.slot_words] * slots + held


def sweep_for(op: Conv, config: Config) -> Sweep:
    """The sweep of ``op`` between the cells of its tensors.

    With a residual, which stands lane by lane under the results, every row of results is a word.
    """
    columns = op.out.cell if op.residual else op.columns
    sweep = sweep_of(Geometry.of(op), op.x.cell, op.out.cell, config, columns)
    assert sweep is not None, f"{op.nodes} cannot go from {op.x.cell} to {op.out.cell}"
    return sweep if op.residual else narrowed(sweep, config)


def input_window(sweep: Sweep, units: Region) -> Region:
    """The input's words that ``units`` use."""
    y, x = _axes(sweep)
    rows = window(units, y, x)
    return dataclasses.replace(rows, n0=units.n0 * sweep.step[0], n1=units.n1 * sweep.step[0])


def _axes(sweep: Sweep) -> tuple[Axis, Axis]:
    """The windows of words that slide over the input with the units."""
    _, height, width, _ = sweep.cell_in.stored(sweep.geometry.x)
    (top, bottom), (left, right) = sweep.reach
    y = Axis(height, bottom - top + 1, sweep.step[1], 1, -top)
    return y, Axis(width, right - left + 1, sweep.step[2], 1, -left)


def plan_conv(
    op: Conv, in_dram: set[str], space: Space, config: Config
) -> tuple[ConvPlan, list[int]] | None:
    """The largest tiles whose buffers fit ``space``; ``None`` when the smallest do not."""
    for plan in _candidates(op, in_dram, config):
        if space.fits(plan.sizes):
            return plan, plan.sizes
    return None


def _candidates(op: Conv, in_dram: set[str], config: Config) -> Iterator[ConvPlan]:
    sweep = sweep_for(op, config)
    outs = _OUT_SLOTS if op.out.name in in_dram else 0
    others = _RESIDUAL_SLOTS if op.residual and op.residual.tensor.name in in_dram else 0
    words = math.prod(sweep.spread)
    pieces = [config.acc_depth // 2]
    if outs or others:
        piece = largest_piece(config)
        pieces = [piece >> shift for shift in range(piece.bit_length())]
    if op.x.name not in in_dram:
        for size in pieces:
            yield _with_slots(ConvPlan(sweep.size, size), words, outs, others)
        return
    held = _held_words(sweep, config)
    for streamed in _streamed_plans(sweep, pieces):
        plan = _with_slots(streamed, words, outs, others)
        if held and plan.chunk == len(sweep.in_blocks):
            yield dataclasses.replace(plan, held_words=held)
        yield plan


def _held_words(sweep: Sweep, config: Config) -> int:
    """Words of the weight tiles of a convolution that uses few of them often, else 0.

    They come from DRAM again for every part of a result, and so does the input meanwhile.
    """
    passes = sum(len(passes_of(sweep, target, config)) for target in sweep.targets)
    often = passes > len(sweep.targets) and sweep.units > config.acc_depth
    words = passes * config.rows
    return words if often and words <= config.ub_depth * _HELD else 0


def _with_slots(plan: ConvPlan, words: int, outs: int, others: int) -> ConvPlan:
    return dataclasses.replace(
        plan, slot_words=plan.piece * words, out_slots=outs, residual_slots=others
    )


def _streamed_plans(sweep: Sweep, pieces: list[int]) -> Iterator[ConvPlan]:
    """Plans with the input in DRAM, the best first."""
    for few in (pieces[:3], pieces[3:]):
        for buffers in (2, 1):
            for chunk in _halved(len(sweep.in_blocks)):
                for tile in shrinking(sweep.size):
                    for size in few:
                        plan = _streamed(sweep, tile, size, chunk, buffers)
                        if plan is not None:
                            yield plan


def _halved(blocks: int) -> Iterator[int]:
    while blocks > 1:
        yield blocks
        blocks = -(-blocks // 2)
    yield 1


def _streamed(
    sweep: Sweep, tile: tuple[int, int, int], piece: int, chunk: int, buffers: int
) -> ConvPlan | None:
    n, y, x = tile
    blocks = len(sweep.in_blocks)
    if chunk < blocks and n * y * x > piece:
        return None  # the sums wait in one accumulator block for all chunks
    axis_y, axis_x = _axes(sweep)
    words = n * sweep.step[0] * axis_y.longest(y) * axis_x.longest(x) * chunk
    alone = tile == sweep.size and chunk == blocks
    return ConvPlan(tile, piece, chunk, 1 if alone else buffers, words)
