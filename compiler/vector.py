"""The VECTOR instruction: what conv, pooling and element-wise lowerings share."""

from collections.abc import Iterable

from hpu.compiler.context import Context, counts, strides
from hpu.compiler.emit import Memory, Span
from hpu.compiler.ir import Binary, Mul, Quant, Sub
from hpu.compiler.tiling import Region, View
from hpu.hw.isa import Operand, Reduce
from hpu.runtime.layout import Block
from hpu.sim.numerics import encode_add, encode_multiply

__all__ = ["addition", "combination", "emit_vector", "extents"]


def extents(view: View, part: Region) -> list[Span]:
    """Unified-buffer spans that cover ``part`` of a view."""
    return [Span(Memory.UB, *extent) for extent in view.extents(part)]


def addition(own: Quant, other: Quant, result: Quant) -> dict[str, int]:
    """The fields that add a second operand.

    Raises
    ------
    ValueError
        When the scales lie too far apart.
    """
    own_mult, other_mult, shift = encode_add(
        float(own.scale), float(other.scale), float(result.scale)
    )
    return {
        "operand": int(Operand.ADD),
        "s_zero": own.zero,
        "b_zero": other.zero,
        "out_zero": result.zero,
        "s_mult": own_mult,
        "b_mult": other_mult,
        "shift": shift,
    }


def combination(op: Binary) -> dict[str, int]:
    """The fields that bring the two operands of ``op`` together.

    Raises
    ------
    ValueError
        When the scales of a sum or difference lie too far apart.
    """
    own, other, result = op.x.quant, op.y.quant, op.result
    fields = addition(own, other, result) if not isinstance(op, Mul) else {}
    if isinstance(op, Sub):
        return fields | {"b_mult": -fields["b_mult"]}
    if not isinstance(op, Mul):
        return fields
    mult, shift = encode_multiply(float(own.scale), float(other.scale), float(result.scale))
    return {
        "operand": int(Operand.MUL),
        "s_zero": own.zero,
        "b_zero": other.zero,
        "out_zero": result.zero,
        "s_mult": mult,
        "shift": shift,
    }


def emit_vector(
    context: Context,
    block: Block,
    view: View,
    part: Region,
    reads: Iterable[Span],
    fields: dict[str, int],
    second: View | None = None,
) -> None:
    """Emit a VECTOR that writes ``part`` of ``view``, the result's channel block ``block``.

    ``fields`` say what it computes, and ``reads`` what its first operand reads; ``second`` is the
    view of its second operand. Unless ``fields`` say otherwise, whole words are written, side by
    side as often as they fit.
    """
    all_reads = [*reads, *_constants(fields)]
    whole = {"d_width": block.width, "d_copies": context.config.groups // block.width}
    values = _DEFAULTS | whole | fields
    if view.group is not None:
        values |= {"d_group": view.group + values.get("d_group", 0), "d_copies": 1}
    if second is not None:
        values |= strides("b", second, part)
        all_reads += extents(second, part)
    context.emitter.emit(
        "VECTOR",
        all_reads,
        extents(view, part),
        **counts(part),
        **strides("d", view, part),
        **values,
    )


_DEFAULTS = {"ky_count": 1, "kx_count": 1, "image_rows": 1, "image_cols": 1}


def _constants(fields: dict[str, int]) -> list[Span]:
    spans = []
    if fields.get("reduce") == Reduce.DOT:
        sets = -(-fields["ky_count"] * fields["kx_count"] // 8)
        spans.append(Span(Memory.PARAM, fields["weights"], fields["weights"] + sets))
    if fields.get("requantise"):
        spans.append(Span(Memory.PARAM, fields["params"], fields["params"] + 1))
    if fields.get("use_table"):
        spans.append(Span(Memory.TABLE, fields["table"], fields["table"] + 1))
    return spans
