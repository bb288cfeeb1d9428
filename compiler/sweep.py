"""Sweeps: a convolution between tensors in cells, as steps over the words of both.

A *unit* is the smallest block of result pixels that is whole words of the result and, times the
stride, whole words of the input. A sweep walks over units; every unit takes the same steps through
the input and through the result. What one row of accumulators holds of a unit is a *target*: the
results of some pixels and channels, side by side in the columns, and the moves that bring them to
their words. Without cells a unit is one pixel, and a target one channel block.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from hpu.compiler.ir import Conv
from hpu.hw.config import Config
from hpu.runtime.cell import PLAIN, Cell, Shape
from hpu.runtime.layout import Block, block_channels, blocks

__all__ = ["Geometry", "Move", "Placed", "Sweep", "Target", "Use", "sweep_of"]

Triple = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """What of a convolution decides its mapping: everything but the numbers."""

    x: Shape
    out: Shape
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int]  # top, left
    dilations: tuple[int, int]
    groups: int

    @classmethod
    def of(cls, op: Conv) -> "Geometry":
        """That of ``op``."""
        kernel, pads = (op.weight.shape[1], op.weight.shape[2]), (op.pads[0], op.pads[1])
        shapes = (op.x.shape, op.out.shape)
        return cls(*shapes, kernel, op.strides, pads, op.dilations, op.groups)

    def taps(self) -> Iterator[tuple[int, int, int]]:
        """Every tap's number, and its rows and columns from the result pixel times the stride."""
        for tap, (ky, kx) in enumerate(itertools.product(*map(range, self.kernel))):
            y = ky * self.dilations[0] - self.pads[0]
            yield tap, y, kx * self.dilations[1] - self.pads[1]

    def inputs(self, first: int, channels: int) -> tuple[int, int]:
        """Range (low, high) of the input channels that these output channels depend on."""
        per_in, per_out = self.x[3] // self.groups, self.out[3] // self.groups
        low = first // per_out * per_in
        return low, ((first + channels - 1) // per_out + 1) * per_in


@dataclasses.dataclass(frozen=True)
class Placed:
    """``channels`` results from ``first`` on of the unit's pixel ``pixel``, from ``column`` on."""

    pixel: Triple
    first: int
    channels: int
    column: int


@dataclasses.dataclass(frozen=True)
class Move:
    """``width`` lane groups of a row of results, from ``s_group`` on, to a word of the unit.

    They are written from lane group ``d_group`` on, ``copies`` times. ``word`` counts words of
    channel block ``block`` along n, y and x.
    """

    block: int
    word: Triple
    width: int
    copies: int
    s_group: int = 0
    d_group: int = 0


@dataclasses.dataclass(frozen=True)
class Target:
    """What one row of accumulators holds of a unit."""

    placed: tuple[Placed, ...]
    moves: tuple[Move, ...]
    columns: int

    def spread(self, values: np.ndarray) -> np.ndarray:
        """``values`` [..., c] of every result channel at its columns: [..., columns], else zero."""
        result = np.zeros((*values.shape[:-1], self.columns), values.dtype)
        for one in self.placed:
            part = values[..., one.first : one.first + one.channels]
            result[..., one.column : one.column + one.channels] = part
        return result


@dataclasses.dataclass(frozen=True)
class Use:
    """Input channels ``first`` … of a word's pixel at ``lane``, through kernel tap ``tap``."""

    tap: int
    lane: int
    first: int
    channels: int
    placed: Placed


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Units along n, y and x; pixels of a unit; words per unit of the input and of the result."""

    geometry: Geometry
    cell_in: Cell
    size: Triple
    unit: Triple
    step: Triple
    spread: Triple
    in_blocks: tuple[Block, ...]
    out_blocks: tuple[Block, ...]
    targets: tuple[Target, ...]

    @property
    def units(self) -> int:
        """All units."""
        return math.prod(self.size)

    def uses(self, target: Target) -> dict[tuple[int, int], dict[tuple[int, int], list[Use]]]:
        """What ``target`` takes, by image step and input block, then by rows and columns of words.

        Steps, rows and columns are those of the input's words, from the unit's first word on.
        """
        found: dict[tuple[int, int], dict[tuple[int, int], list[Use]]] = {}
        for placed in target.placed:
            for tap, dy, dx in self.geometry.taps():
                for image, block, offset, use in self._uses(placed, tap, dy, dx):
                    words = found.setdefault((image, block), {})
                    words.setdefault(offset, []).append(use)
        return dict(sorted(found.items(), key=lambda entry: entry[0][::-1]))

    def _uses(
        self, placed: Placed, tap: int, dy: int, dx: int
    ) -> Iterator[tuple[int, int, tuple[int, int], Use]]:
        n, y, x = placed.pixel
        y, x = y * self.geometry.strides[0] + dy, x * self.geometry.strides[1] + dx
        cell, total = self.cell_in, self.geometry.x[3]
        offset = (y // cell.rows, x // cell.cols)
        low, high = self.geometry.inputs(placed.first, placed.channels)
        lane = cell.lane(total, n, y, x)
        for index, (start, count) in enumerate(_channels(cell, total, self.in_blocks)):
            first, end = max(low, start), min(high, start + count)
            if first < end:
                use = Use(tap, lane + first - start, first, end - first, placed)
                yield n // cell.images, index, offset, use

    @functools.cached_property
    def reach(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """First and last word row, and word column, that a unit uses, from its first word on."""
        geometry, cell = self.geometry, self.cell_in
        ends = []
        for axis, size in enumerate((cell.rows, cell.cols)):
            stride, pad = geometry.strides[axis], geometry.pads[axis]
            last = (self.unit[axis + 1] - 1) * stride - pad
            last += (geometry.kernel[axis] - 1) * geometry.dilations[axis]
            ends.append((-pad // size, last // size))
        return ends[0], ends[1]


@functools.lru_cache(maxsize=4096)
def sweep_of(
    geometry: Geometry, cell_in: Cell, cell_out: Cell, config: Config, columns: Cell | None = None
) -> Sweep | None:
    """The sweep of a convolution between tensors in these cells; ``None`` where there is none.

    ``columns``: the pixels that share a row of accumulators, where these are not the pixels of a
    word of the result; without it one word or, on an array wider than tall, several plain ones.
    """
    if not (_holds(cell_in, geometry.x, config) and _holds(cell_out, geometry.out, config)):
        return None
    unit, step, spread, size = [], [], [], []
    axes = zip(
        cell_in.size, cell_out.size, (columns or cell_out).size, (1, *geometry.strides), strict=True
    )
    for axis, (inner, outer, side, stride) in enumerate(axes):
        pixels = math.lcm(outer, side, inner // math.gcd(inner, stride))
        if geometry.out[axis] % pixels:
            return None
        unit.append(pixels)
        step.append(pixels * stride // inner)
        spread.append(pixels // outer)
        size.append(geometry.out[axis] // pixels)
    out_blocks = tuple(blocks(cell_out.stored(geometry.out), config))
    targets = _targets(geometry, cell_out, columns, _triple(unit), out_blocks, config)
    if targets is None:
        return None
    return Sweep(
        geometry=geometry,
        cell_in=cell_in,
        size=_triple(size),
        unit=_triple(unit),
        step=_triple(step),
        spread=_triple(spread),
        in_blocks=tuple(blocks(cell_in.stored(geometry.x), config)),
        out_blocks=out_blocks,
        targets=targets,
    )


def _channels(cell: Cell, total: int, blocks: Sequence[Block]) -> Iterator[tuple[int, int]]:
    """First channel and channels of every block of a tensor of ``total`` channels."""
    for index, block in enumerate(blocks):
        if cell.pixels == 1:
            yield block.first, block.channels
        else:
            each = cell.block or total
            yield index * each, min(each, total - index * each)


def _holds(cell: Cell, shape: Shape, config: Config) -> bool:
    """Whether a tensor can stand in ``cell``: whole cells, each in a word of its own."""
    word = block_channels(config)
    if cell.block:
        fits = cell.block % config.group == 0 and cell.pixels * cell.block == word
    else:
        fits = cell.pixels == 1 or cell.lanes(shape[3]) <= word
    return fits and cell.divides(shape)


def _triple(values: list[int]) -> Triple:
    n, y, x = values
    return n, y, x


def _targets(
    geometry: Geometry,
    cell_out: Cell,
    columns: Cell | None,
    unit: Triple,
    out_blocks: tuple[Block, ...],
    config: Config,
) -> tuple[Target, ...] | None:
    if cell_out.pixels == 1 and (columns is None or columns.pixels == 1):
        alone = columns is not None or math.prod(unit) > 1
        beside = 1 if alone else config.cols // block_channels(config)
        return tuple(_plain_targets(unit, out_blocks, beside, config))
    columns = columns or cell_out
    channels = geometry.out[3]
    if columns == cell_out:
        return tuple(_word_targets(unit, cell_out, channels, out_blocks, config))
    if columns.lanes(channels) > config.cols or len(out_blocks) > 1 or columns.block:
        return None
    targets = []
    for corner in _steps(unit, columns):
        target = _mixed_target(list(_pixels(corner, columns)), cell_out, channels, config)
        if target is None:
            return None
        targets.append(target)
    return tuple(targets)


def _plain_targets(
    unit: Triple, out_blocks: tuple[Block, ...], beside: int, config: Config
) -> Iterator[Target]:
    """One pixel each, with ``beside`` channel blocks."""
    for at in range(0, len(out_blocks), beside):
        some = out_blocks[at : at + beside]
        base = some[0].first
        for pixel in _steps(unit, PLAIN):
            yield Target(
                tuple(Placed(pixel, b.first, b.channels, b.first - base) for b in some),
                tuple(
                    Move(at + i, pixel, b.width, config.groups // b.width, _chunk(b, base, config))
                    for i, b in enumerate(some)
                ),
                some[-1].first + some[-1].channels - base,
            )


def _chunk(block: Block, base: int, config: Config) -> int:
    return (block.first - base) // config.group


def _steps(unit: Triple, cell: Cell) -> Iterator[Triple]:
    """The first pixels of the cells of a unit."""
    n, y, x = (range(0, length, step) for length, step in zip(unit, cell.size, strict=True))
    yield from itertools.product(n, y, x)


def _pixels(corner: Triple, cell: Cell) -> Iterator[Triple]:
    for pixel in itertools.product(*map(range, cell.size)):
        n, y, x = (low + step for low, step in zip(corner, pixel, strict=True))
        yield n, y, x


def _word_targets(
    unit: Triple, cell: Cell, channels: int, out_blocks: tuple[Block, ...], config: Config
) -> Iterator[Target]:
    """The pixels of one word of the result each, as they stand there."""
    for index, (first, count) in enumerate(_channels(cell, channels, out_blocks)):
        block = out_blocks[index]
        for corner in _steps(unit, cell):
            pixels = _pixels(corner, cell)
            placed = (Placed(one, first, count, cell.lane(channels, *one)) for one in pixels)
            move = Move(index, _word(corner, cell), block.width, config.groups // block.width)
            yield Target(tuple(placed), (move,), block.channels)


def _mixed_target(pixels: list[Triple], cell: Cell, channels: int, config: Config) -> Target | None:
    """Pixels of several words of the result, or of parts of words; ``None`` where no move can.

    Those that become neighbours in a word are neighbours in the columns, and move together.
    """
    _, copies = _written(cell, channels, config)
    if channels % config.group or (cell.pixels > 1 and copies > 1):
        return None  # a pixel is no lane groups, or the copies of a part are no neighbours
    ordered = sorted(pixels, key=lambda one: (_word(one, cell), cell.lane(channels, *one)))
    width = channels // config.group
    moves: list[Move] = []
    for index, one in enumerate(ordered):
        word, group = _word(one, cell), cell.lane(channels, *one) // config.group
        last = moves[-1] if moves else None
        if last and last.word == word and last.d_group + last.width == group:
            moves[-1] = dataclasses.replace(last, width=last.width + width)
        else:
            moves.append(Move(0, word, width, copies, index * width, group))
    placed = (Placed(one, 0, channels, index * channels) for index, one in enumerate(ordered))
    return Target(tuple(placed), tuple(moves), len(pixels) * channels)


def _written(cell: Cell, channels: int, config: Config) -> tuple[int, int]:
    """Lane groups of a word of the result, and how often it is written side by side."""
    width = -(-cell.lanes(channels) // config.group)
    return width, config.groups // width


def _word(pixel: Triple, cell: Cell) -> Triple:
    n, y, x = pixel
    return n // cell.images, y // cell.rows, x // cell.cols
