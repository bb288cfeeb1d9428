import dataclasses
from pathlib import Path

import pytest

from hpu.hw.config import CONFIGS
from hpu.hw.vector import VectorUnit
from hpu.sim.testbench import simulate

TEST_FILE = Path(__file__).with_name("cocotb_vector.py")
#: rows, columns, lane group, tables, words of the buffer, its segments, cycles per word
SHAPES = [
    (16, 16, 4, 2, 1024, 4, 1),
    (8, 16, 4, 1, 768, 3, 1),
    (24, 8, 8, 3, 512, 1, 1),
    (4, 4, 4, 2, 320, 5, 1),
    (4, 28, 1, 1, 256, 2, 1),  # more lane groups than stages
    (8, 8, 4, 2, 512, 2, 4),
    (8, 16, 8, 2, 512, 2, 2),
]
QUICK = [SHAPES[1], SHAPES[5]]


def shaped(rows, cols, group, tables, ub_depth, ub_segments, vector_cycles):
    return dataclasses.replace(
        CONFIGS["lab-16"],
        name="shaped",
        rows=rows,
        cols=cols,
        tile=4,
        group=group,
        tables=tables,
        param_sets=3,
        window_cols=9,  # the widest image of the twin
        ub_depth=ub_depth,
        ub_segments=ub_segments,
        vector_cycles=vector_cycles,
        axi_bytes=max(4, group),
    )


@pytest.mark.parametrize(
    "shape",
    [pytest.param(s, marks=[] if s in QUICK else pytest.mark.slow, id=str(s)) for s in SHAPES],
)
def test_vector_unit(shape):
    config = shaped(*shape)
    counts = {"instructions": 12, "faults": 12, "stops": 12}
    simulate(
        VectorUnit(config=config),
        test_file=TEST_FILE,
        parameters={"config": dataclasses.asdict(config), **counts},
    )
