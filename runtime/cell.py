"""Cells: several pixels of a tensor side by side in one word.

A word of the unified buffer, and a row of DRAM, holds ``images`` × ``rows`` × ``cols`` neighbouring
pixels of a tensor. Every image begins a lane group; its pixels follow each other without gaps, row
by row, each with all its channels. Seen from outside, a tensor (n, y, x, c) in cells is a tensor of
fewer pixels and more channels: its *stored* form.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

__all__ = ["PLAIN", "Cell", "Shape"]

#: Images, rows, columns, channels.
Shape = tuple[int, int, int, int]


class Cell(msgspec.Struct, frozen=True):
    """Pixels of a word, and the lanes of a lane group. ``Cell()`` holds one pixel."""

    images: int = 1
    rows: int = 1
    cols: int = 1
    group: int = 1

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
        return " of ".join(parts)

    def divides(self, shape: Sequence[int]) -> bool:
        """Whether the positions of a tensor of ``shape`` (n, y, x, …) are whole cells."""
        return all(length % step == 0 for length, step in zip(shape, self.size, strict=False))

    def image_lanes(self, channels: int) -> int:
        """Lanes from an image to the next."""
        return -(-self.rows * self.cols * channels // self.group) * self.group

    def lane(self, channels: int, n: int, y: int, x: int) -> int:
        """Lane of the first channel of pixel (n, y, x), modulo the cell."""
        pixel = y % self.rows * self.cols + x % self.cols
        return n % self.images * self.image_lanes(channels) + pixel * channels

    def lanes(self, channels: int) -> int:
        """Lanes of a word, without the last image's unused ones."""
        return (self.images - 1) * self.image_lanes(channels) + self.rows * self.cols * channels

    def stored(self, shape: Shape) -> Shape:
        """Shape of the stored form of a tensor of ``shape``."""
        n, y, x, c = shape
        return n // self.images, y // self.rows, x // self.cols, self.lanes(c)

    def store(self, values: np.ndarray) -> np.ndarray:
        """The stored form of ``values`` [n, y, x, c]; lanes without a channel are zero."""
        if self.pixels == 1:
            return values
        n, y, x, c = values.shape
        words = (n // self.images, y // self.rows, x // self.cols)
        split = values.reshape(
            words[0], self.images, words[1], self.rows, words[2], self.cols, c
        ).transpose(0, 2, 4, 1, 3, 5, 6)
        return self._join(split.reshape(*words, self.images, self.rows * self.cols * c), c)

    def _join(self, images: np.ndarray, channels: int) -> np.ndarray:
        """[…, lanes] of the lanes of every image [..., images, rows·cols·c]."""
        gap = self.image_lanes(channels) - images.shape[-1]
        wide = np.pad(images, [(0, 0)] * (images.ndim - 1) + [(0, gap)])
        return wide.reshape(*images.shape[:-2], -1)[..., : self.lanes(channels)]

    def restore(self, values: np.ndarray, channels: int) -> np.ndarray:
        """The tensor [n, y, x, c] whose stored form is ``values``."""
        if self.pixels == 1:
            return values
        words = values.shape[:3]
        gap = self.images * self.image_lanes(channels) - values.shape[-1]
        wide = np.pad(values, [(0, 0)] * 3 + [(0, gap)]).reshape(*words, self.images, -1)
        pixels = wide[..., : self.rows * self.cols * channels]
        split = pixels.reshape(*words, *self.size, channels).transpose(0, 3, 1, 4, 2, 5, 6)
        size = (length * step for length, step in zip(words, self.size, strict=True))
        return split.reshape(*size, channels)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """``values`` [..., c] of every channel, at every lane that holds it: [..., lanes]."""
        channels = values.shape[-1]
        images = np.broadcast_to(
            np.tile(values, self.rows * self.cols)[..., None, :],
            (*values.shape[:-1], self.images, self.rows * self.cols * channels),
        )
        return self._join(images, channels)


#: One pixel in a word.
PLAIN = Cell()
