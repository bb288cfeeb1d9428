"""Configurations that the tests of blocks run over."""

import dataclasses

import pytest

from hpu.hw.config import Config, by_name

_LAB = by_name("lab-16")
#: Beats narrower and wider than words, one chunk per beat, and arrays that are not square.
SHAPES = {
    "lab-16": _LAB,
    "chunk-beat": dataclasses.replace(_LAB, name="chunk-beat", rows=8, axi_bytes=4),
    "word-beat": dataclasses.replace(_LAB, name="word-beat", cols=8, axi_bytes=16),
    "six-groups": dataclasses.replace(
        _LAB, name="six-groups", rows=24, cols=16, axi_bytes=8, burst_beats=4, weight_tiles=2
    ),
}


#: Shapes of the quick suite.
QUICK = {"lab-16", "chunk-beat"}


@pytest.fixture(
    params=[pytest.param(s, marks=[] if s in QUICK else pytest.mark.slow) for s in SHAPES]
)
def shape(request: pytest.FixtureRequest) -> Config:
    """One of the shapes."""
    return SHAPES[request.param]


@pytest.fixture
def shape_values(shape: Config) -> dict:
    """The shape as a dictionary for a cocotb module."""
    return dataclasses.asdict(shape)
