"""What LOAD prepares before its first row, hidden behind the instruction before."""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, exact_log2

from hpu.hw.config import Config
from hpu.hw.isa import BY_NAME
from hpu.hw.ports import instruction_layout
from hpu.hw.runs import pitch_of, row_beats_of, walk_layout

__all__ = ["LoadPlanner", "chunk_field", "plan_layout"]


def plan_layout(config: Config) -> data.StructLayout:
    """Loop over rows, chunk per lane group, lane groups written, beats per row - 1, memory."""
    chunk = unsigned(max(1, (config.groups - 1).bit_length()))
    return data.StructLayout(
        {
            "walk": walk_layout(config),
            "select": data.ArrayLayout(chunk, config.groups),
            "mask": unsigned(config.groups),
            "slots": unsigned(bits_for(config.lanes // config.axi_bytes - 1)),
            "space": unsigned(2),
            "pc": unsigned(32),
        }
    )


def chunk_field(config: Config, address: data.View) -> object:
    """The bits of a byte address that say which chunk of its beat it is."""
    return address[exact_log2(config.group) : exact_log2(config.axi_bytes)]


class LoadPlanner(wiring.Component):
    """Turns a LOAD instruction into a plan in ``groups`` + 1 cycles, one lane group a cycle."""

    def __init__(self, *, config: Config):
        self._config = config
        super().__init__(
            {
                "instr": In(stream.Signature(instruction_layout(BY_NAME["LOAD"]))),
                "plan": Out(stream.Signature(plan_layout(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, instr, plan = self._config, self.instr, self.plan
        group = Signal(range(config.groups))
        working = Signal()
        width, first, copies = Signal(bits_for(config.groups)), Signal(8), Signal(8)
        m.d.comb += instr.ready.eq(~working & (~plan.valid | plan.ready))
        with m.If(plan.ready):
            m.d.sync += plan.valid.eq(0)
        with m.If(instr.valid & instr.ready):
            m.d.sync += [working.eq(1), group.eq(0)]
            m.d.sync += [first.eq(instr.p.group), copies.eq(instr.p.copies)]
            m.d.sync += width.eq(instr.p.width)
            self._copy(m)
        with m.If(working):
            m.d.sync += group.eq(group + 1)
            with m.If(group == config.groups - 1):
                m.d.sync += [working.eq(0), plan.valid.eq(1)]
            self._place(m, group, first, copies, width)
        return m

    def _copy(self, m):
        config, instr, plan = self._config, self.instr.p, self.plan.p
        pitch = pitch_of(m, config, instr.width)
        m.d.sync += [
            plan.slots.eq(row_beats_of(config, pitch) - 1),
            plan.space.eq(instr.space),
            plan.pc.eq(instr.pc),
            plan.walk.pitch.eq(pitch),
            plan.walk.base.eq(instr.d_base),
        ]
        for axis in "nyx":
            m.d.sync += plan.walk[f"{axis}_count"].eq(instr[f"{axis}_count"])
            m.d.sync += plan.walk[axis].eq(instr[f"d_{axis}"])
        for name, field in (("chunk", "dram"), ("chunk_n", "dram_n"), ("chunk_y", "dram_y")):
            m.d.sync += plan.walk[name].eq(chunk_field(config, instr[field]))

    def _place(self, m, group, first, copies, width):
        """Shift in the choice of the next group: chunks 0 … width-1 in turn, ``copies`` times."""
        plan = self.plan.p
        select, bits = plan.select.as_value(), len(plan.select[0])
        index, taken = Signal(bits), Signal()
        m.d.comb += taken.eq((group >= first) & (copies != 0))
        m.d.sync += [
            select.eq(Cat(select[bits:], index)),
            plan.mask.eq(Cat(plan.mask[1:], taken)),
        ]
        with m.If(taken):
            m.d.sync += index.eq(index + 1)
            with m.If(index == width - 1):
                m.d.sync += [index.eq(0), copies.eq(copies - 1)]
