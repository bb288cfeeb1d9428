"""The register block under cocotb."""

import dataclasses
from pathlib import Path

import pytest

from hpu.hw.config import by_name
from hpu.hw.registers import Registers
from hpu.sim.testbench import simulate


@pytest.mark.parametrize("backpressure", [0.0, 0.5])
def test_registers(backpressure):
    config = by_name("lab-16")
    simulate(
        Registers(config=config),
        test_file=Path(__file__).with_name("cocotb_registers.py"),
        parameters={"config": dataclasses.asdict(config), "seed": 5, "backpressure": backpressure},
    )
