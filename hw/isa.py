"""The instruction set: one table from which everything that knows an instruction is derived.

The RTL decoder, the encoder and decoder, the assembler, the functional simulator, the random
program generator and ``docs/isa.md`` all come from ``INSTRUCTIONS``.

An instruction is 128 bytes, little endian. Every instruction starts with the fields of ``HEADER``;
its own fields follow, each at the next multiple of its own size. Unused bytes are zero.
"""

import enum
from collections.abc import Iterable, Iterator, Mapping

from hpu.hw.config import TAPS, Config
from hpu.hw.instruction import (
    HEADER,
    INSTRUCTION_BYTES,
    Field,
    Instruction,
    Opcode,
    Rule,
    Unit,
    choice,
    i8,
    i16,
    i32,
    u8,
    u16,
    u32,
    u64,
)
from hpu.hw.stream_rules import STREAM_RULES, STREAM_WINDOW

__all__ = [
    "ADDRESS_MASK",
    "BY_NAME",
    "BY_OPCODE",
    "HEADER",
    "INSTRUCTIONS",
    "INSTRUCTION_BYTES",
    "STREAM_WINDOW",
    "Field",
    "Instruction",
    "Opcode",
    "Operand",
    "Reduce",
    "Source",
    "Space",
    "TileSource",
    "Unit",
    "tap_fields",
    "tap_offsets",
    "violations",
]

#: Unified-buffer, parameter and table addresses are computed modulo 2**24.
ADDRESS_MASK = (1 << 24) - 1


class Space(enum.IntEnum):
    """Memories that LOAD writes."""

    UB = 0
    PARAM = 1
    TABLE = 2


class TileSource(enum.IntEnum):
    """Where WEIGHTS takes a tile from."""

    DRAM = 0
    UB = 1


class Source(enum.IntEnum):
    """Where VECTOR takes its first operand from."""

    ACC = 0
    UB = 1


class Reduce(enum.IntEnum):
    """How VECTOR reduces a window of its first operand."""

    NONE = 0
    MAX = 1
    SUM = 2
    DOT = 3


class Operand(enum.IntEnum):
    """What VECTOR does with its second operand."""

    NONE = 0
    ADD = 1
    MUL = 2


def _weights_outside(values: Mapping, config: Config) -> object:
    """A tap's weights beyond the parameter sets; windows are at most 255 by 255."""
    taps = (values["ky_count"] & 255) * (values["kx_count"] & 255)
    dot = values["reduce"] == int(Reduce.DOT)
    return dot & (8 * values["weights"] + taps > 8 * config.param_sets)


def _row_misaligned(values: Mapping, config: Config, name: str) -> object:
    """Low bits of a DRAM address or pitch that a row of ``width`` chunks does not allow."""
    result: object = 0
    for width in range(1, config.groups + 1):
        step = min(config.pitch_chunks(width), config.beat_chunks) * config.group
        result = result | ((values["width"] == width) & ((values[name] & (step - 1)) != 0))
    return result


def _aligned(name: str) -> Rule:
    return Rule(
        f"{name} is a multiple of the row's pitch, or of a beat where that is less",
        lambda values, config: _row_misaligned(values, config, name),
    )


_ALIGNED = tuple(_aligned(name) for name in ("dram", "dram_n", "dram_y"))

_COUNTS = (
    u16("n_count", "outermost loop count", low=1),
    u16("y_count", "middle loop count", low=1),
    u16("x_count", "innermost loop count", low=1),
)


def _strides(prefix: str, what: str) -> tuple[Field, ...]:
    return (
        u32(f"{prefix}_base", f"{what}: word of the first element", high=ADDRESS_MASK),
        i32(f"{prefix}_n", f"{what}: words per step of n"),
        i32(f"{prefix}_y", f"{what}: words per step of y"),
        i32(f"{prefix}_x", f"{what}: words per step of x"),
    )


_POSITION = (
    i16("y0", "image row at y = 0"),
    i16("x0", "image column at x = 0"),
    u8("y_step", "image rows per step of y"),
    u8("x_step", "image columns per step of x"),
)
_IMAGE = (
    u16("image_rows", "image rows; taps outside 0 … image_rows-1 are padding", low=1),
    u16("image_cols", "image columns; taps outside 0 … image_cols-1 are padding", low=1),
)
_WINDOW = (
    *_POSITION,
    u8("y_dilation", "image rows between taps"),
    u8("x_dilation", "image columns between taps"),
    *_IMAGE,
)
_TAPS = (
    *(i16(f"dy{tap}", "tap: image rows from the position") for tap in range(TAPS)),
    *(i16(f"dx{tap}", "tap: image columns from the position") for tap in range(TAPS)),
)


def tap_fields(offsets: Iterable[tuple[int, int]]) -> dict[str, int]:
    """MATMUL's fields ``taps``, ``dy`` and ``dx`` for the (dy, dx) of every tap."""
    fields = {"taps": 0}
    for tap, (dy, dx) in enumerate(offsets):
        fields |= {"taps": tap + 1, f"dy{tap}": dy, f"dx{tap}": dx}
    return fields


def tap_offsets(values: Mapping[str, int]) -> list[tuple[int, int]]:
    """(dy, dx) of every tap of a MATMUL."""
    return [(values[f"dy{tap}"], values[f"dx{tap}"]) for tap in range(values["taps"])]


def _beyond_taps(values: Mapping, config: Config) -> object:
    """A place of the tap table behind the last tap that is not zero."""
    result: object = 0
    for tap in range(1, TAPS):
        own = (values[f"dy{tap}"] != 0) | (values[f"dx{tap}"] != 0)
        result = result | ((values["taps"] < tap + 1) & own)
    return result


_DRAM = (
    u64("dram", "DRAM byte address of the first row", high=lambda c: (1 << c.addr_bits) - 1),
    u32("dram_n", "DRAM bytes per step of n"),
    u32("dram_y", "DRAM bytes per step of y"),
)


def _groups(config: Config) -> int:
    return config.groups


INSTRUCTIONS: tuple[Instruction, ...] = (
    Instruction(
        Opcode.LOAD,
        Unit.LOAD,
        "Copy rows of `width` chunks from DRAM into lane groups of a memory, "
        "`copies` times side by side.",
        (
            *_COUNTS,
            *_DRAM,
            choice("space", Space, "memory written"),
            u8("width", "chunks per row", low=1, high=_groups),
            u8("group", "first lane group written", high=lambda c: c.groups - 1),
            u8("copies", "times the row is written side by side", low=1, high=_groups),
            *_strides("d", "destination"),
        ),
        (
            *_ALIGNED,
            Rule(
                "group + width * copies is at most the lane groups",
                lambda v, c: v["group"] + v["width"] * v["copies"] > c.groups,
            ),
        ),
    ),
    Instruction(
        Opcode.WEIGHTS,
        Unit.WEIGHTS,
        "Take one weight tile of `rows` rows by `width` chunks into the weight FIFO; "
        "the rest of the tile is zero.",
        (
            u64("dram", "DRAM byte address of row 0", high=lambda c: (1 << c.addr_bits) - 1),
            u16("rows", "rows fetched", low=1, high=lambda c: c.rows),
            u8("width", "chunks per row", low=1, high=lambda c: c.col_groups),
            choice("source", TileSource, "where the tile is"),
            u32("a_base", "source UB: word of row 0", high=ADDRESS_MASK),
        ),
        (
            Rule(
                "dram is a multiple of a beat",
                lambda v, c: (v["dram"] & (c.axi_bytes - 1)) != 0,
            ),
        ),
    ),
    Instruction(
        Opcode.MATMUL,
        Unit.MATRIX,
        "Stream activation rows through the array and write or add the partial sums "
        "to the accumulators.",
        (
            *_COUNTS,
            *_strides("a", "activations"),
            *_POSITION,
            *_IMAGE,
            u8("taps", "taps side by side in the rows", low=1, high=lambda c: c.row_groups),
            u8("tap_groups", "lane groups per tap", low=1, high=lambda c: c.row_groups),
            i32("tap_y", "words per image row of a tap"),
            i32("tap_x", "words per image column of a tap"),
            i8("pad", "activation that padding supplies: the zero point"),
            u8("new_weights", "1: first move on to the next tile of the weight FIFO", high=1),
            u8("accumulate", "1: add to the accumulators; 0: overwrite them", high=1),
            u16("acc", "first accumulator word", high=lambda c: c.acc_depth - 1),
            *_TAPS,
        ),
        (
            Rule(
                "taps * tap_groups is at most the row groups",
                lambda v, c: v["taps"] * v["tap_groups"] > c.row_groups,
            ),
            Rule("dy and dx beyond the taps are zero", _beyond_taps),
        ),
    ),
    Instruction(
        Opcode.VECTOR,
        Unit.VECTOR,
        "Take accumulators or windows of the unified buffer, requantise, combine, activate, "
        "and write back.",
        (
            choice("source", Source, "first operand"),
            choice("reduce", Reduce, "reduction over the window"),
            u8("requantise", "1: add bias and requantise; 0: saturate to int8", high=1),
            choice("operand", Operand, "use of the second operand"),
            u8("use_table", "1: look the clipped result up in a table", high=1),
            *_COUNTS,
            u16("ky_count", "window rows", low=1),
            u16("kx_count", "window columns", low=1),
            *_strides("a", "first operand"),
            i32("a_ky", "first operand: words per window row"),
            i32("a_kx", "first operand: words per window column"),
            *_WINDOW,
            *_strides("b", "second operand"),
            *_strides("d", "destination"),
            u8("d_group", "first lane group written", high=lambda c: c.groups - 1),
            u8("d_width", "lane groups written per copy", low=1, high=lambda c: c.col_groups),
            u8("d_copies", "times the row is written side by side", low=1, high=_groups),
            u8(
                "s_group", "lane group of the result written first", high=lambda c: c.col_groups - 1
            ),
            u8("params", "parameter set of bias and scale", high=lambda c: c.param_sets - 1),
            u8("table", "table", high=lambda c: c.tables - 1),
            i8("low", "least result before the table"),
            i8("high", "greatest result before the table"),
            i8("a_zero", "subtracted from every element read from the unified buffer"),
            i8("zero", "zero point added by requantisation"),
            i8("s_zero", "ADD, MUL: subtracted from the requantised value"),
            i8("b_zero", "ADD, MUL: subtracted from the second operand"),
            i8("out_zero", "ADD, MUL: added to the rounded sum or product"),
            u8("shift", "ADD, MUL: right shift of the sum or product, to nearest even", high=31),
            i32(
                "s_mult",
                "ADD: multiplier of the requantised value; MUL: of the product",
                low=-(1 << 22),
                high=(1 << 22) - 1,
            ),
            i32(
                "b_mult",
                "ADD: multiplier of the second operand",
                low=-(1 << 22),
                high=(1 << 22) - 1,
            ),
            u8(
                "weights",
                "DOT: parameter set whose first row is the first tap's weights",
                high=lambda c: c.param_sets - 1,
            ),
            u8("stream", "1: read every word under the windows once, row after row", high=1),
        ),
        (
            Rule(
                "d_group + d_width * d_copies is at most the lane groups",
                lambda v, c: v["d_group"] + v["d_width"] * v["d_copies"] > c.groups,
            ),
            Rule(
                "s_group + d_width is at most the column groups",
                lambda v, c: v["s_group"] + v["d_width"] > c.col_groups,
            ),
            Rule(
                "only a reduction has a window of more than one element",
                lambda v, c: (
                    (v["reduce"] == int(Reduce.NONE))
                    & ((v["ky_count"] != 1) | (v["kx_count"] != 1))
                ),
            ),
            Rule(
                "MUL: s_mult is -32768 … 32767",
                lambda v, c: (
                    (v["operand"] == int(Operand.MUL))
                    & ((v["s_mult"] < -(1 << 15)) | (v["s_mult"] > (1 << 15) - 1))
                ),
            ),
            Rule(
                "accumulators are not reduced",
                lambda v, c: (v["source"] == int(Source.ACC)) & (v["reduce"] != int(Reduce.NONE)),
            ),
            Rule(
                "DOT: ky_count and kx_count are at most 255",
                lambda v, c: (
                    (v["reduce"] == int(Reduce.DOT))
                    & ((v["ky_count"] > 255) | (v["kx_count"] > 255))
                ),
            ),
            Rule(
                "DOT: 8 * weights + ky_count * kx_count is at most the rows of the parameter sets",
                _weights_outside,
            ),
            Rule(
                "streaming: a reduction without second operand",
                lambda v, c: (
                    (v["stream"] == 1)
                    & ((v["reduce"] == int(Reduce.NONE)) | (v["operand"] != int(Operand.NONE)))
                ),
            ),
            *STREAM_RULES,
        ),
    ),
    Instruction(
        Opcode.STORE,
        Unit.STORE,
        "Copy rows of `width` chunks from lane groups of the unified buffer to DRAM.",
        (
            *_COUNTS,
            *_DRAM,
            u8("width", "chunks per row", low=1, high=_groups),
            u8("group", "first lane group read", high=lambda c: c.groups - 1),
            *_strides("a", "unified buffer"),
        ),
        (
            *_ALIGNED,
            Rule(
                "group + width is at most the lane groups",
                lambda v, c: v["group"] + v["width"] > c.groups,
            ),
        ),
    ),
)

BY_OPCODE: dict[int, Instruction] = {int(entry.opcode): entry for entry in INSTRUCTIONS}
BY_NAME: dict[str, Instruction] = {entry.name: entry for entry in INSTRUCTIONS}


def violations(data: bytes, config: Config) -> Iterator[str]:
    """Every reason why 128 bytes are an illegal instruction for ``config``, as sentences."""
    entry = BY_OPCODE.get(data[0])
    if entry is None:
        yield f"opcode must be one of {', '.join(map(str, BY_OPCODE))}, not {data[0]}"
        return
    values = entry.decode(data)
    if entry.encode(values) != bytes(data):
        yield f"{entry.name} has bytes set outside its fields"
    for field in entry.fields[1:]:
        low, high = field.bounds(config)
        if not low <= values[field.name] <= high:
            yield f"{entry.name}.{field.name} must be {low} … {high}, not {values[field.name]}"
    for rule in entry.rules:
        if rule.broken(values, config):
            yield f"{entry.name}: must hold: {rule.doc}"
