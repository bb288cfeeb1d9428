import dataclasses
from pathlib import Path

import pytest

from hpu.hw.buffer import UnifiedBuffer
from hpu.hw.config import CONFIGS
from hpu.hw.ram import Ram
from hpu.sim.testbench import simulate

TEST_FILE = Path(__file__).with_name("cocotb_buffer.py")
#: rows, columns, lane group, words, segments
SHAPES = [(16, 16, 4, 256, 4), (8, 16, 4, 192, 3), (24, 8, 8, 64, 1), (4, 4, 4, 160, 5)]


def shaped(rows, cols, group, ub_depth, ub_segments):
    return dataclasses.replace(
        CONFIGS["lab-16"],
        name="shaped",
        rows=rows,
        cols=cols,
        tile=4,
        group=group,
        ub_depth=ub_depth,
        ub_segments=ub_segments,
        axi_bytes=max(4, group),
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_unified_buffer(shape):
    config = shaped(*shape)
    simulate(
        UnifiedBuffer(config=config),
        test_file=TEST_FILE,
        parameters={"config": dataclasses.asdict(config), "cycles": 500},
    )


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize("name", ["width", "depth"])
def test_ram_refuses_an_empty_memory(name):
    with pytest.raises(ValueError, match=f"{name} must be a positive integer, not 0"):
        Ram(**{"width": 8, "depth": 8, name: 0})
