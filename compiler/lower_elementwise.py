"""Sum, difference and product of two tensors, and clip and table alone."""

from hpu.compiler.allocate import Scratch
from hpu.compiler.context import Context, strides
from hpu.compiler.ir import Binary, Op
from hpu.compiler.lower_stream import lower_stream
from hpu.compiler.tiling import Axis, Region, View
from hpu.compiler.vector import combination, emit_vector, extents
from hpu.hw.isa import Source

__all__ = ["elementwise_axes", "lower_elementwise"]


def elementwise_axes(op: Op) -> tuple[Axis, Axis]:
    """Every result uses the one input position that it stands at."""
    return Axis(op.x.stored[1]), Axis(op.x.stored[2])


def lower_elementwise(context: Context, op: Op, scratch: Scratch) -> None:
    """Emit the instructions of a Binary or Unary."""
    combining = combination(op) if isinstance(op, Binary) else {}

    def emit(block: int, part: Region, views: list[View], result: View) -> None:
        channels = context.blocks(op.out)[block]
        fields = context.table(op, channels) | combining
        fields |= strides("a", views[0], part) | {"source": int(Source.UB)}
        second = views[1] if isinstance(op, Binary) else None
        emit_vector(context, channels, result, part, extents(views[0], part), fields, second)

    lower_stream(context, op, elementwise_axes(op), scratch, emit)
