"""The store unit: rows from the unified buffer to DRAM."""

import itertools

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out
from amaranth.utils import bits_for

from hpu.hw.axi import AxiWrite, BurstSplitter
from hpu.hw.config import Config
from hpu.hw.csr import FaultCause
from hpu.hw.isa import BY_NAME
from hpu.hw.plan import chunk_field
from hpu.hw.ports import UB_READ_LATENCY, UbRead, UnitPort
from hpu.hw.queues import MemoryQueue
from hpu.hw.rows import RowScatter, chunk_at, scatter_layout
from hpu.hw.runs import RowWalk, RunGenerator, pitch_of, run_beats_bits
from hpu.hw.write_port import WritePort

__all__ = ["StoreUnit"]

#: Rows read from the unified buffer and not yet cut into beats.
_ROWS = 8
#: Instructions accepted and not done.
_AHEAD = 4


def _place_layout(config: Config) -> data.StructLayout:
    """What goes with a row on its way from the unified buffer to the scatter."""
    return data.StructLayout(
        {
            "group": unsigned(max(1, (config.groups - 1).bit_length())),
            "width": unsigned(bits_for(config.groups)),
            "offset": unsigned((config.beat_chunks - 1).bit_length()),
            "keep": unsigned(1),
        }
    )


class StoreUnit(wiring.Component):
    """Executes STORE.

    Reads one word a cycle at most, as the write port takes the beats; later instructions' reads and
    bursts run ahead of earlier responses. ``done`` comes after the instruction's last write
    response. ``row`` pulses once per row, ``beat`` once per data beat.
    """

    def __init__(self, *, config: Config):
        self._config = config
        super().__init__(
            {
                "unit": Out(UnitPort(BY_NAME["STORE"])),
                "ub_read": Out(UbRead(config)),
                "axi": Out(AxiWrite(config)),
                "row": Out(1),
                "beat": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, unit = self._config, self.unit
        reset = ResetInserter(unit.stop)
        generator = RunGenerator(config=config)
        split = BurstSplitter(config=config, beats_bits=run_beats_bits(config))
        walk = RowWalk(config=config)
        rows = MemoryQueue(shape=scatter_layout(config), depth=_ROWS + 1)
        scatter = RowScatter(config=config)
        m.submodules.port = port = WritePort(config=config)
        for name, block in {
            "generator": generator,
            "split": split,
            "walk": walk,
            "rows": rows,
            "scatter": scatter,
        }.items():
            m.submodules[name] = reset(block)
        wiring.connect(m, generator.runs, split.runs)
        wiring.connect(m, split.bursts, port.bursts)
        wiring.connect(m, rows.o, scatter.rows)
        wiring.connect(m, scatter.beats, port.beats)
        wiring.connect(m, port.axi, wiring.flipped(self.axi))
        halted = Signal()
        m.d.comb += [port.stop.eq(unit.stop), self.beat.eq(port.counted)]
        m.d.comb += self.row.eq(scatter.rows.valid & scatter.rows.ready)
        present = self._accept(m, generator.loops, walk, port.idle, halted)
        outside = self._read(m, present, walk, rows, halted)
        self._end(m, present, port, split, outside, halted)
        return m

    def _accept(self, m, loops, walk, idle, halted):
        """Hand each instruction to the run generator and to the walk over its words at once."""
        config, unit, instr = self._config, self.unit, self.unit.instr
        open_, count = Signal(), Signal(range(_AHEAD + 1))
        taken = Signal()
        pitch = pitch_of(m, config, instr.p.width)
        m.d.comb += [
            open_.eq(~halted & ~unit.stop & (count != _AHEAD)),
            taken.eq(instr.valid & instr.ready),
            instr.ready.eq(loops.ready & walk.loop.ready & open_),
            loops.valid.eq(instr.valid & walk.loop.ready & open_),
            walk.loop.valid.eq(instr.valid & loops.ready & open_),
            walk.loop.p.base.eq(instr.p.a_base),
            walk.loop.p.pitch.eq(pitch),
            unit.busy.eq((count != 0) | ~idle),
        ]
        for name in loops.p.shape().members:
            m.d.comb += loops.p[name].eq(instr.p[name])
        for axis in "nyx":
            m.d.comb += walk.loop.p[f"{axis}_count"].eq(instr.p[f"{axis}_count"])
            m.d.comb += walk.loop.p[axis].eq(instr.p[f"a_{axis}"])
        for name, field in (("chunk", "dram"), ("chunk_n", "dram_n"), ("chunk_y", "dram_y")):
            m.d.comb += walk.loop.p[name].eq(chunk_field(config, instr.p[field]))
        present = Signal(
            data.StructLayout({"group": unsigned(8), "width": unsigned(8), "pc": unsigned(32)})
        )
        with m.If(taken):
            m.d.sync += [present[name].eq(instr.p[name]) for name in ("group", "width", "pc")]
        m.d.sync += count.eq(count + taken - unit.done)
        with m.If(unit.stop):
            m.d.sync += count.eq(0)
        return present

    def _read(self, m, present, walk, rows, halted):
        """Read words while there is room for their rows; gives whether the word is out of range."""
        config, ub, stop = self._config, self.ub_read, self.unit.stop
        reading, inside, outside = Signal(), Signal(), Signal()
        flying = Signal(range(_ROWS + 1))
        pipe = [Signal(_place_layout(config), name=f"place{k}") for k in range(UB_READ_LATENCY)]
        moving = Signal(UB_READ_LATENCY)
        m.d.comb += [
            inside.eq(walk.addr < config.ub_depth),
            reading.eq(walk.active & ~halted & ~stop & (flying + rows.level < _ROWS)),
            outside.eq(reading & ~inside),
            ub.valid.eq(reading & inside),
            ub.addr.eq(walk.addr),
            walk.step.eq(ub.valid & ub.ready),
        ]
        m.d.sync += moving.eq(Cat(walk.step, moving[:-1]))
        m.d.sync += [
            pipe[0].group.eq(present.group),
            pipe[0].width.eq(present.width),
            pipe[0].offset.eq(walk.offset),
            pipe[0].keep.eq(walk.keep),
        ]
        for earlier, later in itertools.pairwise(pipe):
            m.d.sync += later.eq(earlier)
        arrived = self._align(m, rows, pipe[-1], moving[-1])
        m.d.sync += flying.eq(flying + walk.step - arrived)
        with m.If(stop):
            m.d.sync += [flying.eq(0), moving.eq(0)]
        return outside

    def _align(self, m, rows, place, valid):
        """Register the word with its wanted chunks moved to the front, then queue it."""
        config = self._config
        aligned, full = Signal(scatter_layout(config)), Signal()
        m.d.sync += full.eq(valid & ~self.unit.stop)
        with m.If(valid):
            bits = (config.groups - 1).bit_length()
            chunks = [
                chunk_at(config, self.ub_read.data, (place.group + k)[:bits])
                for k in range(config.groups)
            ]
            m.d.sync += aligned.row.eq(Cat(chunks))
            m.d.sync += [aligned[n].eq(place[n]) for n in ("width", "offset", "keep")]
        m.d.comb += [rows.i.valid.eq(full), rows.i.payload.eq(aligned)]
        return full

    def _end(self, m, present, port, split, outside, halted):
        """Report ends and the first fault; a burst out of range only after earlier ones."""
        unit, fault, overflow = self.unit, Signal(), Signal()
        m.d.comb += [
            overflow.eq(split.overflow & port.idle),
            unit.done.eq(port.done & ~halted),
            fault.eq(~halted & (port.failed | overflow | outside)),
        ]
        with m.If(fault):
            m.d.sync += [
                halted.eq(1),
                unit.fault.valid.eq(1),
                unit.fault.cause.eq(
                    Mux(port.failed | overflow, FaultCause.AXI, FaultCause.ADDRESS)
                ),
                unit.fault.pc.eq(present.pc),
            ]
            with m.If(port.failed):
                m.d.sync += unit.fault.pc.eq(port.failed_pc)
            with m.Elif(overflow):
                m.d.sync += unit.fault.pc.eq(split.bursts.p.pc)
        with m.If(unit.stop):
            m.d.sync += [halted.eq(0), unit.fault.valid.eq(0)]
