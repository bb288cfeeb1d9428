"""The matrix unit at several shapes; what is tested stands in cocotb_matrix.py."""

import dataclasses
from pathlib import Path

import pytest

from hpu.hw.config import by_name
from hpu.hw.matrix import MatrixUnit
from hpu.sim.testbench import simulate

LAB = by_name("lab-16")
SHAPES = {
    "lab": {},
    "wide": {"rows": 8, "cols": 16},
    "tall": {"rows": 16, "cols": 8},
    "one-tile": {"rows": 8, "cols": 8},
    "many-tiles": {"rows": 24, "cols": 16, "tile": 4, "weight_tiles": 3, "axi_bytes": 8},
    "small-group": {"rows": 8, "cols": 16, "group": 2, "tile": 4, "axi_bytes": 4},
}
#: The others in the full run.
QUICK = {"lab"}


@pytest.mark.parametrize(
    "shape",
    [pytest.param(s, marks=[] if s in QUICK else pytest.mark.slow) for s in SHAPES],
)
def test_matrix(shape):
    config = dataclasses.replace(LAB, name=shape, **SHAPES[shape])
    simulate(
        MatrixUnit(config=config),
        test_file=Path(__file__).with_name("cocotb_matrix.py"),
        parameters={"config": dataclasses.asdict(config), "count": 12},
    )
