"""Mapping of a convolution to the array: which channels and kernel taps share a pass.

One output block (at most ``min(rows, cols)`` channels) is the sum of passes over the array. A pass
takes one channel block of the input and as many consecutive kernel taps as fit side by side in the
rows; the taps run along the kernel row and wrap to the next. Weights beyond int8 are split into
several passes that add up.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from hpu.compiler.ir import Conv
from hpu.hw.config import Config
from hpu.runtime.layout import Block

__all__ = ["Pass", "conv_passes", "folded_bias", "input_blocks", "tap_places"]


@dataclasses.dataclass(frozen=True)
class Pass:
    """One pass: ``taps`` kernel taps from ``first_tap`` on (row-major) of input block ``block``.

    ``tap_groups`` lane groups feed a tap; the tile has ``rows`` rows.
    """

    block: int
    first_tap: int
    taps: int
    tap_groups: int
    rows: int


def input_blocks(op: Conv, out: Block, blocks: Sequence[Block]) -> list[int]:
    """Indices of the input blocks that the channels of output block ``out`` depend on."""
    per_in, per_out = op.weight.shape[3], op.weight.shape[0] // op.groups
    low = out.first // per_out * per_in
    high = ((out.first + out.channels - 1) // per_out + 1) * per_in
    return [i for i, b in enumerate(blocks) if b.first < high and low < b.first + b.channels]


def conv_passes(
    op: Conv, out: Block, blocks: Sequence[Block], config: Config
) -> Iterator[tuple[Pass, np.ndarray]]:
    """The passes that give output block ``out`` of ``op``; ``blocks`` are those of the input.

    Each comes with its weight tile, int8 [rows, output channels].
    """
    for index in input_blocks(op, out, blocks):
        block = blocks[index]
        slab = _slab(op, out, block)
        for first, count in tap_runs(op, config.row_groups // block.width):
            tile = _tile(slab[first : first + count], block.width * config.group)
            for part in split_int8(tile):
                yield Pass(index, first, count, block.width, len(part)), part


def tap_runs(op: Conv, fit: int) -> Iterator[tuple[int, int]]:
    """(first tap, taps) of every pass over the kernel when ``fit`` taps stand side by side."""
    total = op.weight.shape[1] * op.weight.shape[2]
    yield from ((first, min(fit, total - first)) for first in range(0, total, fit))


def tap_places(op: Conv, one: Pass) -> list[tuple[int, int]]:
    """Image rows and columns from the kernel's first tap to every tap of a pass."""
    taps = range(one.first_tap, one.first_tap + one.taps)
    places = (divmod(tap, op.weight.shape[2]) for tap in taps)
    return [(ky * op.dilations[0], kx * op.dilations[1]) for ky, kx in places]


def split_int8(values: np.ndarray) -> Iterator[np.ndarray]:
    """int8 arrays that add up to ``values``: one where it fits, else two, or three with 255."""
    rest = values.astype(np.int16)
    while True:
        part = np.clip(rest, -128, 127)
        yield part.astype(np.int8)
        rest = rest - part
        if not rest.any():
            return


def _slab(op: Conv, out: Block, block: Block) -> np.ndarray:
    """Weights int16 [tap, input channel of block, output channel of out]; zero across groups."""
    per_in, per_out = op.weight.shape[3], op.weight.shape[0] // op.groups
    taps = op.weight.shape[1] * op.weight.shape[2]
    slab = np.zeros((taps, block.channels, out.channels), np.int16)
    for group in range(op.groups):
        o0, o1 = _overlap(out, group * per_out, (group + 1) * per_out)
        i0, i1 = _overlap(block, group * per_in, (group + 1) * per_in)
        if o0 < o1 and i0 < i1:
            part = op.weight[o0:o1, :, :, i0 - group * per_in : i1 - group * per_in]
            part = part.reshape(o1 - o0, taps, i1 - i0).transpose(1, 2, 0)
            slab[:, i0 - block.first : i1 - block.first, o0 - out.first : o1 - out.first] = part
    return slab


def _overlap(block: Block, low: int, high: int) -> tuple[int, int]:
    return max(block.first, low), min(block.first + block.channels, high)


def _tile(slab: np.ndarray, tap_rows: int) -> np.ndarray:
    """Array rows of taps side by side, each on ``tap_rows`` rows; the last is not padded."""
    taps, channels, columns = slab.shape
    tile = np.zeros((taps, tap_rows, columns), np.int16)
    tile[:, :channels] = slab
    return tile.reshape(taps * tap_rows, columns)[: (taps - 1) * tap_rows + channels]


def folded_bias(op: Conv) -> np.ndarray:
    """int32 bias of every output channel with the input's zero point folded in."""
    sums = op.weight.astype(np.int64).reshape(op.weight.shape[0], -1).sum(axis=1)
    return (op.bias - op.x.quant.zero * sums).astype(np.int32)
