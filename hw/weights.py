"""The weights unit: weight tiles from DRAM or the unified buffer into the weight FIFO."""

import itertools

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out
from amaranth.utils import bits_for

from hpu.hw.config import Config
from hpu.hw.csr import FaultCause
from hpu.hw.isa import BY_NAME, TileSource
from hpu.hw.ports import UB_READ_LATENCY, UbRead, UnitPort, WeightRows
from hpu.hw.queues import RegisterQueue
from hpu.hw.read_port import ReadClient, ReadEngine, read_depth
from hpu.hw.rows import RowGather, chunk_at
from hpu.hw.runs import RowWalk, RunGenerator, pitch_of, row_beats_of, run_beats_bits

__all__ = ["WeightsUnit"]

#: Tiles asked for and not yet complete.
_AHEAD = 4


def _tile_layout(config: Config) -> data.StructLayout:
    return data.StructLayout(
        {
            "rows": unsigned(16),
            "width": unsigned(bits_for(config.groups)),
            "buffered": unsigned(1),
            "base": unsigned(24),
            "pc": unsigned(32),
        }
    )


class WeightsUnit(wiring.Component):
    """Executes WEIGHTS.

    Asks for a tile's beats when the weight FIFO has a place for it, ahead of earlier tiles' data;
    so what arrives never waits. A row of R beats takes R cycles; narrower rows one cycle each. A
    tile from the unified buffer comes after the tiles before it are complete, a row a cycle where
    nobody else reads its segment. ``row`` pulses once per row. ``blocked``: nothing is in
    progress, and what comes next waits for a place.
    """

    def __init__(self, *, config: Config):
        self._config = config
        super().__init__(
            {
                "unit": Out(UnitPort(BY_NAME["WEIGHTS"])),
                "client": Out(ReadClient(config)),
                "ub_read": Out(UbRead(config)),
                "weights": Out(WeightRows(config)),
                "row": Out(1),
                "blocked": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, unit = self._config, self.unit
        self._coming = Signal()  # rows of a buffered tile are on their way
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
        coming = self._read(m, tile, walk, halted)
        self._write(m, tile, walk, gather, coming, halted)
        self._fault(m, tile, walk, gather, engine.overflow, halted)
        self._busy(m, engine.idle, full)
        return m

    def _accept(self, m, loops, tiles, halted):
        """Accept an instruction with a place in the weight FIFO; gives whether there is none."""
        unit, instr = self.unit, self.unit.instr
        buffered = instr.p.source == TileSource.UB
        places = Signal(range(self._config.weight_tiles + 1), init=self._config.weight_tiles)
        open_, taken = Signal(), Signal()
        m.d.comb += [
            open_.eq(~halted & ~unit.stop & (places != 0)),
            instr.ready.eq((loops.ready | buffered) & tiles.ready & open_),
            loops.valid.eq(instr.valid & ~buffered & tiles.ready & open_),
            tiles.valid.eq(instr.valid & (loops.ready | buffered) & open_),
            taken.eq(instr.valid & instr.ready),
            loops.p.dram.eq(instr.p.dram),
            loops.p.n_count.eq(1),
            loops.p.y_count.eq(1),
            loops.p.x_count.eq(instr.p.rows),
            loops.p.width.eq(instr.p.width),
            loops.p.pc.eq(instr.p.pc),
            tiles.p.rows.eq(instr.p.rows),
            tiles.p.width.eq(instr.p.width),
            tiles.p.buffered.eq(buffered),
            tiles.p.base.eq(instr.p.a_base),
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
            walk.loop.p.base.eq(head.p.base),
            walk.loop.p.x.eq(1),
            gather.enable.eq(walk.active & ~tile.buffered),
            gather.slots.eq(slots),
            gather.keep.eq(walk.keep),
            gather.final.eq(walk.ends),
        ]
        with m.If(head.valid & head.ready):
            m.d.sync += [tile.eq(head.payload), slots.eq(row_beats_of(config, pitch) - 1)]
        return tile

    def _read(self, m, tile, walk, halted):
        """Read a buffered tile's words; the last stage of what is on its way."""
        ub, stop = self.ub_read, self.unit.stop
        layout = data.StructLayout({"valid": 1, "last": 1, "width": tile.width.shape()})
        stages = [Signal(layout, name=f"read_{k}") for k in range(UB_READ_LATENCY)]
        m.d.comb += [
            ub.valid.eq(walk.active & tile.buffered & self._is_inside(walk) & ~halted & ~stop),
            ub.addr.eq(walk.addr),
        ]
        m.d.sync += [
            stages[0].valid.eq(ub.valid & ub.ready),
            stages[0].last.eq(walk.ends),
            stages[0].width.eq(tile.width),
        ]
        for earlier, later in itertools.pairwise(stages):
            m.d.sync += later.eq(earlier)
        with m.If(stop):
            m.d.sync += [stage.valid.eq(0) for stage in stages]
        m.d.comb += self._coming.eq(Cat(stage.valid for stage in stages).any())
        return stages[-1]

    def _is_inside(self, walk):
        return walk.addr < self._config.ub_depth

    def _write(self, m, tile, walk, gather, read, halted):
        """Rows from DRAM, once earlier rows from the buffer have come, and those."""
        weights, take = self.weights, Signal()
        m.d.comb += [
            take.eq(gather.valid & walk.active & ~tile.buffered & ~self._coming & ~halted),
            gather.take.eq(take),
            walk.step.eq(take | (self.ub_read.valid & self.ub_read.ready)),
            self.row.eq((take & ~gather.error) | read.valid),
            self.unit.done.eq(weights.valid & weights.last),
        ]
        m.d.sync += weights.valid.eq((take & ~gather.error) | read.valid)
        with m.If(take):
            m.d.sync += weights.last.eq(walk.ends)
            m.d.sync += weights.data.eq(self._row(tile, walk, gather))
        with m.If(read.valid):
            m.d.sync += weights.last.eq(read.last)
            m.d.sync += weights.data.eq(self._word(read))
        with m.If(self.unit.stop):
            m.d.sync += weights.valid.eq(0)

    def _fault(self, m, tile, walk, gather, overflow, halted):
        unit, failed, outside = self.unit, Signal(), Signal()
        fetching = walk.active & ~tile.buffered
        m.d.comb += [
            failed.eq((gather.take & gather.error) | (overflow & fetching & ~gather.valid)),
            outside.eq(walk.active & tile.buffered & ~self._is_inside(walk)),
        ]
        with m.If(~halted & ~self._coming & (failed | outside)):
            m.d.sync += [
                halted.eq(1),
                unit.fault.valid.eq(1),
                unit.fault.cause.eq(Mux(failed, FaultCause.AXI, FaultCause.ADDRESS)),
                unit.fault.pc.eq(tile.pc),
            ]
        with m.If(unit.stop):
            m.d.sync += [halted.eq(0), unit.fault.valid.eq(0)]

    def _word(self, read):
        """The word's chunks, zero beyond the tile's width."""
        group = 8 * self._config.group
        chunks = (self.ub_read.data.word_select(k, group) for k in range(self._config.col_groups))
        return Cat(Mux(read.width > k, chunk, 0) for k, chunk in enumerate(chunks))

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
