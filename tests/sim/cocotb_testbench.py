"""Runs inside the simulator: an accumulator against the obvious sum."""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hpu.sim.testbench import parameters


@cocotb.test()
async def accumulates(dut):
    """The register holds the sum of all steps plus the deliberate error of the parameters."""
    Clock(dut.clk, 2, unit="ns").start()
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    total = 0
    for _ in range(50):
        step = random.randrange(256)
        dut.step.value = step
        await RisingEdge(dut.clk)
        total = (total + step) % 65536
    dut.step.value = 0
    await RisingEdge(dut.clk)
    assert int(dut.sum.value) == total + parameters()["error"]
