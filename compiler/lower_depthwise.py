"""Depthwise convolution by the vector unit's weighted windows."""

from hpu.compiler.allocate import Scratch
from hpu.compiler.context import Context
from hpu.compiler.ir import Depthwise
from hpu.compiler.lower_stream import lower_stream
from hpu.compiler.tiling import Region, View, window
from hpu.compiler.vector import emit_vector, extents
from hpu.compiler.windows import sliding, window_axes
from hpu.hw.isa import Reduce
from hpu.runtime.layout import Block
from hpu.sim.numerics import encode_scale

__all__ = ["lower_depthwise"]


def lower_depthwise(context: Context, op: Depthwise, scratch: Scratch) -> None:
    """Emit the instructions of ``op``."""
    axes = window_axes(op)

    def emit(block: int, part: Region, views: list[View], result: View) -> None:
        channels = context.blocks(op.out)[block]
        for region, fields in sliding(axes, views[0], part, context.config):
            fields |= context.table(op, channels) | _weighted(context, op, channels)
            reads = extents(views[0], window(region, *axes))
            emit_vector(context, channels, result, region, reads, fields)

    lower_stream(context, op, axes, scratch, emit)


def _weighted(context: Context, op: Depthwise, block: Block) -> dict[str, int]:
    """The fields of the reduction for a channel block; padding adds nothing to a sum."""
    taps = op.weight.reshape(-1, op.weight.shape[2])
    values = (op.bias, *encode_scale(op.scale), taps)
    cut = slice(block.first, block.first + block.channels)
    params = context.parameters(*(op.out.cell.spread(value)[..., cut] for value in values))
    return {
        "reduce": int(Reduce.DOT),
        "requantise": 1,
        "a_zero": op.x.quant.zero,
        "zero": op.result.zero,
        "params": params,
        "weights": params + 1,
    }
