"""One lane group of the vector unit: everything between the reads and the write."""

import itertools

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hpu.hw import requantise, vector_combine
from hpu.hw.config import Config
from hpu.hw.emit import instance
from hpu.hw.isa import STREAM_WINDOW
from hpu.hw.phases import Phases, of_phase
from hpu.hw.ram import Ram
from hpu.hw.requantise import REQUANTISE_STAGES, Requantise
from hpu.hw.vector_combine import COMBINE_STAGES, CombineSetting, VectorCombine
from hpu.hw.vector_window import EMPTY_MAXIMUM, WINDOW_STAGES, VectorWindow, WindowSetting

__all__ = ["LANE_LATENCY", "RECORD_LEAD", "RECORD_ROWS", "LaneSetting", "LaneStep", "VectorLanes"]

#: Bytes of a parameter record, hence rows of a parameter set.
RECORD_ROWS = 8
_REDUCE = 1
_BIAS = 2
_REQUANTISE = 3
_COMBINE = _REQUANTISE + REQUANTISE_STAGES
_LOOKUP = _COMBINE + COMBINE_STAGES
_SELECT = _LOOKUP + 1
#: Cycles from the last step of an element to the result of its first phase.
LANE_LATENCY = _SELECT + 1
#: Cycles from the first record row to the first last step: the record is whole when the bias that
#: is added is taken from it.
RECORD_LEAD = RECORD_ROWS + 2 - _BIAS
#: Second operands waiting: more than the elements between a second operand's arrival and its use.
_OPERANDS = 1 << (_COMBINE + 3).bit_length()
#: A record that only saturates: bias 0, scale 1 as mantissa 2²³ and shift 23.
_PLAIN_RECORD = (1 << 55) | (23 << 56)


class LaneSetting(data.StructLayout):
    """Constants of an instruction, the same for every lane.

    ``windowed``: items come through the windows, weighted or from a stream.
    """

    def __init__(self, config: Config):
        super().__init__(
            {
                "windowed": 1,
                "window": WindowSetting(config),
                "zero": signed(8),
                "operand": 1,
                "combine": CombineSetting(),
                "use_table": 1,
                "table": ceil_log2(config.tables),
            }
        )


class LaneStep(data.StructLayout):
    """What the data of this cycle are.

    ``operand``: ``ub`` is an element's second operand. ``valid``: the data are an accumulator
    (``acc``), a tap of a window or a word of a stream in ``ub``; ``first`` and ``last`` mark the
    element's ends; a tap that is not ``inside`` the image has no data. ``fresh``: it is the
    last step of an instruction's first element. ``rows`` and ``cols`` as in ``WindowStep``.
    """

    def __init__(self):
        flags = ("operand", "valid", "acc", "first", "last", "inside", "fresh")
        masks = dict.fromkeys(("rows", "cols"), unsigned(STREAM_WINDOW))
        super().__init__(dict.fromkeys(flags, unsigned(1)) | masks)


class VectorLanes(wiring.Component):
    """``group`` lanes; a step comes ``vector_cycles`` after the one before at the earliest.

    So many lanes share their arithmetic: lane ``vector_cycles``·k + p has its turn in phase p of
    every step, on the k-th set. An element's whole result stands ``LANE_LATENCY`` +
    ``vector_cycles`` - 1 cycles after its last step; with ``setting.windowed`` it is
    ``WINDOW_STAGES`` more. ``acc`` and ``ub`` must stand for all phases.

    ``clear`` forgets everything under way. Parameters are set by ``RECORD_ROWS`` cycles of
    ``record`` with the rows of a set in ``record_addr``, or by one cycle of ``plain`` (saturate
    only); ``RECORD_LEAD`` cycles after the first of them an element's last step may come. The
    weights of a stream are set before them, by ``TAPS`` cycles of ``weigh`` with their rows in
    ``record_addr``; the weight of another window's tap with that tap. An element's second operand
    must come before its last step.

    Record and ``setting`` are those of the instruction to come: every stage takes its constants
    from them with the ``fresh`` element. So they must stand until that is out, and may then be set
    anew while others of its instruction are under way. But what concerns the windows and the
    reduction of the buffer's words counts at once: nothing else may then be under way, and
    ``clear`` must have been given.
    """

    def __init__(self, *, config: Config):
        self._config = config
        self._group = config.group
        self._shared = config.vector_cycles
        self._width = 8 * config.group
        self._record_rows = RECORD_ROWS * config.param_sets
        rows = max(self._record_rows, 256 * config.tables)
        super().__init__(
            {
                "clear": In(1),
                "setting": In(LaneSetting(config)),
                "record": In(1),
                "weigh": In(1),
                "record_addr": In(ceil_log2(self._record_rows)),
                "plain": In(1),
                "step": In(LaneStep()),
                "acc": In(32 * config.group),
                "ub": In(self._width),
                "load": In(1),
                "load_table": In(1),
                "load_addr": In(ceil_log2(rows)),
                "load_data": In(self._width),
                "out": Out(self._width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._register_load(m)
        records, weight = self._records(m)
        step = self._stretched(m, self._items(m, *weight))
        self._live(m, step)
        constants = self._constants(m)
        operands = self._operands(m)
        held = Signal(LaneStep(), reset_less=True)
        with m.If(step.valid):
            m.d.sync += held.eq(step)
        results = []
        for index in range(self._group // self._shared):
            record = [records[lane] for lane in self._lanes_of(index)]
            bias = self._taken(m, f"bias_{index}", _BIAS, [lane[:32] for lane in record])
            total = self._total(m, index, step, held, bias)
            scaled = self._requantise(m, index, total, record, constants.zero)
            words = [operands.word_select(lane, 8) for lane in self._lanes_of(index)]
            operand = of_phase(m, f"operand_{index}", self._phase[_COMBINE], words)
            joined = self._combine(m, index, scaled, operand, constants.combine)
            results += self._look_up(m, index, joined, constants)
        m.d.comb += self.out.eq(Cat(results))
        return m

    def _lanes_of(self, index):
        """The lanes that set ``index`` of the arithmetic serves, by phase."""
        return range(index * self._shared, (index + 1) * self._shared)

    def _stretched(self, m, step):
        """``step`` in all its phases."""
        phases = Phases(m, count=self._shared, pulse=step.valid, clear=self.clear, name="step")
        self._phase = phases.chain(m, _SELECT)
        if self._shared == 1:
            return step
        kept, present = Signal(LaneStep(), reset_less=True), Signal(LaneStep())
        with m.If(step.valid):
            m.d.sync += kept.eq(step)
        m.d.comb += [present.eq(Mux(step.valid, step, kept)), present.valid.eq(phases.live)]
        return present

    def _register_load(self, m):
        """LOAD's writes, one cycle later."""
        self._load = load = Signal(2, name="load_1")
        self._load_addr = Signal.like(self.load_addr, name="load_addr_1", reset_less=True)
        self._load_data = Signal.like(self.load_data, name="load_data_1", reset_less=True)
        m.d.sync += load.eq(Cat(self.load & ~self.load_table, self.load & self.load_table))
        with m.If(self.load):
            m.d.sync += [
                self._load_addr.eq(self.load_addr),
                self._load_data.eq(self.load_data),
            ]

    def _items(self, m, shift, weight):
        """The windows; returns the step whose item is at the reduction."""
        m.submodules.window = window = VectorWindow(config=self._config)
        self._window_items = window.items
        setting, step = self.setting, self.step
        gives = ~setting.window.stream | step.last
        m.d.comb += [
            window.clear.eq(self.clear),
            window.setting.eq(setting.window),
            window.en.eq(step.valid & setting.windowed),
            window.step.gives.eq(gives),
            window.step.rows.eq(step.rows),
            window.step.cols.eq(step.cols),
            window.ub.eq(self.ub),
            window.shift.eq(shift),
            window.weight.eq(weight),
        ]
        late = step
        for stage in range(WINDOW_STAGES):
            valid = window.en & gives if stage == 0 else late.valid
            held = Signal(LaneStep(), name=f"late_{stage}")
            m.d.sync += [held.eq(late), held.valid.eq(valid & ~self.clear)]
            late = held
        item_step = Signal(LaneStep())
        m.d.comb += item_step.eq(Mux(setting.windowed, late, step))
        return item_step

    def _live(self, m, step):
        """Enable of every stage; only an element's last step goes on from the reduction."""
        self._live_at = live = Signal(LANE_LATENCY)
        self._fresh = fresh = Signal(LANE_LATENCY)
        valid, last = Signal(), Signal()
        m.d.comb += fresh[0].eq(step.valid & step.fresh)
        m.d.sync += fresh[1:].eq(Mux(self.clear, 0, fresh[:-1]))
        m.d.sync += [valid.eq(step.valid), last.eq(step.last)]
        m.d.comb += [live[0].eq(step.valid), live[_REDUCE].eq(valid)]
        m.d.sync += [live[_BIAS].eq(valid & last), live[_REQUANTISE:].eq(live[_BIAS:-1])]
        with m.If(self.clear):
            m.d.sync += [valid.eq(0), live[_BIAS:].eq(0)]

    def _taken(self, m, name, stage, values):
        """The lane's value as it was when the instruction's first element came to ``stage``."""
        fresh, live = self._fresh[stage - 1], self._live_at[stage - 1]
        value = of_phase(m, f"{name}_now", self._phase[stage - 1], values)
        ring = [
            Signal.like(value, name=f"{name}_{k}", reset_less=True) for k in range(self._shared)
        ]
        with m.If(fresh if self._shared == 1 else live):
            m.d.sync += ring[0].eq(value if self._shared == 1 else Mux(fresh, value, ring[-1]))
            m.d.sync += [later.eq(now) for now, later in itertools.pairwise(ring)]
        return ring[0]

    def _constants(self, m):
        """The setting in use; every part of it changes with the stage that looks at it."""
        constants = Signal(LaneSetting(self._config), name="constants", reset_less=True)
        setting, fresh = self.setting, self._fresh
        stages = {"zero": _REQUANTISE + requantise.CONSTANTS["zero"], "operand": _COMBINE - 1}
        for name, stage in (stages | {"table": _LOOKUP}).items():
            with m.If(fresh[stage - 1]):
                m.d.sync += constants[name].eq(setting[name])
        for name, stage in vector_combine.CONSTANTS.items():
            with m.If(fresh[_COMBINE + stage - 1]):
                m.d.sync += constants.combine[name].eq(setting.combine[name])
        with m.If(fresh[_LOOKUP - 1]):
            m.d.sync += constants.use_table.eq(setting.use_table)
        self._operand = constants.operand
        return constants

    def _records(self, m):
        """The parameter set in use, 64 bits per lane, shifted in byte by byte; and the weights.

        A weight is given as whether there is one, and the row.
        """
        m.submodules.parameters = memory = Memory(
            shape=self._width, depth=self._record_rows, init=[]
        )
        write, read = memory.write_port(), memory.read_port()
        shift, weighed = Signal(), Signal()
        m.d.comb += [
            write.en.eq(self._load[0]),
            write.addr.eq(self._load_addr),
            write.data.eq(self._load_data),
            read.en.eq(self.record | self.weigh),
            read.addr.eq(self.record_addr),
        ]
        m.d.sync += [shift.eq(self.record), weighed.eq(self.weigh)]
        records = []
        for index in range(self._group):
            record = Signal(64, name=f"record_{index}", reset_less=True)
            with m.If(shift):
                m.d.sync += record.eq(Cat(record[8:], read.data.word_select(index, 8)))
            with m.If(self.plain):
                m.d.sync += record.eq(_PLAIN_RECORD)
            records.append(record)
        return records, (weighed, read.data)

    def _operands(self, m):
        """The second operands of the elements at their combination, in order of arrival."""
        m.submodules.operands = memory = Memory(shape=self._width, depth=_OPERANDS, init=[])
        write, read = memory.write_port(), memory.read_port()
        take = self._live_at[_COMBINE - 1] & self._operand & (self._phase[_COMBINE - 1] == 0)
        m.d.comb += [
            write.en.eq(self.step.operand),
            write.data.eq(self.ub),
            read.en.eq(take),
        ]
        m.d.sync += [
            write.addr.eq(write.addr + self.step.operand),
            read.addr.eq(read.addr + take),
        ]
        with m.If(self.clear):
            m.d.sync += [write.addr.eq(0), read.addr.eq(0)]
        return read.data

    def _total(self, m, index, step, held, bias):
        """Reduction of the first operand, plus bias."""
        live, lanes = self._live_at, self._lanes_of(index)
        item = Signal(signed(32), name=f"item_{index}", reset_less=True)
        ring = [Signal(signed(32), name=f"value_{lane}", reset_less=True) for lane in lanes]
        total = Signal(signed(32), name=f"total_{index}", reset_less=True)
        words = [self.acc.word_select(lane, 32) for lane in lanes]
        word = of_phase(m, f"word_{index}", self._phase[0], words).as_signed()
        bytes_ = [self.ub.word_select(lane, 8) for lane in lanes]
        byte = of_phase(m, f"byte_{index}", self._phase[0], bytes_).as_signed()
        window = self.setting.window
        with m.If(live[0]):
            plain = Mux(step.acc, word, byte - window.a_zero)
            m.d.sync += item.eq(Mux(self.setting.windowed, self._window_items[index], plain))
        before = ring[-1]  # of the same lane
        larger = Mux(item > before, item, before)
        combined = Mux(window.maximum, larger, before + item)
        empty = Mux(window.maximum, EMPTY_MAXIMUM, 0)
        with m.If(live[_REDUCE]):
            m.d.sync += [later.eq(now) for now, later in itertools.pairwise(ring)]
            with m.If(held.first):
                m.d.sync += ring[0].eq(Mux(held.inside, item, empty))
            with m.Else():
                m.d.sync += ring[0].eq(Mux(held.inside, combined, before))
        with m.If(live[_BIAS]):
            m.d.sync += total.eq(ring[0] + bias.as_signed())
        return total

    def _requantise(self, m, index, total, records, zero):
        m.submodules[f"requantise_{index}"] = lane = Requantise()
        scale = {}
        for name, part in (("mantissa", slice(32, 56)), ("shift", slice(56, 62))):
            stage = _REQUANTISE + requantise.CONSTANTS[name]
            values = [record[part] for record in records]
            scale[name] = self._taken(m, f"{name}_{index}", stage, values)
        m.d.comb += [
            lane.en.eq(self._live_at[_REQUANTISE:_COMBINE]),
            lane.a.eq(total),
            lane.mantissa.eq(scale["mantissa"]),
            lane.shift.eq(scale["shift"]),
            lane.zero.eq(zero),
        ]
        return lane.o

    def _combine(self, m, index, scaled, operand, constants):
        m.submodules[f"combine_{index}"] = lane = VectorCombine()
        m.d.comb += [
            lane.en.eq(self._live_at[_COMBINE:_LOOKUP]),
            lane.s.eq(scaled),
            lane.b.eq(operand),
            lane.setting.eq(constants),
        ]
        return lane.o

    def _look_up(self, m, index, value, constants):
        """The lanes' results: from their tables, or the values themselves."""
        live, shared, looked = self._live_at, self._shared, Signal(name=f"looked_{index}")
        table = Ram(width=8 * shared, depth=256 * self._config.tables)
        m.submodules[f"table_{index}"] = instance(table, "vector_table_ram", within=True)
        held = Signal(8, name=f"clipped_{index}", reset_less=True)
        m.d.comb += [
            table.w_en.eq(self._load[1]),
            table.w_addr.eq(self._load_addr),
            table.w_data.eq(self._load_data.word_select(index, 8 * shared)),
            table.r_en.eq(live[_LOOKUP] & constants.use_table),
            table.r_addr.eq(Cat(value, constants.table)),
        ]
        with m.If(live[_LOOKUP]):
            m.d.sync += [held.eq(value), looked.eq(constants.use_table)]
        results = []
        for phase, lane in enumerate(self._lanes_of(index)):
            result = Signal(8, name=f"result_{lane}", reset_less=True)
            with m.If(live[_SELECT] & (self._phase[_SELECT] == phase)):
                m.d.sync += result.eq(Mux(looked, table.r_data.word_select(phase, 8), held))
            results.append(result)
        return results
