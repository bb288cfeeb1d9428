"""The load unit: rows from DRAM into the unified buffer, parameters or tables."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hpu.hw.config import Config
from hpu.hw.csr import FaultCause
from hpu.hw.isa import BY_NAME, Space
from hpu.hw.plan import LoadPlanner, plan_layout
from hpu.hw.ports import LoadWrite, UbWrite, UnitPort, instruction_layout
from hpu.hw.queues import MemoryQueue
from hpu.hw.read_port import ReadClient, ReadEngine, read_depth
from hpu.hw.rows import RowGather, chunk_at
from hpu.hw.runs import RowWalk, RunGenerator, run_beats_bits

__all__ = ["LoadUnit"]

#: Instructions accepted and not done: their bursts run ahead of the data.
_AHEAD = 6


class LoadUnit(wiring.Component):
    """Executes LOAD.

    Bursts of later instructions are asked for while earlier data arrive. Writes one word a cycle at
    most: a row of R beats takes R cycles, R rows of one beat take R cycles. ``row`` pulses once per
    row. ``ub_write`` waits only for the unified buffer's ``ready``.
    """

    def __init__(self, *, config: Config):
        self._config = config
        super().__init__(
            {
                "unit": Out(UnitPort(BY_NAME["LOAD"])),
                "client": Out(ReadClient(config)),
                "ub_write": Out(UbWrite(config)),
                "load": Out(LoadWrite(config)),
                "row": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, unit = self._config, self.unit
        reset = ResetInserter(unit.stop)
        generator = RunGenerator(config=config)
        engine = ReadEngine(
            config=config, beats_bits=run_beats_bits(config), depth=read_depth(config)
        )
        pending = MemoryQueue(shape=instruction_layout(BY_NAME["LOAD"]), depth=_AHEAD)
        planner = LoadPlanner(config=config)
        walk = RowWalk(config=config)
        gather = RowGather(config=config, row_bytes=config.lanes)
        m.submodules.engine = engine
        for name, block in {
            "generator": generator,
            "pending": pending,
            "planner": planner,
            "walk": walk,
            "gather": gather,
        }.items():
            m.submodules[name] = reset(block)
        wiring.connect(m, generator.runs, engine.runs)
        wiring.connect(m, engine.client, wiring.flipped(self.client))
        wiring.connect(m, engine.beats, gather.beats)
        wiring.connect(m, pending.o, planner.instr)
        m.d.comb += engine.stop.eq(unit.stop)
        halted = Signal()
        self._accept(m, generator.loops, pending.i, halted)
        present = self._present(m, planner.plan, walk, gather)
        self._write(m, present, walk, gather, engine.overflow, halted)
        self._busy(m, engine.idle)
        return m

    def _accept(self, m, loops, pending, halted):
        """Hand each instruction to the run generator and to the planner's queue at once."""
        instr = self.unit.instr
        open_ = Signal()
        m.d.comb += [
            open_.eq(~halted & ~self.unit.stop),
            instr.ready.eq(loops.ready & pending.ready & open_),
            loops.valid.eq(instr.valid & pending.ready & open_),
            pending.valid.eq(instr.valid & loops.ready & open_),
            pending.payload.eq(instr.payload),
        ]
        for name in loops.p.shape().members:
            m.d.comb += loops.p[name].eq(instr.p[name])

    def _present(self, m, plan, walk, gather):
        """The plan being executed."""
        present = Signal(plan_layout(self._config))
        m.d.comb += [
            walk.loop.valid.eq(plan.valid),
            walk.loop.payload.eq(plan.p.walk),
            plan.ready.eq(walk.loop.ready),
            gather.enable.eq(walk.active),
            gather.slots.eq(present.slots),
            gather.keep.eq(walk.keep),
            gather.final.eq(walk.ends),
        ]
        with m.If(plan.valid & plan.ready):
            m.d.sync += present.eq(plan.payload)
        return present

    def _write(self, m, present, walk, gather, overflow, halted):
        config, unit = self._config, self.unit
        full, to_ub, ends = Signal(), Signal(), Signal()
        beyond, bad, take, accepted = Signal(), Signal(), Signal(), Signal()
        limits = {
            Space.UB: config.ub_depth,
            Space.PARAM: 8 * config.param_sets,
            Space.TABLE: 256 * config.tables,
        }
        with m.Switch(present.space):
            for space, limit in limits.items():
                with m.Case(space):
                    m.d.comb += beyond.eq(walk.addr >= limit)
        m.d.comb += [
            self.load.mask.eq(self.ub_write.mask),
            self.load.data.eq(self.ub_write.data),
            self.ub_write.valid.eq(full & to_ub),
            self.load.valid.eq(full & ~to_ub),
            accepted.eq(full & (~to_ub | self.ub_write.ready)),
            take.eq(gather.valid & walk.active & (~full | accepted) & ~halted),
            bad.eq(gather.error | beyond),
            gather.take.eq(take),
            walk.step.eq(take),
            self.row.eq(take & ~bad),
        ]
        m.d.sync += unit.done.eq(accepted & ends)
        with m.If(accepted):
            m.d.sync += full.eq(0)
        with m.If(take):
            m.d.sync += [full.eq(~bad), ends.eq(walk.ends), to_ub.eq(present.space == Space.UB)]
            self._row(m, present, walk, gather)
        beyond_dram = overflow & walk.active & ~gather.valid
        with m.If(~halted & ((take & bad) | beyond_dram)):
            cause = Mux(gather.error | beyond_dram, FaultCause.AXI, FaultCause.ADDRESS)
            m.d.sync += [
                halted.eq(1),
                unit.fault.valid.eq(1),
                unit.fault.cause.eq(cause),
                unit.fault.pc.eq(present.pc),
            ]
        with m.If(unit.stop):
            m.d.sync += [full.eq(0), halted.eq(0), unit.fault.valid.eq(0), unit.done.eq(0)]

    def _row(self, m, present, walk, gather):
        """Place the row's chunks in their lane groups."""
        config, word = self._config, self.ub_write
        chunks = [
            chunk_at(config, gather.row, present.select[g] | walk.offset)
            for g in range(config.groups)
        ]
        m.d.sync += [
            word.addr.eq(walk.addr),
            word.mask.eq(present.mask),
            word.data.eq(Cat(chunks)),
            self.load.table.eq(present.space == Space.TABLE),
            self.load.addr.eq(walk.addr),
        ]

    def _busy(self, m, idle):
        unit = self.unit
        count = Signal(range(_AHEAD + 4))
        m.d.comb += unit.busy.eq((count != 0) | ~idle)
        m.d.sync += count.eq(count + (unit.instr.valid & unit.instr.ready) - unit.done)
        with m.If(unit.stop):
            m.d.sync += count.eq(0)
