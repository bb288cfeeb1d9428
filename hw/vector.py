"""The vector unit: accumulators or windows of the unified buffer in, int8 words out."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hpu.hw import isa
from hpu.hw.config import Config
from hpu.hw.csr import FaultCause
from hpu.hw.emit import instance
from hpu.hw.ports import (
    ACC_READ_LATENCY,
    UB_READ_LATENCY,
    AccRead,
    LoadWrite,
    UbRead,
    UbWrite,
    UnitPort,
    ub_address,
)
from hpu.hw.vector_address import VectorSteps
from hpu.hw.vector_lanes import (
    LANE_LATENCY,
    RECORD_LEAD,
    RECORD_ROWS,
    LaneSetting,
    LaneStep,
    VectorLanes,
)
from hpu.hw.vector_stream import PREPARE
from hpu.hw.vector_window import TAPS, WINDOW_STAGES

__all__ = ["VectorUnit"]

_ENTRY = isa.BY_OPCODE[isa.Opcode.VECTOR]
_READ_LATENCY = UB_READ_LATENCY
#: Cycles from an element's last step to its word at the write port.
_WRITE_LATENCY = _READ_LATENCY + LANE_LATENCY + 1
#: Earliest first read of an instruction whose items come through the windows: the weights, then
#: the record, must be in place in time, and a stream's numbers known.
_WINDOW_READ = max(TAPS + RECORD_LEAD - WINDOW_STAGES - _READ_LATENCY, PREPARE + 2)


class VectorUnit(wiring.Component):
    """Executes VECTOR instructions, one after another.

    Inside an instruction one word per cycle with the accumulators as source, with or without a
    second operand; with the unified buffer as source one tap or second operand per cycle; of a
    stream one word of the image per cycle. An instruction takes about 35 cycles besides, one with
    weights or a stream nine more. A read that is not accepted delays the ones after it.
    Writes must be accepted at once: the unified buffer prefers them to all others, so
    ``ub_write.ready`` is not looked at. ``wrote`` pulses once a word written.
    """

    def __init__(self, *, config: Config):
        if ACC_READ_LATENCY != UB_READ_LATENCY:
            raise ValueError("read latencies must be equal, not different")
        self._config = config
        super().__init__(
            {
                "unit": Out(UnitPort(_ENTRY)),
                "acc": Out(AccRead(config)),
                "ub_read": Out(UbRead(config)),
                "ub_write": Out(UbWrite(config)),
                "load": In(LoadWrite(config)),
                "wrote": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._values = Signal(self.unit.instr.payload.shape())
        self._clear, self._open, self._start = Signal(), Signal(), Signal()
        self._time = Signal(range(max(self._first_read, _WINDOW_READ) + 1))
        self._dot = self._values.reduce == isa.Reduce.DOT
        self._windowed = self._dot | self._values.stream[0]
        self._line = Signal(16)
        m.submodules.steps = steps = VectorSteps(config=self._config)
        m.d.comb += [
            steps.values.eq(self._values),
            steps.start.eq(self._start),
            steps.clear.eq(self._clear),
            self._line.eq(steps.cols - 1),
        ]
        step, last, target = self._read(m, steps.steps)
        out = self._lanes(m, step)
        final = self._write(m, out, last, target)
        self._control(m, steps.steps, final)
        return m

    @property
    def _first_read(self):
        """Cycle of an instruction in which its first read may be asked for.

        The parameters must be in place when the first bias is added, and the destination's lane
        groups when the first word is written.
        """
        return max(RECORD_LEAD - _READ_LATENCY, self._config.groups + 2 - _WRITE_LATENCY + 1)

    def _control(self, m, steps, final):
        """Acceptance, the time since then, end and fault."""
        unit = self.unit
        fault = steps.valid & steps.payload.fault
        late = max(self._first_read, _WINDOW_READ)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [unit.instr.ready.eq(~unit.stop), self._clear.eq(1)]
                m.d.sync += [self._values.eq(unit.instr.payload), self._time.eq(0)]
                m.d.sync += self._start.eq(unit.instr.valid & ~unit.stop)
                with m.If(unit.instr.valid & ~unit.stop):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [unit.busy.eq(1), unit.done.eq(final & ~unit.stop)]
                m.d.comb += [
                    self._open.eq(self._time == Mux(self._windowed, late, self._first_read)),
                    self._clear.eq(unit.stop),
                ]
                m.d.sync += [self._start.eq(0), self._time.eq(self._time + ~self._open)]
                with m.If(final | unit.stop):
                    m.next = "IDLE"
                with m.Elif(fault):
                    m.next = "FAULT"
            with m.State("FAULT"):
                m.d.comb += [unit.busy.eq(1), unit.fault.valid.eq(1), self._clear.eq(unit.stop)]
                with m.If(unit.stop):
                    m.next = "IDLE"
        m.d.comb += [unit.fault.cause.eq(FaultCause.ADDRESS), unit.fault.pc.eq(self._values.pc)]

    def _read(self, m, steps):
        """Requests, and what their data will be when they stand at the lanes.

        A step first reads the unified buffer. One that reads an accumulator then waits in ``held``
        for that, while the next one's read of the unified buffer already goes on.
        """
        item, ub = steps.payload, self.ub_read
        taken, ub_done, free = Signal(), Signal(), Signal()
        held = Signal(item.shape(), reset_less=True)
        held_valid = Signal()
        go = self._open & ~item.fault
        m.d.comb += [
            ub.valid.eq(steps.valid & go & item.read & ~taken),
            ub.addr.eq(item.ub_addr),
            ub_done.eq(~item.read | taken | ub.ready),
            self.acc.valid.eq(held_valid),
            self.acc.addr.eq(held.acc_addr),
            free.eq(~held_valid | self.acc.ready),
            steps.ready.eq(go & ub_done & (~item.acc | free)),
        ]
        passes = steps.valid & steps.ready
        m.d.sync += taken.eq(~passes & (taken | (ub.valid & ub.ready)))
        with m.If(free):
            m.d.sync += [held_valid.eq(passes & item.acc), held.eq(item)]
        with m.If(self._clear):
            m.d.sync += [taken.eq(0), held_valid.eq(0)]
        return self._emission(m, item, held, passes)

    def _emission(self, m, item, held, passes):
        """The lanes' step, whether it ends an element, and that element's destination."""
        from_acc = self.acc.valid & self.acc.ready
        step, last = Signal(LaneStep()), Signal()
        target = Signal(1 + ub_address(self._config))
        m.d.comb += [
            step.operand.eq(self.ub_read.valid & self.ub_read.ready & item.operand),
            step.valid.eq(from_acc | (passes & item.item & ~item.acc)),
            step.acc.eq(from_acc),
            step.first.eq(from_acc | item.first),
            step.last.eq(from_acc | item.last),
            step.inside.eq(from_acc | item.inside),
            step.rows.eq(item.rows),
            step.cols.eq(item.cols),
            last.eq(step.valid & step.last),
            target.eq(Mux(from_acc, Cat(held.final, held.d_addr), Cat(item.final, item.d_addr))),
        ]
        return self._delayed(m, step), last, target

    def _delayed(self, m, step):
        """``step`` when its data stand at the lanes."""
        for stage in range(_READ_LATENCY):
            held = Signal(LaneStep(), name=f"step_{stage}")
            m.d.sync += held.eq(step)
            with m.If(self._clear):
                m.d.sync += held.eq(0)
            step = held
        return step

    def _lanes(self, m, step):
        """The lane groups; returns their results."""
        setting = self._setting(m)
        config, values = self._config, self._values
        record, weigh, row = self._rows(m, step)
        results = []
        for index in range(config.col_groups):
            lanes = VectorLanes(config=config)
            m.submodules[f"lanes_{index}"] = instance(lanes, "vector_lanes")
            results.append(lanes.out)
            m.d.comb += [
                lanes.clear.eq(self._clear),
                lanes.setting.eq(setting),
                lanes.record.eq(record),
                lanes.weigh.eq(weigh),
                lanes.record_addr.eq(row),
                lanes.plain.eq(self._start & ~values.requantise),
                lanes.step.eq(step),
                lanes.acc.eq(self.acc.data.word_select(index, 32 * config.group)),
                lanes.ub.eq(self.ub_read.data.word_select(index, 8 * config.group)),
                lanes.load.eq(self.load.valid & self.load.mask[index]),
                lanes.load_table.eq(self.load.table),
                lanes.load_addr.eq(self.load.addr),
                lanes.load_data.eq(self.load.data.word_select(index, 8 * config.group)),
            ]
        return results

    def _rows(self, m, step):
        """Which row of the parameter sets is read: for the record, for a weight, and its address.

        From the start on come the weights of a stream, one for every place of the largest window,
        then the record. Other weights come with their taps.
        """
        v, end = self._values, TAPS + RECORD_ROWS
        reads, tap = Signal(range(end + 1), init=end), Signal(range(8 * self._config.param_sets))
        streams = self._dot & v.stream[0]
        place, record, early, weigh = Signal.like(reads), Signal(), Signal(), Signal()
        used = Cat(
            (v.ky_count >= isa.STREAM_WINDOW - i) & (v.kx_count >= isa.STREAM_WINDOW - j)
            for i in range(isa.STREAM_WINDOW)
            for j in range(isa.STREAM_WINDOW)
        )
        first = self._start | (step.first & ~v.stream[0])
        index = Mux(first, 0, tap)
        m.d.comb += [
            place.eq(Mux(self._start, Mux(streams, 0, TAPS), reads)),
            record.eq(v.requantise & (place >= TAPS) & (place != end)),
            early.eq(place < TAPS),
            weigh.eq(early | (step.valid & self._dot & ~v.stream[0])),
        ]
        m.d.sync += reads.eq(place + (place != end))
        with m.If(weigh):
            m.d.sync += tap.eq(index + Mux(early, used.bit_select(place[:4], 1), 1))
        address = Mux(record, Cat((place - TAPS)[:3], v.params), (v.weights << 3) + index)
        return record, weigh, address

    def _setting(self, m):
        """The lanes' constants; without a second operand the combination changes nothing."""
        setting, v = Signal(LaneSetting(self._config)), self._values
        uses, combine = v.operand != isa.Operand.NONE, setting.combine
        multiplies, window = v.operand == isa.Operand.MUL, setting.window
        m.d.sync += window.last_col.eq(self._line)
        with m.If(self._start):
            m.d.sync += [
                setting.windowed.eq(self._windowed),
                window.maximum.eq(v.reduce == isa.Reduce.MAX),
                window.dot.eq(self._dot),
                window.stream.eq(v.stream[0]),
                window.a_zero.eq(v.a_zero),
                setting.zero.eq(Mux(v.requantise, v.zero, 0)),
                setting.operand.eq(uses),
                setting.use_table.eq(v.use_table),
                setting.table.eq(v.table),
                combine.low.eq(v.low),
                combine.high.eq(v.high),
                combine.s_zero.eq(Mux(uses, v.s_zero, 0)),
                combine.b_zero.eq(Mux(uses, v.b_zero, 0)),
                combine.out_zero.eq(Mux(uses, v.out_zero, 0)),
                combine.shift.eq(Mux(uses, v.shift, 0)),
                combine.below.eq(Mux(uses, (1 << v.shift[:5]) - 1, 0)),
                combine.s_mult.eq(Mux(uses, v.s_mult, 1)),
                combine.multiply.eq(multiplies),
                combine.b_mult.eq(Mux(multiplies, 1, Mux(uses, v.b_mult, 0))),
            ]
        return setting

    def _write(self, m, results, last, target):
        """The words' way to the write port; returns whether the final one is written now."""
        due = Signal(WINDOW_STAGES + _WRITE_LATENCY)
        m.d.sync += due.eq(Mux(self._clear, 0, Cat(last & self._windowed, due[:-1])))
        with m.If(last & ~self._windowed & ~self._clear):
            m.d.sync += due[WINDOW_STAGES].eq(1)
        mask, selects = self._destination(m)
        word = Signal(8 * self._config.lanes, name="word", reset_less=True)
        valid = due[-1]
        place = self._targets(m, last, target, due[-3])
        held = Signal.like(place, name="target_held", reset_less=True)
        with m.If(due[-2]):
            m.d.sync += held.eq(place)
            for index, select in enumerate(selects):
                self._choose(m, word.word_select(index, 8 * self._config.group), select, results)
        m.d.comb += [
            self.ub_write.valid.eq(valid & ~self._clear),
            self.ub_write.addr.eq(held[1:]),
            self.ub_write.mask.eq(mask),
            self.ub_write.data.eq(word),
            self.wrote.eq(self.ub_write.valid),
        ]
        return valid & held[0]

    def _choose(self, m, word, select, results):
        with m.Switch(select):
            for index, result in enumerate(results):
                with m.Case(index):
                    m.d.sync += word.eq(result)

    def _targets(self, m, last, target, take):
        """Destinations of the elements under way, oldest first; a cycle after ``take``."""
        depth = 1 << (WINDOW_STAGES + _WRITE_LATENCY).bit_length()
        m.submodules.targets = memory = Memory(shape=target.shape(), depth=depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [write.en.eq(last), write.data.eq(target), read.en.eq(take)]
        m.d.sync += [write.addr.eq(write.addr + last), read.addr.eq(read.addr + take)]
        with m.If(self._clear):
            m.d.sync += [write.addr.eq(0), read.addr.eq(0)]
        return read.data

    def _destination(self, m):
        """Mask of the lane groups written, and for each the lane group of the results it takes.

        One lane group per cycle from the instruction's start on.
        """
        config, v = self._config, self._values
        mask = Signal(config.groups)
        selects = [
            Signal(range(config.col_groups), name=f"select_{i}") for i in range(config.groups)
        ]
        group, source = Signal.like(v.d_group), Signal.like(v.s_group)
        left, copies = Signal.like(v.d_width), Signal.like(v.d_copies)
        with m.If(self._start):
            m.d.sync += [mask.eq(0), group.eq(v.d_group), source.eq(v.s_group)]
            m.d.sync += [left.eq(v.d_width), copies.eq(v.d_copies)]
        with m.Elif(copies != 0):
            m.d.sync += [group.eq(group + 1), source.eq(source + 1), left.eq(left - 1)]
            with m.If(left == 1):
                m.d.sync += [source.eq(v.s_group), left.eq(v.d_width), copies.eq(copies - 1)]
            for index, select in enumerate(selects):
                with m.If(group == index):
                    m.d.sync += [mask[index].eq(1), select.eq(source)]
        return mask, selects
