"""Starting, stopping and ending programs."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hpu.hw.csr import FaultCause
from hpu.hw.sequencer import fault_layout

__all__ = ["Controller"]

#: Cycles that ``stop`` lasts at least: longer than any unit's pipeline.
_STOP_CYCLES = 32
_WATCHDOG_SHIFT = 10


class Controller(wiring.Component):
    """Runs one program after each ``start``, which is ignored while ``busy``.

    ``stop`` is high for at least 32 cycles before the program runs, and again after a fault, until
    ``idle`` (every unit at rest, nothing outstanding on AXI). ``begin`` pulses when the program may
    be fetched. The program ends when ``ended`` (everything dispatched and done), or at the first of
    ``faults`` (the first in the list when several come in one cycle), or after ``watchdog`` times
    1024 cycles with ``next_pc``. ``end`` pulses when ``busy`` falls; ``done`` or ``fault`` with
    ``cause`` and ``pc`` then stay until the next start.
    """

    def __init__(self, *, faults: int):
        if faults < 1:
            raise ValueError(f"faults must be at least 1, not {faults!r}")
        super().__init__(
            {
                "start": In(1),
                "watchdog": In(32),
                "faults": In(fault_layout()).array(faults),
                "ended": In(1),
                "idle": In(1),
                "next_pc": In(32),
                "begin": Out(1),
                "stop": Out(1, init=1),
                "busy": Out(1),
                "done": Out(1),
                "fault": Out(1),
                "cause": Out(fault_layout().members["cause"]),
                "pc": Out(32),
                "end": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        left = Signal(range(_STOP_CYCLES))
        elapsed = Signal(32 + _WATCHDOG_SHIFT)
        m.d.sync += self.end.eq(0)
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.FSM():
            with m.State("HALTED"), m.If(self.start):
                m.d.sync += [self.busy.eq(1), self.stop.eq(1), left.eq(_STOP_CYCLES - 1)]
                m.d.sync += [self.done.eq(0), self.fault.eq(0), self.cause.eq(0), self.pc.eq(0)]
                m.next = "CLEAR"
            with m.State("CLEAR"), m.If((left == 0) & self.idle):
                m.d.sync += [self.stop.eq(0), self.begin.eq(1), elapsed.eq(0)]
                m.next = "RUN"
            with m.State("RUN"):
                m.d.sync += [self.begin.eq(0), elapsed.eq(elapsed + 1)]
                self._run(m, elapsed, left)
            with m.State("STOP"), m.If((left == 0) & self.idle):
                m.d.sync += self.fault.eq(1)
                self._finish(m)
        return m

    def _run(self, m, elapsed, left):
        expired = (self.watchdog != 0) & (elapsed >> _WATCHDOG_SHIFT >= self.watchdog)
        with m.If(expired):
            self._fail(m, FaultCause.WATCHDOG, self.next_pc, left)
        with m.Elif(self.ended & ~self.begin):
            m.d.sync += self.done.eq(1)
            self._finish(m)
        for fault in reversed(list(self.faults)):
            with m.If(fault.valid):
                self._fail(m, fault.cause, fault.pc, left)

    def _fail(self, m, cause, pc, left):
        m.d.sync += [
            self.cause.eq(cause),
            self.pc.eq(pc),
            self.stop.eq(1),
            self.done.eq(0),
            self.busy.eq(1),
            self.end.eq(0),
            left.eq(_STOP_CYCLES - 1),
        ]
        m.next = "STOP"

    def _finish(self, m):
        m.d.sync += [self.busy.eq(0), self.end.eq(1)]
        m.next = "HALTED"
