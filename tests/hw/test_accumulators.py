"""The accumulators at several shapes; what is tested stands in cocotb_accumulators.py."""

import dataclasses
from pathlib import Path

import pytest

from hpu.hw.accumulators import Accumulators
from hpu.hw.config import by_name
from hpu.sim.testbench import simulate

SHAPES = {
    "lab": {"acc_depth": 32},
    "pairs": {"cols": 8, "group": 2, "acc_depth": 16, "axi_bytes": 8},
    "one-group": {"cols": 8, "group": 8, "acc_depth": 16, "axi_bytes": 8},
}
#: The others in the full run.
QUICK = {"lab"}


@pytest.mark.parametrize(
    "shape",
    [pytest.param(s, marks=[] if s in QUICK else pytest.mark.slow) for s in SHAPES],
)
def test_accumulators(shape):
    config = dataclasses.replace(by_name("lab-16"), name=shape, **SHAPES[shape])
    simulate(
        Accumulators(config=config),
        test_file=Path(__file__).with_name("cocotb_accumulators.py"),
        parameters={"config": dataclasses.asdict(config)},
    )
