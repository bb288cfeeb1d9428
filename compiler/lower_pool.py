"""Pooling by the vector unit's windows.

A maximum skips what lies outside the image. So does an average's sum; where the number of elements
that an average counts differs at the border, the result is cut into regions of equal count, each
with its own scale.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from hpu.compiler.allocate import Scratch
from hpu.compiler.context import Context
from hpu.compiler.ir import Pool
from hpu.compiler.lower_stream import lower_stream
from hpu.compiler.tiling import Axis, Region, View, window
from hpu.compiler.vector import emit_vector, extents
from hpu.hw.isa import ADDRESS_MASK, Reduce, Source
from hpu.sim.numerics import encode_scale

__all__ = ["average_scale", "equal_counts", "lower_pool", "pool_axes"]


def pool_axes(op: Pool) -> tuple[Axis, Axis]:
    """The sliding windows along y and x."""
    _, height, width, _ = op.x.shape
    y = Axis(height, op.kernel[0], op.strides[0], op.dilations[0], op.pads[0])
    return y, Axis(width, op.kernel[1], op.strides[1], op.dilations[1], op.pads[1])


def lower_pool(context: Context, op: Pool, scratch: Scratch) -> None:
    """Emit the instructions of ``op``."""
    axes = pool_axes(op)
    ends = op.pads[2:] if op.count_include_pad else None

    def emit(block: int, part: Region, views: list[View], result: View) -> None:
        channels = context.blocks(op.out)[block]
        for region, count in _regions(op, axes, ends, part):
            fields = context.table(op, channels) | _window(axes, views[0], region)
            fields |= _reduction(context, op, count)
            reads = extents(views[0], window(region, *axes))
            emit_vector(context, channels, result, region, reads, fields)

    lower_stream(context, op, axes, scratch, emit)


def _regions(
    op: Pool, axes: tuple[Axis, Axis], ends: tuple[int, ...] | None, part: Region
) -> Iterator[tuple[Region, int]]:
    """Parts of ``part`` with the number of elements that their averages count."""
    if op.kind == "max":
        yield part, 1
        return
    rows = equal_counts(axes[0], part.y0, part.y1, ends[0] if ends else None)
    cols = equal_counts(axes[1], part.x0, part.x1, ends[1] if ends else None)
    for (y0, y1, high), (x0, x1, wide) in itertools.product(rows, cols):
        yield Region(part.n0, part.n1, y0, y1, x0, x1), max(high * wide, 1)


def equal_counts(axis: Axis, low: int, high: int, end: int | None) -> list[tuple[int, int, int]]:
    """Runs (first, end, count) of results with equally many window elements inside.

    Inside the image; or, with the padding ``end`` at its end given, inside the padded image.
    """
    first, last = (0, axis.size) if end is None else (-axis.pad, axis.size + end)
    taps = np.arange(axis.kernel) * axis.dilation - axis.pad
    at = np.arange(low, high)[:, None] * axis.stride + taps
    inside = ((at >= first) & (at < last)).sum(axis=1).tolist()
    runs = []
    for count, members in itertools.groupby(range(high - low), key=lambda i: inside[i]):
        places = list(members)
        runs.append((low + places[0], low + places[-1] + 1, count))
    return runs


def average_scale(op: Pool, count: int) -> np.float32:
    """The factor from a sum of ``count`` elements to the result."""
    return np.float32(float(op.x.quant.scale) / (count * float(op.result.scale)))


def _window(axes: tuple[Axis, Axis], view: View, part: Region) -> dict[str, int]:
    """The fields of the first operand: windows of ``view`` for the results ``part``."""
    y_axis, x_axis = axes
    y = part.y0 * y_axis.stride - y_axis.pad
    x = part.x0 * x_axis.stride - x_axis.pad
    image_words, row_words, _ = view.strides
    _, rows, cols = part.size
    y_step = y_axis.stride if rows > 1 else 0
    x_step = x_axis.stride if cols > 1 else 0
    y_dilation = y_axis.dilation if y_axis.kernel > 1 else 0
    x_dilation = x_axis.dilation if x_axis.kernel > 1 else 0
    return {
        "source": int(Source.UB),
        "ky_count": y_axis.kernel,
        "kx_count": x_axis.kernel,
        "a_base": view.word(part.n0, y, x) & ADDRESS_MASK,
        "a_n": image_words,
        "a_y": y_step * row_words,
        "a_x": x_step,
        "a_ky": y_dilation * row_words,
        "a_kx": x_dilation,
        "y0": y - view.region.y0,
        "x0": x - view.region.x0,
        "y_step": y_step,
        "x_step": x_step,
        "y_dilation": y_dilation,
        "x_dilation": x_dilation,
        "image_rows": view.region.size[1],
        "image_cols": view.region.size[2],
    }


def _reduction(context: Context, op: Pool, count: int) -> dict[str, int]:
    if op.kind == "max":
        return {"reduce": int(Reduce.MAX)}
    mantissa, shift = encode_scale(np.array([average_scale(op, count)]))
    return {
        "reduce": int(Reduce.SUM),
        "requantise": 1,
        "a_zero": op.x.quant.zero,
        "zero": op.result.zero,
        "params": context.parameters(np.zeros(1, np.int32), mantissa, shift),
    }
