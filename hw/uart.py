"""A UART of eight data bits, no parity and one stop bit, at any speed up to a quarter of the clock.

Bits are timed by a phase that steps by ``baud / clock_hz`` a cycle, so a bit's length is right on
average although it is no whole number of cycles.
"""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UartReceiver", "UartTransmitter", "phase_step"]

_PHASE_BITS = 16
#: Start bit, data and stop bit.
_FRAME_BITS = 10


def phase_step(clock_hz: int, baud: int) -> int:
    """What the phase of 2¹⁶ steps a bit adds every cycle.

    Raises
    ------
    ValueError
        When a bit would be shorter than four cycles.
    """
    if not 0 < 4 * baud <= clock_hz:
        raise ValueError(f"baud must be from 1 to a quarter of {clock_hz}, not {baud!r}")
    return round((baud << _PHASE_BITS) / clock_hz)


class UartReceiver(wiring.Component):
    """Bytes from the line ``rx``, which is synchronised here; ``valid`` stands for one cycle.

    A byte without a stop bit is dropped, and so is a start bit that is over by its middle.
    """

    def __init__(self, *, clock_hz: int, baud: int):
        self._step = phase_step(clock_hz, baud)
        super().__init__({"rx": In(1, init=1), "data": Out(8), "valid": Out(1)})

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, line, init=1)
        phase, tick, left = Signal(_PHASE_BITS), Signal(), Signal(range(_FRAME_BITS + 1))
        following = Signal(_PHASE_BITS)
        m.d.comb += Cat(following, tick).eq(phase + self._step)
        m.d.sync += self.valid.eq(0)
        with m.If(left == 0):
            m.d.sync += phase.eq(1 << (_PHASE_BITS - 1))  # the middle of the start bit comes first
            with m.If(~line):
                m.d.sync += left.eq(_FRAME_BITS)
        with m.Else():
            m.d.sync += phase.eq(following)
            with m.If(tick):
                m.d.sync += left.eq(left - 1)
                with m.If((left == _FRAME_BITS) & line):
                    m.d.sync += left.eq(0)
                with m.Elif(left == 1):
                    m.d.sync += self.valid.eq(line)
                with m.Else():
                    m.d.sync += self.data.eq(Cat(self.data[1:], line))
        return m


class UartTransmitter(wiring.Component):
    """Bytes of the stream ``i`` onto the line ``tx``, one after the other without a pause."""

    def __init__(self, *, clock_hz: int, baud: int):
        self._step = phase_step(clock_hz, baud)
        super().__init__({"i": In(stream.Signature(unsigned(8))), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        phase, tick, left = Signal(_PHASE_BITS), Signal(), Signal(range(_FRAME_BITS + 1))
        following, bits = Signal(_PHASE_BITS), Signal(_FRAME_BITS, init=-1)
        m.d.comb += [
            Cat(following, tick).eq(phase + self._step),
            self.i.ready.eq((left == 0) | (tick & (left == 1))),
        ]
        m.d.sync += self.tx.eq(bits[0])
        with m.If(left == 0):
            m.d.sync += phase.eq(0)
        with m.Else():
            m.d.sync += phase.eq(following)
            with m.If(tick):
                m.d.sync += [bits.eq(Cat(bits[1:], 1)), left.eq(left - 1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [bits.eq(Cat(0, self.i.payload, 1)), left.eq(_FRAME_BITS)]
        return m
