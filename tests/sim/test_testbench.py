from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hpu.hw.emit import instance
from hpu.sim.testbench import simulate

TEST_FILE = Path(__file__).with_name("cocotb_testbench.py")


class Total(wiring.Component):
    """Sum of all steps."""

    step: In(8)
    sum: Out(16)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.sum.eq(self.sum + self.step)
        return m


class Boxed(wiring.Component):
    """A total as a black box."""

    step: In(8)
    sum: Out(16)

    def elaborate(self, platform):
        m = Module()
        total = Total()
        m.submodules.total = instance(total, "total")
        m.d.comb += [total.step.eq(self.step), self.sum.eq(total.sum)]
        return m


def test_passes_with_black_box_and_parameters():
    simulate(Boxed(), test_file=TEST_FILE, parameters={"error": 0})


def test_failure_names_the_seed_and_shows_the_log():
    with pytest.raises(AssertionError, match=r"seed 7: 1 of 1 cocotb tests failed") as caught:
        simulate(Boxed(), test_file=TEST_FILE, parameters={"error": 1}, seed=7)
    assert "assert int(dut.sum.value)" in str(caught.value) or "AssertionError" in str(caught.value)
