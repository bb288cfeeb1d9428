"""Mapping of a convolution to the array: which words share a pass.

One target of a sweep is the sum of passes over the array. A pass takes words of one input block and
of one image step. Its rows hold copies of the word side by side, as many as fit, and every lane
group of every copy looks at a word of its own. A lane group visits each word that it has weights
for, so that the group with the most of them decides how many passes there are:

- with plain words the copies look at neighbouring kernel taps;
- with several pixels in the words of input and result, each result stands under its own pixel
  (block-diagonal), or under all the pixels of a window that the results share (Toeplitz);
- a result word of several pixels is gathered from plain words, and the other way round.

Weights beyond int8 are split into several passes that add up.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from hpu.compiler.ir import Conv
from hpu.compiler.sweep import Sweep, Target, Use
from hpu.hw.config import Config

__all__ = ["Pass", "folded_bias", "passes_of", "split_int8", "tiles_of"]

Offset = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Pass:
    """One pass over input block ``block``, ``image`` image steps from the unit's first word.

    Tap t feeds ``tap_groups`` lane groups with the word ``taps[t]`` rows and columns from the
    unit's first. ``slots`` says for which word each lane group holds weights; ``None``: for none.
    """

    image: int
    block: int
    slots: tuple[Offset | None, ...]
    taps: tuple[Offset, ...]
    tap_groups: int
    rows: int


def passes_of(sweep: Sweep, target: Target, config: Config) -> list[Pass]:
    """The passes that give ``target``."""
    found = []
    for (image, block), words in sweep.uses(target).items():
        width = sweep.in_blocks[block].width
        for slots in _assign(words, width, config):
            taps, tap_groups = _join(slots, width, config)
            rows = _rows(slots, words, width, config)
            found.append(Pass(image, block, slots, taps, tap_groups, rows))
    return found


def _assign(
    words: dict[Offset, list[Use]], width: int, config: Config
) -> Iterator[tuple[Offset | None, ...]]:
    """Per pass, the word of every lane group of every copy, without empty groups at the end."""
    wanted: list[list[Offset]] = [[] for _ in range(width)]
    for offset in sorted(words):
        for group in sorted({g for use in words[offset] for g in _groups(use, config)}):
            wanted[group].append(offset)
    copies = config.row_groups // width
    for first in range(0, max(map(len, wanted)), copies):
        slots = [
            column[first + copy] if first + copy < len(column) else None
            for copy in range(copies)
            for column in wanted
        ]
        while slots[-1] is None:
            slots.pop()
        yield tuple(slots)


def _groups(use: Use, config: Config) -> range:
    return range(use.lane // config.group, (use.lane + use.channels - 1) // config.group + 1)


def _join(
    slots: tuple[Offset | None, ...], width: int, config: Config
) -> tuple[tuple[Offset, ...], int]:
    """The tap of every so many lane groups, as many as look at the same word.

    Lane groups without weights look at any word: at that of their copy, or of the pass.
    """
    full = _filled(slots, width)
    for size in range(width, 1, -1):
        taps = [full[at : at + size] for at in range(0, len(full), size)]
        if len(taps) * size <= config.row_groups and all(len(set(tap)) == 1 for tap in taps):
            return tuple(tap[0] for tap in taps), size
    return tuple(full), 1


def _filled(slots: tuple[Offset | None, ...], width: int) -> list[Offset]:
    default = next(slot for slot in slots if slot is not None)
    full = []
    for at in range(0, len(slots), width):
        copy = slots[at : at + width]
        own = next((slot for slot in copy if slot is not None), default)
        full += [own if slot is None else slot for slot in copy]
    return full


def _rows(
    slots: tuple[Offset | None, ...], words: dict[Offset, list[Use]], width: int, config: Config
) -> int:
    """Rows of the tile: up to the last lane with weights."""
    offset, group = slots[-1], (len(slots) - 1) % width
    assert offset is not None
    ends = (use.lane + use.channels for use in words[offset] if group in _groups(use, config))
    last = min(max(ends), (group + 1) * config.group)
    return (len(slots) - 1 - group) * config.group + last


def tiles_of(
    op: Conv, sweep: Sweep, target: Target, config: Config
) -> Iterator[tuple[Pass, np.ndarray]]:
    """The passes that give ``target`` of ``op``, each with its tile: int8 [rows, columns]."""
    words: dict[tuple[int, int], dict[Offset, np.ndarray]] = {}
    uses = sweep.uses(target)
    for one in passes_of(sweep, target, config):
        key = (one.image, one.block)
        if key not in words:
            width = sweep.in_blocks[one.block].width
            words = {key: _slabs(op, uses[key], width * config.group, target.columns)}
        tile = _tile(one, words[key], sweep.in_blocks[one.block].width, config)
        for part in split_int8(tile[: one.rows]):
            yield one, part


def _slabs(
    op: Conv, uses: dict[Offset, list[Use]], lanes: int, columns: int
) -> dict[Offset, np.ndarray]:
    """The weights int16 [lanes, columns] of every word."""
    dense: dict[tuple[int, int, int, int], np.ndarray] = {}
    slabs = {}
    for offset, some in uses.items():
        slab = np.zeros((lanes, columns), np.int16)
        for use in some:
            key = (use.first, use.channels, use.placed.first, use.placed.channels)
            if key not in dense:
                dense[key] = _dense(op, *key)
            column = use.placed.column
            part = slab[use.lane : use.lane + use.channels, column : column + use.placed.channels]
            part += dense[key][use.tap]
        slabs[offset] = slab
    return slabs


def _dense(op: Conv, first_in: int, ins: int, first_out: int, outs: int) -> np.ndarray:
    """Weights int16 [tap, input channel, output channel] of two ranges; zero across groups."""
    per_in, per_out = op.weight.shape[3], op.weight.shape[0] // op.groups
    taps = op.weight.shape[1] * op.weight.shape[2]
    dense = np.zeros((taps, ins, outs), np.int16)
    for group in range(first_out // per_out, (first_out + outs - 1) // per_out + 1):
        o0, o1 = _overlap(first_out, outs, group * per_out, per_out)
        i0, i1 = _overlap(first_in, ins, group * per_in, per_in)
        if i0 < i1:
            part = op.weight[o0:o1, :, :, i0 - group * per_in : i1 - group * per_in]
            part = part.reshape(o1 - o0, taps, i1 - i0).transpose(1, 2, 0)
            dense[:, i0 - first_in : i1 - first_in, o0 - first_out : o1 - first_out] = part
    return dense


def _overlap(first: int, count: int, low: int, size: int) -> tuple[int, int]:
    return max(first, low), min(first + count, low + size)


def _tile(one: Pass, slabs: dict[Offset, np.ndarray], width: int, config: Config) -> np.ndarray:
    columns = next(iter(slabs.values())).shape[1]
    tile = np.zeros((len(one.slots), config.group, columns), np.int16)
    for number, offset in enumerate(one.slots):
        if offset is not None:
            first = number % width * config.group
            tile[number] = slabs[offset][first : first + config.group]
    return tile.reshape(-1, columns)


def split_int8(values: np.ndarray) -> Iterator[np.ndarray]:
    """int8 arrays that add up to ``values``: one where it fits, else two, or three with 255."""
    rest = values.astype(np.int16)
    while True:
        part = np.clip(rest, -128, 127)
        yield part.astype(np.int8)
        rest = rest - part
        if not rest.any():
            return


def folded_bias(op: Conv) -> np.ndarray:
    """int32 bias of every output channel with the input's zero point folded in."""
    sums = op.weight.astype(np.int64).reshape(op.weight.shape[0], -1).sum(axis=1)
    return (op.bias - op.x.quant.zero * sums).astype(np.int32)
