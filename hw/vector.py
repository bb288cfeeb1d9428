"""The vector unit: accumulators or windows of the unified buffer in, int8 words out."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hpu.hw import isa
from hpu.hw.config import Config
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
from hpu.hw.vector_control import VectorControl, is_windowed
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

__all__ = ["VectorUnit", "write_latency"]

_ENTRY = isa.BY_OPCODE[isa.Opcode.VECTOR]
_READ_LATENCY = UB_READ_LATENCY
#: Earliest first read of an instruction whose items come through the windows: the weights, then
#: the record, must be in place in time, and a stream's numbers known.
_WINDOW_READ = max(TAPS + RECORD_LEAD - WINDOW_STAGES - _READ_LATENCY, PREPARE + 2)


def write_latency(config: Config) -> int:
    """Cycles from an element's last step to its word at the write port."""
    return _READ_LATENCY + LANE_LATENCY + config.vector_cycles


def _place_layout(config):
    """Where an element goes, and whether it is its instruction's first or last."""
    return data.StructLayout({"valid": 1, "fresh": 1, "final": 1, "addr": ub_address(config)})


class VectorUnit(wiring.Component):
    """Executes VECTOR instructions; one on accumulators close behind another on accumulators.

    Inside an instruction one word per cycle with the accumulators as source, with or without a
    second operand; with the unified buffer as source one tap or second operand per cycle; of a
    stream one word of the image per cycle. With ``vector_cycles`` > 1 each of these takes that
    many cycles. By itself an instruction takes about 37 cycles besides,
    one with weights or a stream nine more; close behind another it takes two. A read that is not
    accepted delays the ones after it.
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
        first = self._first_read
        control = VectorControl(first_read=first, window_read=max(first, _WINDOW_READ))
        m.submodules.control = control
        m.submodules.steps = steps = VectorSteps(config=self._config)
        wiring.connect(m, wiring.flipped(self.unit), control.unit)
        self._following, self._values = control.following, control.values
        self._clear, self._open, self._begin = control.clear, control.open, control.begin
        self._windowed = is_windowed(self._values)
        self._line, self._waiting = Signal(16), Signal()
        m.d.comb += [
            steps.values.eq(self._values),
            steps.start.eq(control.start),
            steps.clear.eq(self._clear),
            self._line.eq(steps.cols - 1),
        ]
        step, last, place, held = self._read(m, steps.steps)
        places = self._places(m, last, place)
        self._hazards(m, steps, held, places)
        out, read = self._lanes(m, step)
        taken, worked_out = self._write(m, out, places)
        m.d.comb += [
            control.running.eq(steps.running),
            control.fault.eq(steps.steps.valid & steps.steps.p.fault),
            control.final.eq(self.ub_write.valid & places[-1].final),
            control.taken.eq(taken),
            control.prepared.eq(read & worked_out),
        ]
        return m

    def _hazards(self, m, steps, held, places):
        """A read of a word that an element under way will write waits until none is under way."""
        present = steps.steps.payload
        ahead = [(p.valid, p.addr) for p in places]
        ahead += [(held.valid, held.item.d_addr)]
        ahead += [(steps.steps.valid & present.last, present.d_addr)]
        m.d.comb += [
            steps.hazard.eq(Cat(valid & (addr == steps.coming) for valid, addr in ahead).any()),
            self._waiting.eq(held.valid | Cat(place.valid for place in places).any()),
        ]

    @property
    def _first_read(self):
        """Cycle of an instruction in which its first read may be asked for.

        The parameters must be in place when the first bias is added, and the destination's lane
        groups when the first word is written.
        """
        return max(
            RECORD_LEAD - _READ_LATENCY, self._config.groups + 2 - write_latency(self._config) + 1
        )

    def _read(self, m, steps):
        """Requests, and what their data will be when they stand at the lanes.

        A step first reads the unified buffer. One that reads an accumulator then waits in ``held``
        for that, while the next one's read of the unified buffer already goes on.
        """
        item, ub = steps.payload, self.ub_read
        taken, ub_done, free, paced = Signal(), Signal(), Signal(), Signal()
        later = Signal(data.StructLayout({"valid": 1, "item": item.shape()}))
        held, held_valid = later.item, later.valid
        go = self._open & ~item.fault & ~(item.hazard & self._waiting) & (item.acc | paced)
        m.d.comb += [
            ub.valid.eq(steps.valid & go & item.read & ~taken),
            ub.addr.eq(item.ub_addr),
            ub_done.eq(~item.read | taken | ub.ready),
            self.acc.valid.eq(held_valid & paced),
            self.acc.addr.eq(held.acc_addr),
            free.eq(~held_valid | (self.acc.ready & paced)),
            steps.ready.eq(go & ub_done & (~item.acc | free)),
        ]
        passes = steps.valid & steps.ready
        m.d.sync += taken.eq(~passes & (taken | (ub.valid & ub.ready)))
        self._pace(m, paced, (self.acc.valid & self.acc.ready) | (passes & ~item.acc))
        with m.If(free):
            m.d.sync += [held_valid.eq(passes & item.acc), held.eq(item)]
        with m.If(self._clear):
            m.d.sync += [taken.eq(0), held_valid.eq(0)]
        return *self._emission(m, item, held, passes), later

    def _pace(self, m, paced, step):
        """Whether the lanes are through with the step before."""
        wait = Signal(range(self._config.vector_cycles))
        m.d.comb += paced.eq(wait == 0)
        with m.If(step):
            m.d.sync += wait.eq(self._config.vector_cycles - 1)
        with m.Elif(~paced):
            m.d.sync += wait.eq(wait - 1)

    def _emission(self, m, item, held, passes):
        """The lanes' step, whether it ends an element, and that element's place."""
        from_acc = self.acc.valid & self.acc.ready
        step, last = Signal(LaneStep()), Signal()
        place = Signal(_place_layout(self._config))
        fresh = step.last & Mux(from_acc, held.opening, item.opening)
        m.d.comb += [
            step.operand.eq(self.ub_read.valid & self.ub_read.ready & item.operand),
            step.valid.eq(from_acc | (passes & item.item & ~item.acc)),
            step.acc.eq(from_acc),
            step.first.eq(from_acc | item.first),
            step.last.eq(from_acc | item.last),
            step.inside.eq(from_acc | item.inside),
            step.fresh.eq(fresh),
            step.rows.eq(item.rows),
            step.cols.eq(item.cols),
            last.eq(step.valid & step.last),
            place.fresh.eq(fresh),
            place.final.eq(Mux(from_acc, held.final, item.final)),
            place.addr.eq(Mux(from_acc, held.d_addr, item.d_addr)),
        ]
        return self._delayed(m, step), last, place

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
        """The lane groups; returns their results, and whether the record has been read."""
        setting = self._setting(m)
        config, coming = self._config, self._following
        record, weigh, row, done = self._rows(m, step)
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
                lanes.plain.eq(self._begin & ~coming.requantise),
                lanes.step.eq(step),
                lanes.acc.eq(self.acc.data.word_select(index, 32 * config.group)),
                lanes.ub.eq(self.ub_read.data.word_select(index, 8 * config.group)),
                lanes.load.eq(self.load.valid & self.load.mask[index]),
                lanes.load_table.eq(self.load.table),
                lanes.load_addr.eq(self.load.addr),
                lanes.load_data.eq(self.load.data.word_select(index, 8 * config.group)),
            ]
        return results, done

    def _rows(self, m, step):
        """Which row of the parameter sets is read: for the record, for a weight, and its address.

        From ``begin`` on come the weights of a stream, one for every place of the largest window,
        then the record. Other weights come with their taps.
        """
        v, coming, end = self._values, self._following, TAPS + RECORD_ROWS
        reads, tap = Signal(range(end + 1), init=end), Signal(range(8 * self._config.param_sets))
        streams = (coming.reduce == isa.Reduce.DOT) & coming.stream[0]
        taps = (v.reduce == isa.Reduce.DOT) & ~v.stream[0]
        place, record, early, weigh = Signal.like(reads), Signal(), Signal(), Signal()
        used = Cat(
            (coming.ky_count >= isa.STREAM_WINDOW - i) & (coming.kx_count >= isa.STREAM_WINDOW - j)
            for i in range(isa.STREAM_WINDOW)
            for j in range(isa.STREAM_WINDOW)
        )
        first = self._begin | (step.first & ~v.stream[0])
        index = Mux(first, 0, tap)
        m.d.comb += [
            place.eq(Mux(self._begin, Mux(streams, 0, TAPS), reads)),
            record.eq(coming.requantise & (place >= TAPS) & (place != end)),
            early.eq(place < TAPS),
            weigh.eq(early | (step.valid & taps)),
        ]
        m.d.sync += reads.eq(place + (place != end))
        with m.If(weigh):
            m.d.sync += tap.eq(index + Mux(early, used.bit_select(place[:4], 1), 1))
        weights = Mux(early, coming.weights, v.weights)
        address = Mux(record, Cat((place - TAPS)[:3], coming.params), (weights << 3) + index)
        return record, weigh, address, reads == end

    def _setting(self, m):
        """The lanes' constants; without a second operand the combination changes nothing."""
        setting, v = Signal(LaneSetting(self._config)), self._following
        uses, combine = v.operand != isa.Operand.NONE, setting.combine
        multiplies, window = v.operand == isa.Operand.MUL, setting.window
        m.d.sync += window.last_col.eq(self._line)
        with m.If(self._begin):
            m.d.sync += [
                setting.windowed.eq(is_windowed(v)),
                window.maximum.eq(v.reduce == isa.Reduce.MAX),
                window.dot.eq(v.reduce == isa.Reduce.DOT),
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

    def _places(self, m, last, place):
        """Elements under way, the youngest first: whether there is one, and its place."""
        stages = WINDOW_STAGES + write_latency(self._config)
        places = [Signal(place.shape(), name=f"place_{k}") for k in range(stages)]
        none = Signal(place.shape())
        for k, register in enumerate(places):
            before = places[k - 1] if k else none
            with m.If(before.valid):
                m.d.sync += register.eq(before)
            m.d.sync += register.valid.eq(before.valid & ~self._clear)
            if k in (0, WINDOW_STAGES):
                with m.If(last & (self._windowed == (k == 0)) & ~self._clear):
                    m.d.sync += [register.eq(place), register.valid.eq(1)]
        return places

    def _write(self, m, results, places):
        """The words' way to the write port; returns whether the instruction's place is taken."""
        mask, selects, worked_out = self._destination(m)
        word = Signal(8 * self._config.lanes, name="word", reset_less=True)
        chosen, due = Signal.like(mask, name="chosen"), places[-1]
        for index, coming in enumerate(selects):
            select = Signal.like(coming, name=f"chosen_{index}")
            with m.If(places[-3].valid & places[-3].fresh):
                m.d.sync += select.eq(coming)
            with m.If(places[-2].valid):
                self._choose(m, word.word_select(index, 8 * self._config.group), select, results)
        taken = places[-2].valid & places[-2].fresh
        with m.If(taken):
            m.d.sync += chosen.eq(mask)
        m.d.comb += [
            self.ub_write.valid.eq(due.valid & ~self._clear),
            self.ub_write.addr.eq(due.addr),
            self.ub_write.mask.eq(chosen),
            self.ub_write.data.eq(word),
            self.wrote.eq(self.ub_write.valid),
        ]
        return taken, worked_out

    def _choose(self, m, word, select, results):
        with m.Switch(select):
            for index, result in enumerate(results):
                with m.Case(index):
                    m.d.sync += word.eq(result)

    def _destination(self, m):
        """Mask of the lane groups written, and for each the lane group of the results it takes.

        One lane group per cycle from ``begin`` on; the third value says that it is done.
        """
        config, v = self._config, self._following
        mask = Signal(config.groups)
        selects = [
            Signal(range(config.col_groups), name=f"select_{i}") for i in range(config.groups)
        ]
        group, source = Signal.like(v.d_group), Signal.like(v.s_group)
        left, copies = Signal.like(v.d_width), Signal.like(v.d_copies)
        with m.If(self._begin):
            m.d.sync += [mask.eq(0), group.eq(v.d_group), source.eq(v.s_group)]
            m.d.sync += [left.eq(v.d_width), copies.eq(v.d_copies)]
        with m.Elif(copies != 0):
            m.d.sync += [group.eq(group + 1), source.eq(source + 1), left.eq(left - 1)]
            with m.If(left == 1):
                m.d.sync += [source.eq(v.s_group), left.eq(v.d_width), copies.eq(copies - 1)]
            for index, select in enumerate(selects):
                with m.If(group == index):
                    m.d.sync += [mask[index].eq(1), select.eq(source)]
        return mask, selects, copies == 0
