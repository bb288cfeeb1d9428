"""The whole machine under cocotb, at lab-16 size."""

import dataclasses
from pathlib import Path

import pytest

from hpu.hw.config import by_name
from hpu.hw.top import Hpu
from hpu.sim.testbench import simulate


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "backpressure"), [(1, 0.0), (2, 0.5)])
def test_top(seed, backpressure):
    config = by_name("lab-16")
    simulate(
        Hpu(config=config),
        test_file=Path(__file__).with_name("cocotb_top.py"),
        parameters={
            "config": dataclasses.asdict(config),
            "seed": seed,
            "idle": 0.0,
            "backpressure": backpressure,
        },
    )
