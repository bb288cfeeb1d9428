"""Phase-locked loops: settings for a frequency, and the FPGAs' primitives."""

import dataclasses
import itertools
from collections.abc import Iterator

from amaranth.hdl import Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Ecp5Pll", "GowinPll", "PllSettings", "ecp5_settings", "gowin_settings"]


@dataclasses.dataclass(frozen=True)
class PllSettings:
    """Dividers of the input, of the feedback (from the output), and of the oscillator."""

    input: int
    feedback: int
    output: int

    def hertz(self, input_hz: int) -> float:
        """Frequency of the output."""
        return input_hz * self.feedback / self.input


def _ecp5_candidates(input_hz: int) -> Iterator[PllSettings]:
    """Those within the ECP5 data sheet: phase detector 10 to 400 MHz, VCO 400 to 800 MHz."""
    for divider, feedback in itertools.product(range(1, 41), range(1, 81)):
        if not 10e6 <= input_hz / divider <= 400e6:
            continue
        output_hz = input_hz * feedback / divider
        output = round(600e6 / output_hz)
        if 1 <= output <= 128 and 400e6 <= output_hz * output <= 800e6:
            yield PllSettings(divider, feedback, output)


def ecp5_settings(input_hz: int, output_hz: int) -> PllSettings:
    """Settings of an EHXPLLL that give ``output_hz`` exactly.

    Raises
    ------
    ValueError
        When there are none.
    """
    for settings in _ecp5_candidates(input_hz):
        if settings.hertz(input_hz) == output_hz:
            return settings
    raise ValueError(
        f"the clock must be one that the PLL makes of {input_hz} Hz, not {output_hz!r} Hz"
    )


def gowin_settings(input_hz: int, output_hz: int) -> PllSettings:
    """Settings of an rPLL that give ``output_hz`` exactly.

    Raises
    ------
    ValueError
        When there are none.
    """
    # Limits of the GW2A data sheet: phase detector from 3 MHz, VCO 500 to 1250 MHz.
    for divider, feedback in itertools.product(range(1, 65), range(1, 65)):
        if input_hz * feedback != output_hz * divider or input_hz / divider < 3e6:
            continue
        for output in (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128):
            if 500e6 <= output_hz * output <= 1250e6:
                return PllSettings(divider, feedback, output)
    raise ValueError(
        f"the clock must be one that the PLL makes of {input_hz} Hz, not {output_hz!r} Hz"
    )


class GowinPll(wiring.Component):
    """An rPLL with feedback inside; ``locked`` is asynchronous."""

    def __init__(self, *, input_hz: int, output_hz: int):
        self._input_hz = input_hz
        self._settings = gowin_settings(input_hz, output_hz)
        super().__init__({"i": In(1), "o": Out(1), "locked": Out(1)})

    def elaborate(self, platform):
        m = Module()
        settings = self._settings
        m.submodules.pll = Instance(
            "rPLL",
            p_FCLKIN=f"{self._input_hz / 1e6:g}",
            p_DEVICE="GW2A-18C",
            p_IDIV_SEL=settings.input - 1,
            p_FBDIV_SEL=settings.feedback - 1,
            p_ODIV_SEL=settings.output,
            p_CLKFB_SEL="internal",
            i_CLKIN=self.i,
            i_CLKFB=0,
            i_RESET=0,
            i_RESET_P=0,
            i_FBDSEL=0,
            i_IDSEL=0,
            i_ODSEL=0,
            i_PSDA=0,
            i_DUTYDA=0,
            i_FDLY=0,
            o_CLKOUT=self.o,
            o_LOCK=self.locked,
        )
        return m


class Ecp5Pll(wiring.Component):
    """An EHXPLLL with feedback from its output; ``locked`` is asynchronous."""

    def __init__(self, *, input_hz: int, output_hz: int):
        self._settings = ecp5_settings(input_hz, output_hz)
        super().__init__({"i": In(1), "o": Out(1), "locked": Out(1)})

    def elaborate(self, platform):
        m = Module()
        settings = self._settings
        open_ = Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            p_CLKI_DIV=settings.input,
            p_CLKFB_DIV=settings.feedback,
            p_CLKOP_DIV=settings.output,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=settings.output - 1,
            p_FEEDBK_PATH="CLKOP",
            i_CLKI=self.i,
            i_CLKFB=self.o,
            i_RST=0,
            i_STDBY=0,
            i_PHASESEL0=0,
            i_PHASESEL1=0,
            i_PHASEDIR=0,
            i_PHASESTEP=0,
            i_PHASELOADREG=0,
            i_PLLWAKESYNC=0,
            i_ENCLKOP=1,
            o_CLKOP=self.o,
            o_LOCK=self.locked,
            o_INTLOCK=open_,
        )
        return m
