"""The array of PE tiles at several shapes; what is tested stands in cocotb_array.py."""

import dataclasses
from pathlib import Path

import pytest

from hpu.hw.array import Array
from hpu.hw.config import by_name
from hpu.hw.tile import Tile
from hpu.sim.testbench import simulate

SHAPES = {
    "square": {"rows": 8, "cols": 8, "tile": 4},
    "wide": {"rows": 4, "cols": 12, "tile": 4, "axi_bytes": 4},
    "tall": {"rows": 20, "cols": 4, "tile": 4, "axi_bytes": 4},
    "single": {"rows": 8, "cols": 8, "tile": 8},
    "slow": {"rows": 8, "cols": 8, "tile": 4, "multiply_cycles": 2},
}
#: The others in the full run.
QUICK = {"tall", "slow"}


@pytest.mark.parametrize(
    "shape",
    [pytest.param(s, marks=[] if s in QUICK else pytest.mark.slow) for s in SHAPES],
)
def test_array(shape):
    config = dataclasses.replace(by_name("lab-16"), name=shape, **SHAPES[shape])
    simulate(
        Array(config=config),
        test_file=Path(__file__).with_name("cocotb_array.py"),
        parameters={"config": dataclasses.asdict(config)},
    )


def test_refusals():
    with pytest.raises(ValueError) as caught:
        Tile(size=0, row_tiles=1)
    assert str(caught.value) == "size must be a positive integer, not 0"
    with pytest.raises(ValueError) as caught:
        Tile(size=4, row_tiles=-1)
    assert str(caught.value) == "row_tiles must be a positive integer, not -1"
