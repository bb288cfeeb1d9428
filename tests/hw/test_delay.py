"""Delay lines of wires, registers and memories."""

from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hpu.hw.delay import DelayLine
from hpu.sim.testbench import simulate

CYCLES = (0, 1, 2, 5, 6, 7, 8, 31)
WIDTH = 37


class Lines(wiring.Component):
    """One line of each delay, all fed by ``i``."""

    def __init__(self):
        super().__init__({"i": In(WIDTH), **{f"o_{cycles}": Out(WIDTH) for cycles in CYCLES}})

    def elaborate(self, platform):
        m = Module()
        for cycles in CYCLES:
            line = DelayLine(width=WIDTH, cycles=cycles)
            m.submodules[f"line_{cycles}"] = line
            m.d.comb += [line.i.eq(self.i), getattr(self, f"o_{cycles}").eq(line.o)]
        return m


def test_delays():
    simulate(
        Lines(),
        test_file=Path(__file__).with_name("cocotb_delay.py"),
        parameters={"cycles": CYCLES, "width": WIDTH},
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0, "cycles": 1}, "width must be a positive integer, not 0"),
        ({"width": 8, "cycles": -1}, "cycles must be a non-negative integer, not -1"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError) as caught:
        DelayLine(**arguments)
    assert str(caught.value) == message
