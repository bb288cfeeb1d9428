"""Sliding windows of the vector unit: their fields, and which of them are streamed."""

import dataclasses
from collections.abc import Iterator, Mapping

from hpu.compiler.context import counts
from hpu.compiler.ir import Depthwise, Pool
from hpu.compiler.tiling import Axis, Region, View
from hpu.hw.config import Config
from hpu.hw.isa import ADDRESS_MASK, BY_NAME, STREAM_WINDOW, Reduce, Source
from hpu.runtime.cell import Cell
from hpu.runtime.layout import block_widths
from hpu.sim.cycles.streams import stream_length

__all__ = ["sliding", "window_axes", "window_cycles"]

#: Cycles that a streamed instruction takes more than another one.
_MORE = 9
#: Fields that decide whether windows may be streamed, besides those of the windows.
_ANY = {field.name: 0 for field in BY_NAME["VECTOR"].own} | {
    "reduce": int(Reduce.SUM),
    "d_width": 1,
    "d_copies": 1,
}


def window_axes(op: Pool | Depthwise) -> tuple[Axis, Axis]:
    """The sliding windows along y and x."""
    _, height, width, _ = op.x.shape
    y = Axis(height, op.kernel[0], op.strides[0], op.dilations[0], op.pads[0])
    return y, Axis(width, op.kernel[1], op.strides[1], op.dilations[1], op.pads[1])


def sliding(
    axes: tuple[Axis, Axis], view: View, part: Region, config: Config
) -> Iterator[tuple[Region, dict[str, int]]]:
    """Pieces of the results ``part``, each with the fields of its windows over ``view``.

    A part too wide for the lines of a stream is cut into stripes, where that is faster.
    """
    pieces = list(_stripes(axes, part, config))
    found = [(piece, _streamed(axes, view, piece, config)) for piece in pieces]
    if all(fields is not None for _, fields in found):
        yield from ((piece, fields) for piece, fields in found if fields is not None)
    else:
        yield part, _fields(axes, view, part)


def window_cycles(op: Pool | Depthwise, cell: Cell, config: Config) -> int:
    """Cycles in which the vector unit passes once over the windows of ``op`` in a cell."""
    axes, whole = window_axes(op), Region.whole(cell.stored(op.out.shape))
    view = View(0, Region.whole(cell.stored(op.x.shape)))
    steps = sum(
        _steps(fields | counts(piece)) for piece, fields in sliding(axes, view, whole, config)
    )
    return steps * len(block_widths(cell.stored(op.out.shape)[3], config))


def _steps(values: Mapping[str, int]) -> int:
    if values["stream"]:
        return stream_length(values)
    taps = values["ky_count"] * values["kx_count"]
    return values["n_count"] * values["y_count"] * values["x_count"] * taps


def _stripes(axes: tuple[Axis, Axis], part: Region, config: Config) -> Iterator[Region]:
    """``part`` in stripes of columns whose windows fit a line."""
    axis, width = axes[1], part.x1 - part.x0
    step = width
    if axis.longest(width) > config.window_cols >= axis.longest(1):
        most = (config.window_cols - axis.kernel) // axis.stride + 1
        step = -(-width // -(-width // most))
    for x0 in range(part.x0, part.x1, step):
        yield dataclasses.replace(part, x0=x0, x1=min(x0 + step, part.x1))


def _streamed(
    axes: tuple[Axis, Axis], view: View, part: Region, config: Config
) -> dict[str, int] | None:
    """The fields with which the windows are streamed; ``None`` where that is slower or illegal."""
    if max(axis.kernel for axis in axes) > STREAM_WINDOW:
        return None
    plain = _fields(axes, view, part)
    _, row_words, col_words = view.strides
    (y_step, y_dilation), (x_step, x_dilation) = (
        (axis.stride, axis.dilation if axis.kernel > 1 else 1) for axis in axes
    )
    fields = plain | {
        "stream": 1,
        "a_y": y_step * row_words,
        "a_x": x_step * col_words,
        "a_ky": row_words,
        "a_kx": col_words,
        "y_step": y_step,
        "x_step": x_step,
        "y_dilation": y_dilation,
        "x_dilation": x_dilation,
    }
    values = _ANY | fields | counts(part)
    if any(rule.broken(values, config) for rule in BY_NAME["VECTOR"].rules):
        return None
    faster = stream_length(values) + _MORE < _steps(plain | counts(part))
    return fields if faster else None


def _fields(axes: tuple[Axis, Axis], view: View, part: Region) -> dict[str, int]:
    """The fields of the first operand: windows of ``view`` for the results ``part``."""
    y_axis, x_axis = axes
    y = part.y0 * y_axis.stride - y_axis.pad
    x = part.x0 * x_axis.stride - x_axis.pad
    image_words, row_words, col_words = view.strides
    _, rows, cols = part.size
    y_step = y_axis.stride if rows > 1 else 0
    x_step = x_axis.stride if cols > 1 else 0
    y_dilation = y_axis.dilation if y_axis.kernel > 1 else 0
    x_dilation = x_axis.dilation if x_axis.kernel > 1 else 0
    return {
        "source": int(Source.UB),
        "stream": 0,
        "ky_count": y_axis.kernel,
        "kx_count": x_axis.kernel,
        "a_base": view.word(part.n0, y, x) & ADDRESS_MASK,
        "a_n": image_words,
        "a_y": y_step * row_words,
        "a_x": x_step * col_words,
        "a_ky": y_dilation * row_words,
        "a_kx": x_dilation * col_words,
        "y0": y - view.region.y0,
        "x0": x - view.region.x0,
        "y_step": y_step,
        "x_step": x_step,
        "y_dilation": y_dilation,
        "x_dilation": x_dilation,
        "image_rows": view.region.size[1],
        "image_cols": view.region.size[2],
    }
