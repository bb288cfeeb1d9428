"""Where an instruction's accesses fall: boxes of affine addresses, image windows, kernel taps.

Every operand of every instruction reads or writes a box: ``base + Σ index·stride``. Padding only
shortens the y and x sides of a box, because image rows and columns grow with y and x. So a whole
instruction is a handful of boxes, and each is one strided view of the memory.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np

from hpu.hw.config import Config
from hpu.hw.isa import ADDRESS_MASK, tap_offsets

__all__ = [
    "Box",
    "Span",
    "Tap",
    "count_of",
    "dram_rows",
    "loop",
    "matmul_taps",
    "tile_words",
    "weight_rows",
    "window_taps",
]

Values = Mapping[str, int]
#: Indices low … high - 1 of a loop.
Span = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Box:
    """Addresses ``base + Σ index·stride`` for every index below ``counts``, outermost first."""

    base: int
    counts: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        """Addresses, repeated ones counted each time."""
        return math.prod(self.counts)

    def extent(self) -> Span:
        """Lowest and highest address before any reduction modulo 2²⁴."""
        steps = [
            (count - 1) * stride for count, stride in zip(self.counts, self.strides, strict=True)
        ]
        low = self.base + sum(step for step in steps if step < 0)
        return low, self.base + sum(step for step in steps if step > 0)

    def reduced(self) -> "Box":
        """The box with every address modulo 2²⁴, where that is a box: all go round alike."""
        low, high = self.extent()
        rounds = low // (ADDRESS_MASK + 1)
        if not rounds or high // (ADDRESS_MASK + 1) != rounds:
            return self
        return dataclasses.replace(self, base=self.base - rounds * (ADDRESS_MASK + 1))

    def inside(self, depth: int) -> bool:
        """Whether every address is in 0 … depth - 1 without any reduction."""
        low, high = self.extent()
        return low >= 0 and high < depth

    def addresses(self) -> np.ndarray:
        """int64 of shape ``counts``, not reduced."""
        total = np.asarray(self.base, np.int64)
        for count, stride in zip(self.counts, self.strides, strict=True):
            total = total[..., None] + np.arange(count, dtype=np.int64) * stride
        return total

    def words(self) -> np.ndarray:
        """int64 of shape ``counts``, modulo 2²⁴: word addresses of an on-chip memory."""
        return self.addresses() & ADDRESS_MASK

    def view(self, memory: np.ndarray) -> np.ndarray:
        """``memory[address]`` of every address, without a copy: ``counts + memory.shape[1:]``.

        The box must be inside the memory.
        """
        step = memory.strides[0]
        return np.lib.stride_tricks.as_strided(
            memory[self.base :],
            self.counts + memory.shape[1:],
            tuple(stride * step for stride in self.strides) + memory.strides[1:],
        )

    def distinct(self) -> bool:
        """Whether no address occurs twice."""
        sides = sorted(
            (abs(stride), count)
            for stride, count in zip(self.strides, self.counts, strict=True)
            if count > 1
        )
        reach = 0
        for stride, count in sides:
            if stride <= reach:
                return bool(np.unique(self.addresses()).size == self.size)
            reach += stride * (count - 1)
        return True


@dataclasses.dataclass(frozen=True)
class Tap:
    """Accesses of one kernel tap: ``box`` over (n, y in ``ys``, x in ``xs``)."""

    index: int
    box: Box
    ys: Span
    xs: Span

    def whole(self, values: Values) -> bool:
        """Whether the tap is inside the image at every y and x."""
        return self.ys == (0, values["y_count"]) and self.xs == (0, values["x_count"])


def count_of(values: Values) -> int:
    """Elements of the instruction's loop."""
    return values["n_count"] * values["y_count"] * values["x_count"]


def loop(values: Values, prefix: str) -> Box:
    """The box of an operand that every element of the loop accesses."""
    return Box(
        values[f"{prefix}_base"],
        (values["n_count"], values["y_count"], values["x_count"]),
        (values[f"{prefix}_n"], values[f"{prefix}_y"], values[f"{prefix}_x"]),
    )


def _span(first: int, step: int, count: int, limit: int) -> Span:
    """The indices below ``count`` with 0 ≤ first + index·step < limit."""
    if step == 0:
        return (0, count) if 0 <= first < limit else (0, 0)
    low = max(0, -(first // step))
    high = min(count, -((first - limit) // step))
    return (low, high) if low < high else (0, 0)


def _rows(values: Values, dy: int) -> Span:
    """Where ``dy`` image rows from the position is inside the image."""
    return _span(values["y0"] + dy, values["y_step"], values["y_count"], values["image_rows"])


def _columns(values: Values, dx: int) -> Span:
    """Where ``dx`` image columns from the position is inside the image."""
    return _span(values["x0"] + dx, values["x_step"], values["x_count"], values["image_cols"])


def _tap(values: Values, index: int, offset: int, ys: Span, xs: Span) -> Tap:
    whole = loop(values, "a")
    _, y_stride, x_stride = whole.strides
    base = whole.base + offset + ys[0] * y_stride + xs[0] * x_stride
    counts = (whole.counts[0], ys[1] - ys[0], xs[1] - xs[0])
    return Tap(index, Box(base, counts, whole.strides), ys, xs)


def matmul_taps(values: Values) -> Iterator[Tap]:
    """MATMUL's taps that are inside the image somewhere."""
    for index, (dy, dx) in enumerate(tap_offsets(values)):
        ys, xs = _rows(values, dy), _columns(values, dx)
        if ys[1] and xs[1]:
            yield _tap(values, index, dy * values["tap_y"] + dx * values["tap_x"], ys, xs)


def window_taps(values: Values) -> Iterator[Tap]:
    """VECTOR's window elements that are inside the image somewhere."""
    columns = [_columns(values, kx * values["x_dilation"]) for kx in range(values["kx_count"])]
    for ky in range(values["ky_count"]):
        ys = _rows(values, ky * values["y_dilation"])
        for kx, xs in enumerate(columns):
            if ys[1] and xs[1]:
                offset = ky * values["a_ky"] + kx * values["a_kx"]
                yield _tap(values, ky * len(columns) + kx, offset, ys, xs)


def dram_rows(values: Values, config: Config) -> Box:
    """Byte addresses of the first chunk of every DRAM row of LOAD or STORE."""
    pitch = config.pitch_chunks(values["width"]) * config.group
    counts = (values["n_count"], values["y_count"], values["x_count"])
    return Box(values["dram"], counts, (values["dram_n"], values["dram_y"], pitch))


def tile_words(values: Values) -> Box:
    """Unified-buffer words of the rows of a WEIGHTS that takes its tile from there."""
    return Box(values["a_base"], (values["rows"],), (1,))


def weight_rows(values: Values, config: Config) -> Box:
    """Byte addresses of the first chunk of every DRAM row of WEIGHTS."""
    pitch = config.pitch_chunks(values["width"]) * config.group
    return Box(values["dram"], (values["rows"],), (pitch,))
