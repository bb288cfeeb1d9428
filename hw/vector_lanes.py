"""One lane group of the vector unit: everything between the reads and the write."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hpu.hw.config import Config
from hpu.hw.emit import instance
from hpu.hw.ram import Ram
from hpu.hw.requantise import REQUANTISE_STAGES, Requantise
from hpu.hw.vector_combine import COMBINE_STAGES, CombineSetting, VectorCombine

__all__ = ["LANE_LATENCY", "RECORD_LEAD", "RECORD_ROWS", "LaneSetting", "LaneStep", "VectorLanes"]

#: Bytes of a parameter record, hence rows of a parameter set.
RECORD_ROWS = 8
_REDUCE = 1
_BIAS = 2
_REQUANTISE = 3
_COMBINE = _REQUANTISE + REQUANTISE_STAGES
_LOOKUP = _COMBINE + COMBINE_STAGES
_SELECT = _LOOKUP + 1
#: Cycles from the last step of an element to its result.
LANE_LATENCY = _SELECT + 1
#: Cycles from the first record row to the first last step: the record is whole when bias is added.
RECORD_LEAD = RECORD_ROWS + 1 - _BIAS
#: Second operands waiting: more than the elements between a second operand's arrival and its use.
_OPERANDS = 1 << (_COMBINE + 3).bit_length()
#: A record that only saturates: bias 0, scale 1 as mantissa 2²³ and shift 23.
_PLAIN_RECORD = (1 << 55) | (23 << 56)
#: Maximum of an empty window, below every difference of two bytes' zero point and value.
_EMPTY_MAXIMUM = -255


class LaneSetting(data.StructLayout):
    """Constants of an instruction, the same for every lane."""

    def __init__(self, config: Config):
        super().__init__(
            {
                "maximum": 1,
                "a_zero": signed(8),
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
    (``acc``) or a tap of a window in ``ub``; ``first`` and ``last`` mark the element's ends; a tap
    that is not ``inside`` the image has no data.
    """

    def __init__(self):
        super().__init__(
            dict.fromkeys(("operand", "valid", "acc", "first", "last", "inside"), unsigned(1))
        )


class VectorLanes(wiring.Component):
    """``group`` lanes, one step per cycle; an element's result is ``LANE_LATENCY`` cycles behind.

    ``clear`` forgets everything under way; it must be given before every instruction. Then the
    parameters are set, by ``RECORD_ROWS`` cycles of ``record`` with the rows of a set in
    ``record_addr``, or by one cycle of ``plain`` (saturate only); ``RECORD_LEAD`` cycles after the
    first of them an element's last step may come. An element's second operand must come before its
    last step. ``setting`` must stand from the first step to the last result.
    """

    def __init__(self, *, config: Config):
        self._config = config
        self._group = config.group
        self._width = 8 * config.group
        self._record_rows = RECORD_ROWS * config.param_sets
        rows = max(self._record_rows, 256 * config.tables)
        super().__init__(
            {
                "clear": In(1),
                "setting": In(LaneSetting(config)),
                "record": In(1),
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
        live = self._live(m)
        records = self._records(m)
        operands = self._operands(m, live)
        held = Signal(LaneStep(), reset_less=True)
        with m.If(self.step.valid):
            m.d.sync += held.eq(self.step)
        results = []
        for index in range(self._group):
            total = self._total(m, index, live, held, records[index][:32])
            scaled = self._requantise(m, index, live, total, records[index])
            joined = self._combine(m, index, live, scaled, operands.word_select(index, 8))
            results.append(self._look_up(m, index, live, joined))
        m.d.comb += self.out.eq(Cat(results))
        return m

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

    def _live(self, m):
        """Enable of every stage; only an element's last step goes on from the reduction."""
        live = Signal(LANE_LATENCY)
        valid, last = Signal(), Signal()
        m.d.sync += [valid.eq(self.step.valid), last.eq(self.step.last)]
        m.d.comb += [live[0].eq(self.step.valid), live[_REDUCE].eq(valid)]
        m.d.sync += [live[_BIAS].eq(valid & last), live[_REQUANTISE:].eq(live[_BIAS:-1])]
        with m.If(self.clear):
            m.d.sync += [valid.eq(0), live[_BIAS:].eq(0)]
        return live

    def _records(self, m):
        """The parameter set in use: 64 bits per lane, shifted in byte by byte."""
        m.submodules.parameters = memory = Memory(
            shape=self._width, depth=self._record_rows, init=[]
        )
        write, read = memory.write_port(), memory.read_port()
        shift = Signal()
        m.d.comb += [
            write.en.eq(self._load[0]),
            write.addr.eq(self._load_addr),
            write.data.eq(self._load_data),
            read.en.eq(self.record),
            read.addr.eq(self.record_addr),
        ]
        m.d.sync += shift.eq(self.record)
        records = []
        for index in range(self._group):
            record = Signal(64, name=f"record_{index}", reset_less=True)
            with m.If(shift):
                m.d.sync += record.eq(Cat(record[8:], read.data.word_select(index, 8)))
            with m.If(self.plain):
                m.d.sync += record.eq(_PLAIN_RECORD)
            records.append(record)
        return records

    def _operands(self, m, live):
        """The second operands of the elements at their combination, in order of arrival."""
        m.submodules.operands = memory = Memory(shape=self._width, depth=_OPERANDS, init=[])
        write, read = memory.write_port(), memory.read_port()
        take = live[_COMBINE - 1] & self.setting.operand
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

    def _total(self, m, index, live, held, bias):
        """Reduction of the first operand, plus bias."""
        item = Signal(signed(32), name=f"item_{index}", reset_less=True)
        value = Signal(signed(32), name=f"value_{index}", reset_less=True)
        total = Signal(signed(32), name=f"total_{index}", reset_less=True)
        word = self.acc.word_select(index, 32).as_signed()
        byte = self.ub.word_select(index, 8).as_signed()
        with m.If(live[0]):
            m.d.sync += item.eq(Mux(self.step.acc, word, byte - self.setting.a_zero))
        larger = Mux(item > value, item, value)
        combined = Mux(self.setting.maximum, larger, value + item)
        empty = Mux(self.setting.maximum, _EMPTY_MAXIMUM, 0)
        with m.If(live[_REDUCE]):
            with m.If(held.first):
                m.d.sync += value.eq(Mux(held.inside, item, empty))
            with m.Elif(held.inside):
                m.d.sync += value.eq(combined)
        with m.If(live[_BIAS]):
            m.d.sync += total.eq(value + bias.as_signed())
        return total

    def _requantise(self, m, index, live, total, record):
        m.submodules[f"requantise_{index}"] = lane = Requantise()
        m.d.comb += [
            lane.en.eq(live[_REQUANTISE:_COMBINE]),
            lane.a.eq(total),
            lane.mantissa.eq(record[32:56]),
            lane.shift.eq(record[56:62]),
            lane.zero.eq(self.setting.zero),
        ]
        return lane.o

    def _combine(self, m, index, live, scaled, operand):
        m.submodules[f"combine_{index}"] = lane = VectorCombine()
        m.d.comb += [
            lane.en.eq(live[_COMBINE:_LOOKUP]),
            lane.s.eq(scaled),
            lane.b.eq(operand),
            lane.setting.eq(self.setting.combine),
        ]
        return lane.o

    def _look_up(self, m, index, live, value):
        """The lane's table, or the value itself."""
        table = Ram(width=8, depth=256 * self._config.tables)
        m.submodules[f"table_{index}"] = instance(table, "vector_table_ram", within=True)
        held = Signal(8, name=f"clipped_{index}", reset_less=True)
        result = Signal(8, name=f"result_{index}", reset_less=True)
        m.d.comb += [
            table.w_en.eq(self._load[1]),
            table.w_addr.eq(self._load_addr),
            table.w_data.eq(self._load_data.word_select(index, 8)),
            table.r_en.eq(live[_LOOKUP] & self.setting.use_table),
            table.r_addr.eq(Cat(value, self.setting.table)),
        ]
        with m.If(live[_LOOKUP]):
            m.d.sync += held.eq(value)
        with m.If(live[_SELECT]):
            m.d.sync += result.eq(Mux(self.setting.use_table, table.r_data, held))
        return result
