"""Rows from beats and beats from rows, by the DRAM pitch rule."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hpu.hw.config import Config
from hpu.hw.read_port import beat_layout

__all__ = ["RowGather", "RowScatter", "chunk_at", "scatter_layout", "write_beat_layout"]


def chunk_at(config: Config, row: Value, index: Value) -> Value:
    """Chunk ``index`` of a row."""
    return row.word_select(index, 8 * config.group)


class RowGather(wiring.Component):
    """Collects the beats of each row.

    While ``enable``, takes ``slots + 1`` beats for a row and offers them as ``row`` with ``valid``;
    ``error``: one of them came with an AXI error. ``take`` passes on to the next row: with ``keep``
    it is in the same beat and offered at once; else the next beats are taken, the first in the same
    cycle unless ``final`` says that the instruction has no more rows. One beat or one row a cycle.
    """

    def __init__(self, *, config: Config, row_bytes: int):
        self._config = config
        self._slots = -(-row_bytes // config.axi_bytes)
        super().__init__(
            {
                "beats": In(stream.Signature(beat_layout(config))),
                "slots": In(range(self._slots)),
                "enable": In(1),
                "keep": In(1),
                "final": In(1),
                "take": In(1),
                "valid": Out(1),
                "row": Out(8 * config.axi_bytes * self._slots),
                "error": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beats, slot = self.beats, Signal(range(self._slots))
        release, fill = Signal(), Signal()
        m.d.comb += [
            release.eq(self.take & ~self.keep),
            beats.ready.eq(self.enable & (~self.valid | (release & ~self.final))),
            fill.eq(beats.valid & beats.ready),
        ]
        with m.If(release):
            m.d.sync += self.valid.eq(0)
        with m.If(fill):
            m.d.sync += [
                self.error.eq(beats.p.error | (self.error & (slot != 0))),
                slot.eq(slot + 1),
            ]
            with m.If(slot == self.slots):
                m.d.sync += [self.valid.eq(1), slot.eq(0)]
            for k in range(self._slots):
                with m.If(slot == k):
                    place = self.row.word_select(k, 8 * self._config.axi_bytes)
                    m.d.sync += place.eq(beats.p.data)
        return m


def scatter_layout(config: Config) -> data.StructLayout:
    """``width`` chunks at ``offset`` of its beat; ``keep`` as in RowWalk."""
    return data.StructLayout(
        {
            "row": unsigned(8 * config.lanes),
            "width": unsigned((config.groups).bit_length()),
            "offset": unsigned(exact_log2(config.beat_chunks)),
            "keep": unsigned(1),
        }
    )


def write_beat_layout(config: Config) -> data.StructLayout:
    """One beat of write data with its byte strobes, one per chunk."""
    return data.StructLayout(
        {"data": unsigned(8 * config.axi_bytes), "strobe": unsigned(config.beat_chunks)}
    )


class RowScatter(wiring.Component):
    """Cuts rows into beats; rows narrower than a beat are gathered in one beat as long as ``keep``.

    One beat or one row a cycle. Chunks beyond a row's width have their strobes off.
    """

    def __init__(self, *, config: Config):
        self._config = config
        super().__init__(
            {
                "rows": In(stream.Signature(scatter_layout(config))),
                "beats": Out(stream.Signature(write_beat_layout(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, rows, beats = self._config, self.rows, self.beats
        step, count = config.beat_chunks, config.lanes // config.axi_bytes
        slot, ends, free = Signal(range(count)), Signal(), Signal()
        strobe = Signal(step)
        left = Signal(range(config.groups + 1))
        offset = rows.p.offset if step > 1 else Const(0, 1)
        part = rows.p.row.word_select(slot, 8 * config.axi_bytes)
        m.d.comb += [
            left.eq(rows.p.width - slot * step),
            strobe.eq(Cat(left > k for k in range(step)) << offset),
            ends.eq(left <= step),
            free.eq(~beats.valid | beats.ready),
            rows.ready.eq(free & ends),
        ]
        merge = Signal()  # the beat register holds earlier rows of the same beat
        with m.If(free):
            m.d.sync += beats.valid.eq(0)
            with m.If(rows.valid):
                m.d.sync += slot.eq(Mux(ends, 0, slot + 1))
                m.d.sync += beats.valid.eq(~(ends & rows.p.keep))
                m.d.sync += merge.eq(ends & rows.p.keep)
                m.d.sync += beats.p.strobe.eq(strobe | Mux(merge, beats.p.strobe, 0))
                self._chunks(m, part, offset)
        return m

    def _chunks(self, m, part, offset):
        """From the row's place on, chunk k of the beat is the row's chunk k - offset."""
        config = self._config
        for k in range(config.beat_chunks):
            with m.If(offset <= k):
                index = (Const(k) - offset)[: max(1, exact_log2(config.beat_chunks))]
                place = self.beats.p.data.word_select(k, 8 * config.group)
                m.d.sync += place.eq(chunk_at(config, part, index))
