"""How a convolution is cut up when its operands or its result are in DRAM."""

import dataclasses
from collections.abc import Iterator

from hpu.compiler.allocate import Space
from hpu.compiler.ir import Conv
from hpu.compiler.tiling import Axis, Region, largest_piece, shrinking
from hpu.hw.config import Config
from hpu.runtime.layout import block_widths

__all__ = ["ConvPlan", "axes", "plan_conv"]

_OUT_SLOTS = 3
_RESIDUAL_SLOTS = 4


@dataclasses.dataclass(frozen=True)
class ConvPlan:
    """Sizes of a convolution's tiles and buffers, in words.

    ``buffers`` input buffers of ``input_words`` hold, for a tile of ``tile`` results, the windows
    of ``chunk`` input blocks (0: the input is in the unified buffer whole). Results and residuals
    that are in DRAM pass through slots of ``piece`` words.
    """

    tile: tuple[int, int, int]
    piece: int
    chunk: int = 0
    buffers: int = 0
    input_words: int = 0
    out_slots: int = 0
    residual_slots: int = 0

    @property
    def sizes(self) -> list[int]:
        """Words of every buffer: inputs, then result slots, then residual slots."""
        slots = self.out_slots + self.residual_slots
        return [self.input_words] * self.buffers + [self.piece] * slots


def axes(op: Conv) -> tuple[Axis, Axis]:
    """The sliding windows along y and x."""
    _, height, width, _ = op.x.shape
    _, kernel_y, kernel_x, _ = op.weight.shape
    y = Axis(height, kernel_y, op.strides[0], op.dilations[0], op.pads[0])
    return y, Axis(width, kernel_x, op.strides[1], op.dilations[1], op.pads[1])


def plan_conv(
    op: Conv, in_dram: set[str], space: Space, config: Config
) -> tuple[ConvPlan, list[int]] | None:
    """The largest tiles whose buffers fit ``space``; ``None`` when the smallest do not."""
    for plan in _candidates(op, in_dram, config):
        if space.fits(plan.sizes):
            return plan, plan.sizes
    return None


def _candidates(op: Conv, in_dram: set[str], config: Config) -> Iterator[ConvPlan]:
    out = _OUT_SLOTS if op.out.name in in_dram else 0
    other = _RESIDUAL_SLOTS if op.residual and op.residual.tensor.name in in_dram else 0
    whole = Region.whole(op.out.shape).size
    pieces = [config.acc_depth // 2]
    if out or other:
        piece = largest_piece(config)
        pieces = [piece >> shift for shift in range(piece.bit_length())]
    if op.x.name not in in_dram:
        for words in pieces:
            yield ConvPlan(whole, words, out_slots=out, residual_slots=other)
        return
    blocks = len(block_widths(op.x.shape[3], config))
    for few in (pieces[:3], pieces[3:]):
        for buffers in (2, 1):
            for chunk in _halved(blocks):
                for tile in shrinking(whole):
                    for words in few:
                        plan = _streamed(op, tile, words, chunk, blocks, buffers)
                        if plan is not None:
                            yield dataclasses.replace(plan, out_slots=out, residual_slots=other)


def _halved(blocks: int) -> Iterator[int]:
    while blocks > 1:
        yield blocks
        blocks = -(-blocks // 2)
    yield 1


def _streamed(
    op: Conv, tile: tuple[int, int, int], piece: int, chunk: int, blocks: int, buffers: int
) -> ConvPlan | None:
    n, y, x = tile
    if chunk < blocks and n * y * x > piece:
        return None  # the sums wait in one accumulator block for all chunks
    axis_y, axis_x = axes(op)
    words = n * axis_y.longest(y) * axis_x.longest(x) * chunk
    alone = tile == Region.whole(op.out.shape).size and chunk == blocks
    return ConvPlan(tile, piece, chunk, 1 if alone else buffers, words)
