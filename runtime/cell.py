"""Cells: several pixels of a tensor side by side in one word.

A word of the unified buffer, and a row of DRAM, holds ``images`` × ``rows`` × ``cols`` neighbouring
pixels of a tensor. Every image begins a lane group; its pixels follow each other without gaps, row
by row, each with all its channels. Seen from outside, a tensor (n, y, x, c) in cells is a tensor of
fewer pixels and more channels: its *stored* form.
"""

import itertools
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

__all__ = ["PLAIN", "Cell", "Shape"]

#: Images, rows, columns, channels.
Shape = tuple[int, int, int, int]
_FEW = 8  # channels


class Cell(msgspec.Struct, frozen=True):
    """Pixels of a word, and the lanes of a lane group. ``Cell()`` holds one pixel.

    With ``block``, a multiple of the group, a word holds that many channels of each of its pixels,
    and the next channels follow in the next channel block.
    """

    images: int = 1
    rows: int = 1
    cols: int = 1
    group: int = 1
    block: int = 0

    @property
    def size(self) -> tuple[int, int, int]:
        """Pixels along n, y and x."""
        return self.images, self.rows, self.cols

    @property
    def pixels(self) -> int:
        """Pixels of a word."""
        return self.images * self.rows * self.cols

    def __str__(self) -> str:
        parts = []
        if self.images > 1:
            parts.append(f"{self.images} images")
        if self.rows * self.cols > 1 or not parts:
            parts.append(f"{self.rows}×{self.cols} pixels")
        if self.block:
            parts.append(f"{self.block} channels")
        return " of ".join(parts)

    def divides(self, shape: Sequence[int]) -> bool:
        """Whether the positions of a tensor of ``shape`` (n, y, x, …) are whole cells."""
        return all(length % step == 0 for length, step in zip(shape, self.size, strict=False))

    def blocks(self, channels: int) -> int:
        """Channel blocks that the cell itself makes of ``channels``."""
        return -(-channels // self.block) if self.block else 1

    def lane(self, channels: int, n: int, y: int, x: int) -> int:
        """Lane of the first channel of pixel (n, y, x), modulo the cell, in each of its words."""
        pixel = y % self.rows * self.cols + x % self.cols
        each = self.block or channels
        return n % self.images * self._image_lanes(channels) + pixel * each

    def _image_lanes(self, channels: int) -> int:
        """Lanes from an image to the next."""
        return -(-self.rows * self.cols * (self.block or channels) // self.group) * self.group

    def lanes(self, channels: int) -> int:
        """Lanes of all words of a position, without the unused ones at the end."""
        before = (self.blocks(channels) - 1) * self.images * self._image_lanes(channels)
        each = self.block or channels
        last = channels - (self.blocks(channels) - 1) * each
        pixels = self.rows * self.cols
        return before + (self.images - 1) * self._image_lanes(channels) + (pixels - 1) * each + last

    def stored(self, shape: Shape) -> Shape:
        """Shape of the stored form of a tensor of ``shape``."""
        n, y, x, c = shape
        return n // self.images, y // self.rows, x // self.cols, self.lanes(c)

    def store(self, values: np.ndarray) -> np.ndarray:
        """The stored form of ``values`` [n, y, x, c]; lanes without a channel are zero."""
        if self.pixels == 1:
            return values
        n, y, x, c = values.shape
        stored = np.zeros(self.stored((n, y, x, c)), values.dtype)
        for pixel, channels, lanes in self._places(c):
            stored[..., lanes] = values[*pixel, channels]
        return stored

    def restore(self, values: np.ndarray, channels: int) -> np.ndarray:
        """The tensor [n, y, x, c] whose stored form is ``values``."""
        if self.pixels == 1:
            return values
        size = (words * step for words, step in zip(values.shape, self.size, strict=False))
        restored = np.empty((*size, channels), values.dtype)
        for pixel, some, lanes in self._places(channels):
            restored[*pixel, some] = values[..., lanes]
        return restored

    def spread(self, values: np.ndarray) -> np.ndarray:
        """``values`` [..., c] of every channel, at every lane that holds it: [..., lanes]."""
        *outer, channels = values.shape
        stored = np.zeros((*outer, self.lanes(channels)), values.dtype)
        for _pixel, some, lanes in self._places(channels):
            stored[..., lanes] = values[..., some]
        return stored

    def _places(self, channels: int) -> Iterator[tuple[tuple[slice, ...], slice, slice]]:
        """Every place of a word: the pixels that stand there, their channels, the lanes.

        Few channels come one by one: numpy copies long rows of single bytes faster.
        """
        each = self.block or channels
        step = 1 if channels < _FEW else each
        for at in itertools.product(*map(range, self.size)):
            pixel = tuple(slice(k, None, size) for k, size in zip(at, self.size, strict=True))
            for first in range(0, channels, step):
                width = min(step, channels - first)
                block = first // each * self.images * self._image_lanes(channels)
                lane = block + self.lane(channels, *at) + first % each
                yield pixel, slice(first, first + width), slice(lane, lane + width)


#: One pixel in a word.
PLAIN = Cell()
