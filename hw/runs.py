"""DRAM runs and the loop over rows that LOAD, WEIGHTS and STORE share."""

from amaranth.hdl import Module, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, exact_log2

from hpu.hw.axi import run_layout
from hpu.hw.config import Config

__all__ = [
    "RowWalk",
    "RunGenerator",
    "loop_layout",
    "pitch_of",
    "row_beats_of",
    "run_beats_bits",
    "walk_layout",
]

_ADDRESS_BITS = 24


def run_beats_bits(config: Config) -> int:
    """Bits of the beats in one run: up to 65,535 rows of the widest pitch."""
    return 16 + bits_for(config.pitch_chunks(config.groups) // config.beat_chunks)


def pitch_of(m: Module, config: Config, width: Value) -> Value:
    """Chunks that a row of ``width`` chunks takes in DRAM, as a signal of ``m``."""
    pitch = Signal(range(config.pitch_chunks(config.groups) + 1), name="pitch")
    with m.Switch(width):
        for value in range(1, config.groups + 1):
            with m.Case(value):
                m.d.comb += pitch.eq(config.pitch_chunks(value))
    return pitch


def row_beats_of(config: Config, pitch: Value) -> Value:
    """Beats that hold one row of ``pitch`` chunks."""
    return (pitch + (config.beat_chunks - 1)) >> exact_log2(config.beat_chunks)


def loop_layout(config: Config) -> data.StructLayout:
    """Where the rows of one instruction lie in DRAM."""
    return data.StructLayout(
        {
            "dram": unsigned(config.addr_bits),
            "dram_n": unsigned(32),
            "dram_y": unsigned(32),
            "n_count": unsigned(16),
            "y_count": unsigned(16),
            "x_count": unsigned(16),
            "width": unsigned(bits_for(config.groups)),
            "pc": unsigned(32),
        }
    )


class RunGenerator(wiring.Component):
    """For every (n, y) of an instruction, the run of beats that holds its ``x_count`` rows.

    One run a cycle; the first a cycle after the loop was accepted.
    """

    def __init__(self, *, config: Config):
        self._config = config
        self._beats = unsigned(run_beats_bits(config))
        super().__init__(
            {
                "loops": In(stream.Signature(loop_layout(config))),
                "runs": Out(stream.Signature(run_layout(config, self._beats))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, loops, runs = self._config, self.loops, self.runs
        wide = max(config.addr_bits, 32) + 1
        n_addr, y_addr = Signal(wide), Signal(wide)
        n_left, y_left = Signal(16), Signal(16)
        loop = Signal(loop_layout(config))
        chunks = Signal(run_beats_bits(config) + exact_log2(config.beat_chunks))
        active, y_ends, ends = Signal(), Signal(), Signal()
        low, high = exact_log2(config.group), exact_log2(config.axi_bytes)
        total = chunks + y_addr[low:high] + (config.beat_chunks - 1)
        m.d.comb += [
            y_ends.eq(y_left == 1),
            ends.eq(y_ends & (n_left == 1)),
            runs.p.addr.eq(y_addr[: config.addr_bits]),
            runs.p.addr[-1].eq(y_addr[config.addr_bits :].any()),
            runs.p.beats.eq(total >> exact_log2(config.beat_chunks)),
            runs.p.last.eq(ends),
            runs.p.pc.eq(loop.pc),
            runs.valid.eq(active),
            # Not in the cycle of the last run: AXI's ready would reach as far as the tokens.
            loops.ready.eq(~active),
        ]
        next_n = n_addr + loop.dram_n
        with m.If(active & runs.ready):
            m.d.sync += y_left.eq(y_left - 1)
            m.d.sync += y_addr.eq(y_addr + loop.dram_y)
            with m.If(y_ends):
                m.d.sync += [y_left.eq(loop.y_count), n_left.eq(n_left - 1)]
                m.d.sync += [n_addr.eq(next_n), y_addr.eq(next_n)]
            with m.If(ends):
                m.d.sync += active.eq(0)
        pitch = pitch_of(m, config, loops.p.width)
        with m.If(loops.valid & loops.ready):
            m.d.sync += [
                active.eq(1),
                loop.eq(loops.payload),
                n_addr.eq(loops.p.dram),
                y_addr.eq(loops.p.dram),
                n_left.eq(loops.p.n_count),
                y_left.eq(loops.p.y_count),
                chunks.eq(loops.p.x_count * pitch),
            ]
        return m


def walk_layout(config: Config) -> data.StructLayout:
    """A loop over rows: counts, unified-buffer strides, and where in a beat its runs begin.

    ``chunk``, ``chunk_n`` and ``chunk_y`` are the DRAM address and its steps in chunks, modulo a
    beat.
    """
    chunk = unsigned(exact_log2(config.beat_chunks))
    return data.StructLayout(
        {
            "n_count": unsigned(16),
            "y_count": unsigned(16),
            "x_count": unsigned(16),
            "base": unsigned(_ADDRESS_BITS),
            "n": unsigned(_ADDRESS_BITS),
            "y": unsigned(_ADDRESS_BITS),
            "x": unsigned(_ADDRESS_BITS),
            "chunk": chunk,
            "chunk_n": chunk,
            "chunk_y": chunk,
            "pitch": unsigned(bits_for(config.pitch_chunks(config.groups))),
        }
    )


class RowWalk(wiring.Component):
    """Walks the rows of an instruction in loop order, one per ``step``.

    While ``active``, ``addr`` is the present row's word address (modulo 2**24), ``offset`` the
    chunk of its beat where it begins, ``keep`` says that the next row lies in the same beat,
    ``ends`` that it is the last row. ``loop`` is accepted while not active, or in the cycle of the
    last ``step``.
    """

    def __init__(self, *, config: Config):
        self._config = config
        super().__init__(
            {
                "loop": In(stream.Signature(walk_layout(config))),
                "step": In(1),
                "active": Out(1),
                "addr": Out(_ADDRESS_BITS),
                "offset": Out(exact_log2(config.beat_chunks)),
                "keep": Out(1),
                "ends": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        loop = Signal(walk_layout(self._config))
        lefts = {axis: Signal(16, name=f"{axis}_left") for axis in "nyx"}
        run_ends, y_ends = Signal(), Signal()
        m.d.comb += [
            run_ends.eq(lefts["x"] == 1),
            y_ends.eq(run_ends & (lefts["y"] == 1)),
            self.ends.eq(y_ends & (lefts["n"] == 1)),
            self.loop.ready.eq(~self.active | (self.step & self.ends)),
        ]
        with m.If(self.active & self.step):
            self._advance(m, loop, lefts, run_ends, y_ends)
            with m.If(self.ends):
                m.d.sync += self.active.eq(0)
        with m.If(self.loop.valid & self.loop.ready):
            m.d.sync += [self.active.eq(1), loop.eq(self.loop.payload)]
            m.d.sync += [
                left.eq(self.loop.payload[f"{axis}_count"]) for axis, left in lefts.items()
            ]
        self._addresses(m, loop, run_ends, y_ends)
        self._offsets(m, loop, run_ends, y_ends)
        return m

    def _advance(self, m, loop, lefts, run_ends, y_ends):
        m.d.sync += lefts["x"].eq(lefts["x"] - 1)
        with m.If(run_ends):
            m.d.sync += [lefts["x"].eq(loop.x_count), lefts["y"].eq(lefts["y"] - 1)]
        with m.If(y_ends):
            m.d.sync += [lefts["y"].eq(loop.y_count), lefts["n"].eq(lefts["n"] - 1)]

    def _addresses(self, m, loop, run_ends, y_ends):
        n_addr, y_addr = Signal(_ADDRESS_BITS), Signal(_ADDRESS_BITS)
        _nested(
            m,
            self,
            loop,
            (n_addr, y_addr, self.addr),
            (loop.n, loop.y, loop.x),
            "base",
            run_ends,
            y_ends,
        )

    def _offsets(self, m, loop, run_ends, y_ends):
        chunks = self._config.beat_chunks
        if chunks == 1:
            return
        shape = exact_log2(chunks)
        n_off, y_off = Signal(shape), Signal(shape)
        steps = (loop.chunk_n, loop.chunk_y, loop.pitch[:shape])
        _nested(m, self, loop, (n_off, y_off, self.offset), steps, "chunk", run_ends, y_ends)
        m.d.comb += self.keep.eq(~run_ends & (self.offset + loop.pitch < chunks))


def _nested(m, walk, loop, sums, steps, start, run_ends, y_ends):
    """Keep the running sums of n, y and x, each starting from the one outside it."""
    n_sum, y_sum, x_sum = sums
    n_step, y_step, x_step = steps
    with m.If(walk.active & walk.step):
        m.d.sync += x_sum.eq(x_sum + x_step)
        with m.If(run_ends):
            m.d.sync += [y_sum.eq(y_sum + y_step), x_sum.eq(y_sum + y_step)]
        with m.If(y_ends):
            m.d.sync += [s.eq(n_sum + n_step) for s in sums]
    with m.If(walk.loop.valid & walk.loop.ready):
        m.d.sync += [s.eq(walk.loop.payload[start]) for s in sums]
