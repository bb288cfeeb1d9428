"""Order of the vector unit's instructions: which one streams, and which one is prepared."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hpu.hw import isa
from hpu.hw.csr import FaultCause
from hpu.hw.ports import UnitPort, instruction_layout

__all__ = ["VectorControl", "is_windowed"]

_ENTRY = isa.BY_OPCODE[isa.Opcode.VECTOR]
#: Instructions between acceptance and ``done``: more than one that is prepared, one that streams
#: and those whose last words are on their way.
_FLIGHT_BITS = 4


def is_windowed(values):
    """Whether an instruction's items come through the windows."""
    return (values.reduce == isa.Reduce.DOT) | values.stream[0]


class VectorControl(wiring.Component):
    """Accepts VECTOR instructions, prepares each from ``following`` and streams it from ``values``.

    ``begin`` starts the preparation: record, constants and destination, until ``prepared``; they
    go along with the instruction's first element, and when that has arrived at the write port
    (``taken``) the next preparation may begin. ``start`` follows when the instruction stands in
    ``values``, and ``open`` lets its reads through, ``first_read`` cycles after ``begin``
    (``window_read`` when its items come through the windows). ``running``: it has steps left.

    An instruction on accumulators is prepared while one on accumulators streams, and begins behind
    its last step. Any other waits until nothing is under way, and ``clear`` then takes everything
    to its initial state.

    ``fault`` tells that the present step has a wrong address, ``final`` that the oldest
    instruction's last word is being written.
    """

    def __init__(self, *, first_read: int, window_read: int):
        self._first_read, self._window_read = first_read, window_read
        values = instruction_layout(_ENTRY)
        super().__init__(
            {
                "unit": Out(UnitPort(_ENTRY)),
                "following": Out(values),
                "values": Out(values),
                "begin": Out(1),
                "prepared": In(1),
                "taken": In(1),
                "start": Out(1),
                "open": Out(1),
                "clear": Out(1),
                "running": In(1),
                "fault": In(1),
                "final": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        unit = self.unit
        held, begun, switched, faulted = Signal(), Signal(), Signal(), Signal()
        accept, switch = Signal(), Signal()
        alone, flows, free = self._room(m, switch)
        late = self._time(m, alone)
        m.d.comb += [
            unit.instr.ready.eq(~held & ~unit.stop & ~faulted),
            accept.eq(unit.instr.valid & unit.instr.ready),
            self.begin.eq(held & ~begun & ~faulted & (alone | (flows & free)) & ~unit.stop),
            self.clear.eq(unit.stop | (self.begin & alone)),
            switch.eq(
                (self.begin & alone)
                | (begun & ~switched & late & ~self.running & ~self.fault & ~faulted)
            ),
        ]
        m.d.sync += [
            begun.eq(begun | self.begin),
            switched.eq(switched | switch),
            self.start.eq(switch),
            faulted.eq(faulted | self.fault),
        ]
        with m.If(accept):
            m.d.sync += [held.eq(1), self.following.eq(unit.instr.payload)]
        with m.If(switch):
            m.d.sync += self.values.eq(self.following)
        with m.If(begun & switched & self.prepared):
            m.d.sync += [held.eq(0), begun.eq(0), switched.eq(0)]
        with m.If(unit.stop):
            m.d.sync += [register.eq(0) for register in (held, begun, switched, faulted)]
            m.d.sync += self.start.eq(0)
        self._report(m, accept, faulted)
        return m

    def _room(self, m, switch):
        """Whether nothing streams or drains, whether the next may follow closely, and its room."""
        under, free = Signal(_FLIGHT_BITS), Signal(init=1)
        alone, flows = Signal(), Signal()
        m.d.comb += [
            alone.eq(under == 0),
            flows.eq(
                (self.following.source == isa.Source.ACC) & (self.values.source == isa.Source.ACC)
            ),
        ]
        m.d.sync += under.eq(under + switch - self.unit.done)
        with m.If(self.begin):
            m.d.sync += free.eq(0)
        with m.Elif(self.taken):
            m.d.sync += free.eq(1)
        with m.If(self.unit.stop):
            m.d.sync += [under.eq(0), free.eq(1)]
        return alone, flows, free

    def _time(self, m, alone):
        """Whether the first read of the instruction in preparation may be asked for."""
        most = max(self._first_read, self._window_read)
        time, late, opened = Signal(range(most + 1)), Signal(), Signal()
        limit = Mux(is_windowed(self.values), self._window_read, self._first_read)
        m.d.comb += [late.eq(time >= limit - 1), self.open.eq(opened | late)]
        with m.If(self.begin):
            m.d.sync += time.eq(0)
        with m.Elif(time != most):
            m.d.sync += time.eq(time + 1)
        with m.If(self.begin & alone):
            m.d.sync += opened.eq(0)
        with m.Elif(late):
            m.d.sync += opened.eq(1)
        return late

    def _report(self, m, accept, faulted):
        unit, flight = self.unit, Signal(_FLIGHT_BITS)
        m.d.comb += [
            unit.done.eq(self.final & ~unit.stop),
            unit.busy.eq(flight != 0),
            unit.fault.valid.eq(faulted),
            unit.fault.cause.eq(FaultCause.ADDRESS),
            unit.fault.pc.eq(self.values.pc),
        ]
        m.d.sync += flight.eq(flight + accept - unit.done)
        with m.If(unit.stop):
            m.d.sync += flight.eq(0)
