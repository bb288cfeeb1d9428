"""Signatures and layouts that two or more blocks share. The direction is the named user's."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, Signature
from amaranth.utils import bits_for, ceil_log2

from hpu.hw import csr
from hpu.hw.config import Config
from hpu.hw.isa import Instruction

__all__ = [
    "ACC_READ_LATENCY",
    "UB_READ_LATENCY",
    "AccRead",
    "LoadWrite",
    "MatrixRead",
    "UbRead",
    "UbWrite",
    "UnitPort",
    "WeightRows",
    "acc_address",
    "instruction_layout",
    "ub_address",
]

#: Cycles from an accepted unified-buffer read to its data.
UB_READ_LATENCY = 3
#: Cycles from an accepted accumulator read by the vector unit to its data.
ACC_READ_LATENCY = 3


def ub_address(config: Config) -> int:
    """Bits of a unified-buffer word address."""
    return ceil_log2(config.ub_depth)


def acc_address(config: Config) -> int:
    """Bits of an accumulator word address; the lowest two choose the memory."""
    return ceil_log2(config.acc_depth)


def instruction_layout(entry: Instruction) -> data.StructLayout:
    """A unit's own fields at their full types, and the instruction's index ``pc``."""
    fields = {
        field.name: signed(8 * field.size) if field.signed else unsigned(8 * field.size)
        for field in entry.own
    }
    return data.StructLayout({"pc": unsigned(32), **fields})


class UnitPort(Signature):
    """A unit's side of the dispatcher.

    ``instr`` gives instructions whose tokens have been taken, legal by the ISA table. ``done``
    pulses once an instruction, in order, when all its effects are visible to every other unit.
    ``busy`` is high from acceptance to ``done``. ``fault`` carries the cause and the index of the
    instruction at fault, with ``valid`` high for at least one cycle; the unit then starts nothing
    more. ``stop`` asks a unit to start nothing more and forget what it was doing; it is held until
    every unit's ``busy`` is low and then released for the next program, so a unit must reach its
    initial state under it (a DMA unit first lets its outstanding AXI transactions end, discarding
    the data).
    """

    def __init__(self, entry: Instruction):
        super().__init__(
            {
                "instr": In(stream.Signature(instruction_layout(entry))),
                "done": Out(1),
                "busy": Out(1),
                "fault": Out(
                    data.StructLayout({"valid": 1, "cause": csr_cause_bits(), "pc": unsigned(32)})
                ),
                "stop": In(1),
            }
        )


def csr_cause_bits() -> int:
    """Bits of a fault cause."""
    return bits_for(max(csr.FaultCause))


class MatrixRead(Signature):
    """The matrix unit's reads: one address per row lane group, always accepted.

    Data of group g stands in bytes ``g*group …`` of ``data``, ``UB_READ_LATENCY`` cycles after
    ``en``; bytes of a group whose ``en`` bit was low are undefined.
    """

    def __init__(self, config: Config):
        super().__init__(
            {
                "en": Out(config.row_groups),
                "addr": Out(data.ArrayLayout(ub_address(config), config.row_groups)),
                "data": In(8 * config.rows),
            }
        )


class UbRead(Signature):
    """A whole-word read by the vector or store unit.

    A read is accepted in a cycle with ``valid`` and ``ready``; its data stands in ``data`` from
    ``UB_READ_LATENCY`` cycles later on, until that of the next read. ``ready`` may depend on
    ``addr`` in the same cycle.
    """

    def __init__(self, config: Config):
        super().__init__(
            {
                "valid": Out(1),
                "ready": In(1),
                "addr": Out(ub_address(config)),
                "data": In(8 * config.lanes),
            }
        )


class UbWrite(Signature):
    """A write of the lane groups in ``mask`` by the vector or load unit.

    It is done in a cycle with ``valid`` and ``ready``, and visible to a read accepted in any later
    cycle.
    """

    def __init__(self, config: Config):
        super().__init__(
            {
                "valid": Out(1),
                "ready": In(1),
                "addr": Out(ub_address(config)),
                "mask": Out(config.groups),
                "data": Out(8 * config.lanes),
            }
        )


class LoadWrite(Signature):
    """The load unit's writes to the vector unit's parameters and tables, always accepted.

    ``table`` selects the memory. A parameter set is 8 rows: row 8*set + k holds byte k of every
    column's record (bias int32, mantissa 24 bits, shift 8 bits; little endian). A table is 256
    rows: row 256*table + v holds every column's entry for the byte v.
    """

    def __init__(self, config: Config):
        super().__init__(
            {
                "valid": Out(1),
                "table": Out(1),
                "addr": Out(ceil_log2(max(8 * config.param_sets, 256 * config.tables))),
                "mask": Out(config.col_groups),
                "data": Out(8 * config.cols),
            }
        )


class AccRead(Signature):
    """The vector unit's reads of whole accumulator words (int32 per column).

    Accepted with ``valid`` and ``ready``; data ``ACC_READ_LATENCY`` cycles later, until the next.
    """

    def __init__(self, config: Config):
        super().__init__(
            {
                "valid": Out(1),
                "ready": In(1),
                "addr": Out(acc_address(config)),
                "data": In(32 * config.cols),
            }
        )


class WeightRows(Signature):
    """The weights unit's rows into the weight FIFO, row 0 first, always accepted.

    ``data`` has zeros beyond the tile's width. ``last`` marks the tile's last fetched row; the FIFO
    supplies zeros for the rows after it. ``free`` pulses when a tile's place becomes free; the
    writer starts with ``config.weight_tiles`` places and takes one per tile. ``flush`` empties the
    FIFO.
    """

    def __init__(self, config: Config):
        super().__init__(
            {
                "valid": Out(1),
                "last": Out(1),
                "data": Out(8 * config.cols),
                "free": In(1),
                "flush": Out(1),
            }
        )
