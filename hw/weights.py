"""The weights unit: weight tiles from DRAM into the weight FIFO."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out
from amaranth.utils import bits_for

from hpu.hw.config import Config
from hpu.hw.csr import FaultCause
from hpu.hw.isa import BY_NAME
from hpu.hw.ports import UnitPort, WeightRows
from hpu.hw.queues import RegisterQueue
from hpu.hw.read_port import ReadClient, ReadEngine, read_depth
from hpu.hw.rows import RowGather, chunk_at
from hpu.hw.runs import RowWalk, RunGenerator, pitch_of, row_beats_of, run_beats_bits

__all__ = ["WeightsUnit"]

#: Tiles asked for and not yet complete.
_AHEAD = 4


def _tile_layout(config: Config) -> data.StructLayout:
    return data.StructLayout(
        {"rows": unsigned(16), "width": unsigned(bits_for(config.groups)), "pc": unsigned(32)}
    )


class WeightsUnit(wiring.Component):
    """Executes WEIGHTS.

    Asks for a tile's beats when the weight FIFO has a place for it, ahead of earlier tiles' data;
    so what arrives never waits. A row of R beats takes R cycles; narrower rows one cycle each.
    ``row`` pulses once per row. ``blocked``: nothing is in progress, and what comes next waits for
    a place.
    """

    def __init__(self, *, config: Config):
        self._config = config
        super().__init__(
            {
                "unit": Out(UnitPort(BY_NAME["WEIGHTS"])),
                "client": Out(ReadClient(config)),
                "weights": Out(WeightRows(config)),
                "row": Out(1),
                "blocked": Out(1),
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
        tiles = RegisterQueue(shape=_tile_layout(config), depth=_AHEAD)
        walk = RowWalk(config=config)
        gather = RowGather(config=config, row_bytes=config.cols)
        m.submodules.engine = engine
        for name, block in {
            "generator": generator,
            "tiles": tiles,
            "walk": walk,
            "gather": gather,
        }.items():
            m.submodules[name] = reset(block)
        wiring.connect(m, generator.runs, engine.runs)
        wiring.connect(m, engine.client, wiring.flipped(self.client))
        wiring.connect(m, engine.beats, gather.beats)
        m.d.comb += [engine.stop.eq(unit.stop), self.weights.flush.eq(unit.stop)]
        halted = Signal()
        full = self._accept(m, generator.loops, tiles.i, halted)
        tile = self._present(m, tiles.o, walk, gather)
        self._write(m, tile, walk, gather, engine.overflow, halted)
        self._busy(m, engine.idle, full)
        return m

    def _accept(self, m, loops, tiles, halted):
        """Accept an instruction with a place in the weight FIFO; gives whether there is none."""
        unit, instr = self.unit, self.unit.instr
        places = Signal(range(self._config.weight_tiles + 1), init=self._config.weight_tiles)
        open_, taken = Signal(), Signal()
        m.d.comb += [
            open_.eq(~halted & ~unit.stop & (places != 0)),
            instr.ready.eq(loops.ready & tiles.ready & open_),
            loops.valid.eq(instr.valid & tiles.ready & open_),
            tiles.valid.eq(instr.valid & loops.ready & open_),
            taken.eq(instr.valid & instr.ready),
            loops.p.dram.eq(instr.p.dram),
            loops.p.n_count.eq(1),
            loops.p.y_count.eq(1),
            loops.p.x_count.eq(instr.p.rows),
            loops.p.width.eq(instr.p.width),
            loops.p.pc.eq(instr.p.pc),
            tiles.p.rows.eq(instr.p.rows),
            tiles.p.width.eq(instr.p.width),
            tiles.p.pc.eq(instr.p.pc),
        ]
        m.d.sync += places.eq(places + self.weights.free - taken)
        with m.If(unit.stop):
            m.d.sync += places.eq(self._config.weight_tiles)
        return places == 0

    def _present(self, m, head, walk, gather):
        """The tile being received."""
        config = self._config
        tile = Signal(_tile_layout(config))
        slots = Signal.like(gather.slots)
        pitch = pitch_of(m, config, head.p.width)
        m.d.comb += [
            walk.loop.valid.eq(head.valid),
            head.ready.eq(walk.loop.ready),
            walk.loop.p.n_count.eq(1),
            walk.loop.p.y_count.eq(1),
            walk.loop.p.x_count.eq(head.p.rows),
            walk.loop.p.pitch.eq(pitch),
            gather.enable.eq(walk.active),
            gather.slots.eq(slots),
            gather.keep.eq(walk.keep),
            gather.final.eq(walk.ends),
        ]
        with m.If(head.valid & head.ready):
            m.d.sync += [tile.eq(head.payload), slots.eq(row_beats_of(config, pitch) - 1)]
        return tile

    def _write(self, m, tile, walk, gather, overflow, halted):
        unit, weights = self.unit, self.weights
        take, failed = Signal(), Signal()
        m.d.comb += [
            take.eq(gather.valid & walk.active & ~halted),
            gather.take.eq(take),
            walk.step.eq(take),
            self.row.eq(take & ~gather.error),
            failed.eq((take & gather.error) | (overflow & walk.active & ~gather.valid)),
            unit.done.eq(weights.valid & weights.last),
        ]
        m.d.sync += weights.valid.eq(take & ~gather.error)
        with m.If(take):
            m.d.sync += weights.last.eq(walk.ends)
            m.d.sync += weights.data.eq(self._row(tile, walk, gather))
        with m.If(~halted & failed):
            m.d.sync += [
                halted.eq(1),
                unit.fault.valid.eq(1),
                unit.fault.cause.eq(FaultCause.AXI),
                unit.fault.pc.eq(tile.pc),
            ]
        with m.If(unit.stop):
            m.d.sync += [weights.valid.eq(0), halted.eq(0), unit.fault.valid.eq(0)]

    def _row(self, tile, walk, gather):
        """The row's chunks, zero beyond its width; only the first beat can hold several rows."""
        config = self._config
        chunks = []
        for k in range(config.col_groups):
            index = (k | walk.offset) if k < config.beat_chunks else k
            chunks.append(Mux(tile.width > k, chunk_at(config, gather.row, index), 0))
        return Cat(chunks)

    def _busy(self, m, idle, full):
        unit = self.unit
        count = Signal(range(_AHEAD + 4))
        m.d.comb += unit.busy.eq((count != 0) | ~idle)
        m.d.comb += self.blocked.eq(unit.instr.valid & full & (count == 0))
        m.d.sync += count.eq(count + (unit.instr.valid & unit.instr.ready) - unit.done)
        with m.If(unit.stop):
            m.d.sync += count.eq(0)
