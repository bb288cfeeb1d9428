"""Lanes that share their arithmetic: each has its cycle, its phase, of every word."""

from amaranth.hdl import Array, Module, Mux, Signal, Value

__all__ = ["Phases", "of_phase"]


def of_phase(m: Module, name: str, phase: Value, values: list[Value]) -> Value:
    """The one of ``values`` whose place ``phase`` is."""
    if len(values) == 1:
        return values[0]
    chosen = Signal.like(values[0], name=name)
    m.d.comb += chosen.eq(Array(values)[phase])
    return chosen


class Phases:
    """Stretches a pulse to ``count`` cycles: it and those after it are phases 0 … ``count`` - 1.

    Pulses must be ``count`` cycles apart. ``live`` is high in all phases, ``phase`` says which one
    it is; both in the cycle of the pulse already.
    """

    def __init__(self, m: Module, *, count: int, pulse: Value, clear: Value, name: str):
        self._name = name
        self.live: Value = pulse
        self.phase = Signal(range(count), name=f"{name}_phase")
        if count == 1:
            return
        following = Signal(range(count), name=f"{name}_next")
        self.live = Signal(name=f"{name}_live")
        m.d.comb += [
            self.phase.eq(Mux(pulse, 0, following)),
            self.live.eq(pulse | (following != 0)),
        ]
        ends = self.phase == count - 1
        m.d.sync += following.eq(Mux(self.live & ~ends & ~clear, self.phase + 1, 0))

    def chain(self, m: Module, stages: int) -> list[Value]:
        """``phase`` of 0 to ``stages`` cycles ago."""
        values: list[Value] = [self.phase]
        for stage in range(1, stages + 1):
            held = Signal.like(self.phase, name=f"{self._name}_phase_{stage}", reset_less=True)
            m.d.sync += held.eq(values[-1])
            values.append(held)
        return values
