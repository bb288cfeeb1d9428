"""Windows of one lane group: weighted taps, and the lines of a streamed image."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hpu.hw.config import Config
from hpu.hw.isa import STREAM_WINDOW
from hpu.hw.phases import Phases, of_phase

__all__ = ["TAPS", "WINDOW_STAGES", "VectorWindow", "WindowSetting", "WindowStep", "item_shape"]

#: Cycles from a step to its item, or to the first of its items.
WINDOW_STAGES = 4
#: Elements of the largest window, hence weights of a lane.
TAPS = STREAM_WINDOW**2
#: Maximum of an empty window, below every difference of two bytes' zero point and value.
EMPTY_MAXIMUM = -255


def item_shape():
    """A tap times its weight, or the sum of all of a streamed window: nine times 255 by 128."""
    return signed(20)


class WindowSetting(data.StructLayout):
    """Constants of an instruction: what is done, and the last column of the lines."""

    def __init__(self, config: Config):
        super().__init__(
            {
                "a_zero": signed(8),
                "maximum": 1,
                "dot": 1,
                "stream": 1,
                "last_col": ceil_log2(config.window_cols),
            }
        )


class WindowStep(data.StructLayout):
    """A word: a tap, or the next of a stream, with the ``rows`` and ``cols`` that count.

    Bit 2 of either is the word's own row or column. ``gives``: the step has an item.
    """

    def __init__(self):
        super().__init__({"gives": 1, "rows": STREAM_WINDOW, "cols": STREAM_WINDOW})


class VectorWindow(wiring.Component):
    """``items`` are the taps or windows of ``WINDOW_STAGES`` cycles ago, one a cycle.

    With ``vector_cycles`` > 1 steps are that many cycles apart; the items of a lane group then come
    one after the other, as many at a time as there is arithmetic for: item k of cycle p is that of
    lane ``vector_cycles``·k + p.

    The last words of the rows before the present one lie in a memory, column by column, and the
    last columns in registers; so with every word of a stream a whole window stands there. A tap by
    itself is the latest word of its window. ``shift`` takes ``weight`` as the latest word's weight
    and moves the others on; it is given with the second cycle of a tap, or before a stream.
    ``clear`` begins a new stream.
    """

    def __init__(self, *, config: Config):
        self._config = config
        super().__init__(
            {
                "clear": In(1),
                "setting": In(WindowSetting(config)),
                "en": In(1),
                "step": In(WindowStep()),
                "ub": In(8 * config.group),
                "shift": In(1),
                "weight": In(8 * config.group),
                "items": Out(data.ArrayLayout(item_shape(), config.group // config.vector_cycles)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        taken = Signal()
        word = Signal.like(self.ub, name="word", reset_less=True)
        step = Signal(WindowStep(), reset_less=True)
        m.d.sync += taken.eq(self.en)
        with m.If(self.en):
            m.d.sync += [word.eq(self.ub), step.eq(self.step)]
        before = self._lines(m, taken, word)
        masks = Signal(WindowStep(), name="masks", reset_less=True)
        with m.If(taken):
            m.d.sync += masks.eq(step)
        shared = self._config.vector_cycles
        pulse = taken & step.gives
        phases = Phases(m, count=shared, pulse=pulse, clear=self.clear, name="window")
        live = Signal(WINDOW_STAGES - 2)
        m.d.sync += live.eq(Cat(phases.live, live[0]))
        phase = phases.chain(m, 1)[1]
        windows, weights = [], []
        for index in range(self._config.group):
            column = [part.word_select(index, 8).as_signed() for part in (*before, word)]
            windows.append(self._window(m, index, taken, column))
            weights.append(self._weights(m, index))
        for index in range(self._config.group // shared):
            lanes = slice(index * shared, (index + 1) * shared)
            weight = of_phase(m, f"weights_{index}", phase, weights[lanes])
            window = self._present(m, index, phase, windows[lanes])
            terms = self._terms(m, index, live[0], window, weight, masks)
            self._item(m, index, live[1], terms)
        return m

    def _lines(self, m, taken, word):
        """The words of the two rows before, in the column of ``word``, oldest first."""
        depth, last = self._config.window_cols, self.setting.last_col
        m.submodules.lines = memory = Memory(shape=2 * len(word), depth=depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        column, place = Signal.like(last, name="column"), Signal.like(last, name="place")
        with m.If(self.en):
            m.d.sync += [column.eq(Mux(column == last, 0, column + 1)), place.eq(column)]
        with m.If(self.clear):
            m.d.sync += column.eq(0)
        older, newer = read.data[: len(word)], read.data[len(word) :]
        m.d.comb += [
            read.en.eq(self.en & self.setting.stream),
            read.addr.eq(column),
            write.en.eq(taken & self.setting.stream),
            write.addr.eq(place),
            write.data.eq(Cat(newer, word)),
        ]
        return older, newer

    def _window(self, m, index, taken, column):
        """The window of a lane, row by row, less ``a_zero``.

        A line of one word is still being written when it would be read: its words are those of the
        column before.
        """
        size, narrow = STREAM_WINDOW, self.setting.last_col == 0
        window = [
            [Signal(signed(9), name=f"w_{index}_{i}_{j}", reset_less=True) for j in range(size)]
            for i in range(size)
        ]
        with m.If(taken):
            for i, row in enumerate(window):
                latest = column[i] - self.setting.a_zero
                if i + 1 < size:
                    latest = Mux(narrow, window[i + 1][-1], latest)
                m.d.sync += [row[j].eq(row[j + 1]) for j in range(size - 1)]
                m.d.sync += row[-1].eq(latest)
        return window

    @staticmethod
    def _present(m, index, phase, windows):
        """The window of the lane whose phase it is."""
        size = range(STREAM_WINDOW)
        return [
            [of_phase(m, f"p_{index}_{i}_{j}", phase, [w[i][j] for w in windows]) for j in size]
            for i in size
        ]

    def _weights(self, m, index):
        """The weights of a lane."""
        weights = Signal(8 * TAPS, name=f"lane_weights_{index}", reset_less=True)
        with m.If(self.shift):
            m.d.sync += weights.eq(Cat(weights[8:], self.weight.word_select(index, 8)))
        return weights

    def _terms(self, m, index, live, window, weights, masks):
        """What each element of the window adds, or is compared with."""
        rows = []
        for i, row in enumerate(window):
            terms = []
            for j, value in enumerate(row):
                weight = weights.word_select(STREAM_WINDOW * i + j, 8).as_signed()
                term = Signal(signed(16), name=f"term_{index}_{i}_{j}", reset_less=True)
                counts = masks.rows[i] & masks.cols[j]
                empty = Mux(self.setting.maximum, EMPTY_MAXIMUM, 0)
                with m.If(live):
                    factor = Mux(self.setting.dot, weight, 1)
                    m.d.sync += term.eq(Mux(counts, value * factor, empty))
                terms.append(term)
            rows.append(terms)
        return rows

    def _item(self, m, index, live, terms):
        """Rows first, then the window; the item itself is for the next stage to register."""
        maximum = self.setting.maximum
        rows = []
        for i, row in enumerate(terms):
            value = Signal(signed(18), name=f"row_{index}_{i}", reset_less=True)
            with m.If(live):
                m.d.sync += value.eq(_reduced(maximum, row))
            rows.append(value)
        m.d.comb += self.items[index].eq(_reduced(maximum, rows))


def _reduced(maximum, values):
    """Sum or maximum of three."""
    first, second, third = values
    larger = Mux(first > second, first, second)
    largest = Mux(larger > third, larger, third)
    return Mux(maximum, largest, first + second + third)
