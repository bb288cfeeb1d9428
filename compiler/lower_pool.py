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
from hpu.compiler.windows import sliding, window_axes
from hpu.hw.isa import Reduce
from hpu.sim.numerics import encode_scale

__all__ = ["average_scale", "equal_counts", "lower_pool"]


def lower_pool(context: Context, op: Pool, scratch: Scratch) -> None:
    """Emit the instructions of ``op``."""
    axes = window_axes(op)
    ends = op.pads[2:] if op.count_include_pad else None

    def emit(block: int, part: Region, views: list[View], result: View) -> None:
        channels = context.blocks(op.out)[block]
        for whole, count in _regions(op, axes, ends, part):
            own = context.table(op, channels) | _reduction(context, op, count)
            for region, fields in sliding(axes, views[0], whole, context.config):
                reads = extents(views[0], window(region, *axes))
                emit_vector(context, channels, result, region, reads, fields | own)

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
