"""The vector unit's loops: one step per cycle, with its addresses and bounds checked."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hpu.hw import isa
from hpu.hw.config import Config
from hpu.hw.ports import acc_address, instruction_layout, ub_address
from hpu.hw.vector_loops import Loops
from hpu.hw.vector_stream import PREPARE, VectorStream

__all__ = ["StepLayout", "VectorSteps"]

_ADDRESS = unsigned(24)
#: Image positions: a 16-bit start and two products of 16 and 8 bits.
_POSITION = signed(27)
_WINDOW = isa.STREAM_WINDOW


class StepLayout(data.StructLayout):
    """One step of an instruction, and what it reads.

    ``read``: the unified buffer at ``ub_addr``; ``acc``: the accumulator at ``acc_addr``.
    ``item``: the step is an accumulator, a tap of a window, from the element's ``first`` to its
    ``last``, ``inside`` the image or not, or a word of a stream, whose ``last`` one completes the
    window of which ``rows`` and ``cols`` are inside the image (bit 2 the latest; also for a tap).
    ``operand``: ``ub_addr`` is the element's second operand.
    An element whose source is the accumulators is one step; one whose source is the unified buffer
    has its second operand in a step before its items. ``opening`` steps are of the instruction's
    first element, ``final`` is its last step. ``hazard``: the word it reads is still to be written
    by a step before. ``fault``: an address of this step is beyond its memory.
    """

    def __init__(self, config: Config):
        flags = ["read", "acc", "item", "operand", "first", "last", "inside", "opening", "final"]
        flags += ["hazard", "fault"]
        super().__init__(
            {
                **dict.fromkeys(flags, 1),
                "rows": _WINDOW,
                "cols": _WINDOW,
                "ub_addr": ub_address(config),
                "acc_addr": acc_address(config),
                "d_addr": ub_address(config),
            }
        )


class VectorSteps(wiring.Component):
    """Steps of the instruction in ``values``, the first of them two cycles after ``start``.

    A stream begins ``PREPARE`` cycles later; ``cols`` are then the columns of its lines. One step
    per cycle; the steps after the final one begin with the next ``start``. ``values`` must stand
    from ``start`` to the final step. ``clear`` ends the instruction early. ``running``: it has
    steps to come. ``coming`` is the word of the step that comes next, and ``hazard`` says of it,
    in the same cycle, whether it is still to be written.
    """

    def __init__(self, *, config: Config):
        self._config = config
        super().__init__(
            {
                "values": In(instruction_layout(isa.BY_OPCODE[isa.Opcode.VECTOR])),
                "start": In(1),
                "clear": In(1),
                "cols": Out(16),
                "running": Out(1),
                "coming": Out(ub_address(config)),
                "hazard": In(1),
                "steps": Out(stream.Signature(StepLayout(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._begin(m)
        running, operand_next, first, opening = Signal(), Signal(), Signal(), Signal()
        accept, advance, element, reading = Signal(), Signal(), Signal(), Signal()
        uses = self.values.operand != isa.Operand.NONE
        is_acc = self.values.source == isa.Source.ACC
        operand_only = operand_next & ~is_acc
        self._loops(m, advance & reading, element)
        last = ~operand_only & Mux(self._streams, self._due(m, advance), self._taps_end)
        final = last & self._elements.end
        m.d.comb += [
            accept.eq(running & (~self.steps.valid | self.steps.ready)),
            advance.eq(accept & ~operand_only),
            element.eq(advance & last),
        ]
        with m.If(accept):
            m.d.sync += operand_next.eq(uses & last)
        with m.If(advance):
            m.d.sync += [running.eq(~final), first.eq(last), opening.eq(opening & ~last)]
            m.d.sync += reading.eq(reading & ~self._words.end)
        with m.If(self._start):
            m.d.sync += [running.eq(1), reading.eq(1), operand_next.eq(uses), first.eq(1)]
            m.d.sync += opening.eq(1)
        with m.If(self.clear):
            m.d.sync += running.eq(0)
        marks = {"first": first | self._streams, "last": last, "final": final}
        marks["opening"] = opening
        m.d.comb += self.running.eq(running)
        operand = operand_only | (is_acc & uses)
        step = self._step(m, advance, is_acc, ~operand_only & reading, operand, last)
        self._register(m, accept, step | marks)
        return m

    def _begin(self, m):
        """The stream's numbers, and when the loops start."""
        m.submodules.stream = self._stream = VectorStream(config=self._config)
        self._streams = self.values.stream[0]
        waits = Signal(PREPARE)
        self._start = Signal(name="begin")
        m.d.sync += waits.eq(Mux(self.clear, 0, Cat(self.start & self._streams, waits[:-1])))
        m.d.comb += [
            self._stream.values.eq(self.values),
            self._stream.start.eq(self.start),
            self._start.eq((self.start & ~self._streams) | (waits[-1] & ~self.clear)),
            self.cols.eq(self._stream.cols),
        ]

    def _loops(self, m, word, element):
        """Loops over the elements, and over the words or taps that are read for them."""
        v, numbers, streams = self.values, self._stream, self._streams
        elements = {"n": v.n_count, "y": v.y_count, "x": v.x_count}
        words = {
            "n": v.n_count,
            "y": Mux(streams, numbers.rows, v.y_count),
            "x": Mux(streams, numbers.cols, v.x_count),
            "ky": Mux(streams, 1, v.ky_count),
            "kx": Mux(streams, 1, v.kx_count),
        }
        self._elements = Loops(
            m, name="element", counts=elements, start=self._start, advance=element
        )
        self._words = Loops(m, name="word", counts=words, start=self._start, advance=word)
        self._taps_end = self._words.ends[3:].all()

    def _due(self, m, advance):
        """Whether the word of a stream's present step completes a window."""
        numbers, gap = self._stream, Signal.like(self._stream.first, name="gap")
        turn = self._elements.turn
        due = gap == 0
        with m.If(self._start):
            m.d.sync += gap.eq(numbers.first)
        with m.Elif(advance):
            m.d.sync += gap.eq(gap - 1)
            with m.If(due):
                following = Mux(turn[2], numbers.x_gap, Mux(turn[1], numbers.y_gap, numbers.n_gap))
                m.d.sync += gap.eq(following)
        return due

    def _address(self, loops, prefix, strides=("n", "y", "x")):
        v = self.values
        by_level = {level: getattr(v, f"{prefix}_{level}") for level in strides}
        return loops.sum(prefix, _ADDRESS, getattr(v, f"{prefix}_base"), by_level)

    def _read_address(self):
        """Of the tap or word: a stream's rows and columns are those of the image."""
        v, streams = self.values, self._streams
        strides = {
            "n": v.a_n,
            "y": Mux(streams, v.a_ky, v.a_y),
            "x": Mux(streams, v.a_kx, v.a_x),
            "ky": v.a_ky,
            "kx": v.a_kx,
        }
        return self._words.sum("a", _ADDRESS, Mux(streams, self._stream.base, v.a_base), strides)

    def _inside(self):
        """Whether the tap's row and column are in the image."""
        v = self.values
        iy = self._words.sum("iy", _POSITION, v.y0, {"y": v.y_step, "ky": v.y_dilation})
        ix = self._words.sum("ix", _POSITION, v.x0, {"x": v.x_step, "kx": v.x_dilation})
        return (iy >= 0) & (iy < v.image_rows) & (ix >= 0) & (ix < v.image_cols)

    def _window(self, axis, kernel, place, step, size):
        """The rows or columns of a stream's window that are inside the image, as a mask."""
        first = place + kernel - _WINDOW
        place = self._elements.sum(f"w{axis}", _POSITION, first, {axis: step})
        return Cat(
            (kernel >= _WINDOW - k) & (place + k >= 0) & (place + k < size) for k in range(_WINDOW)
        )

    def _masks(self, inside):
        """Rows and columns of the window; a tap has the place of the latest word."""
        v = self.values
        rows = self._window("y", v.ky_count, v.y0, v.y_step, v.image_rows)
        cols = self._window("x", v.kx_count, v.x0, v.x_step, v.image_cols)
        tap = Mux(inside, 1 << _WINDOW - 1, 0)
        return Mux(self._streams, rows, tap), Mux(self._streams, cols, tap)

    def _step(self, m, advance, is_acc, item, operand, last):
        """Fields of the step that the loops are at."""
        a = self._read_address()
        b, d = self._address(self._elements, "b"), self._address(self._elements, "d")
        acc = Signal(_ADDRESS)
        with m.If(self._start):
            m.d.sync += acc.eq(self.values.a_base)
        with m.Elif(advance):
            m.d.sync += acc.eq(acc + 1)
        inside = is_acc | self._streams | self._inside()
        read = operand | (~is_acc & item & inside)
        address = Mux(operand, b, a)
        m.d.comb += self.coming.eq(address)
        rows, cols = self._masks(inside)
        depth = self._config.ub_depth
        fault = read & (address >= depth) | last & (d >= depth)
        return {
            "read": read,
            "acc": is_acc,
            "item": ~operand | is_acc,
            "operand": operand,
            "inside": inside,
            "rows": rows,
            "cols": cols,
            "ub_addr": address,
            "acc_addr": acc,
            "d_addr": d,
            "hazard": read & self.hazard,
            "fault": fault | (is_acc & (acc >= Const(self._config.acc_depth))),
        }

    def _register(self, m, accept, step):
        with m.If(accept):
            m.d.sync += self.steps.valid.eq(1)
            m.d.sync += [self.steps.payload[name].eq(value) for name, value in step.items()]
        with m.Elif(self.steps.ready):
            m.d.sync += self.steps.valid.eq(0)
        with m.If(self.clear):
            m.d.sync += self.steps.valid.eq(0)
