"""Weight fetches ahead of their use: never more than the FIFO holds."""

import numpy as np
import pytest

from hpu.compiler.emit import Emitter, Memory, Span
from hpu.compiler.prefetch import hoist_constants, hoist_weights, spread
from hpu.hw.config import by_name
from hpu.hw.isa import BY_NAME, Unit

LAB = by_name("lab-16")


def program(seed):
    """Fetches, each before the MATMUL that takes its tile, and other instructions between."""
    rng = np.random.default_rng(seed)
    emitter = Emitter(LAB)
    for tile in range(30):
        emitter.emit("WEIGHTS", dram=8 * tile, rows=1, width=1)
        for index in range(int(rng.integers(1, 4))):
            if rng.integers(0, 2):
                emitter.emit("LOAD", n_count=1, y_count=1, x_count=tile + 1, width=1, copies=1)
            matmul = dict(n_count=1, y_count=1, x_count=tile + 1, image_rows=1, image_cols=1)
            emitter.emit("MATMUL", **matmul, taps=1, tap_groups=1, new_weights=index == 0)
    return emitter.instructions


@pytest.mark.parametrize("seed", range(5))
def test_order_and_room(seed):
    before = program(seed)
    after = hoist_weights(before, LAB)
    for weights in (True, False):
        kept = [
            [i for i in side if (i.unit == Unit.WEIGHTS) == weights] for side in (before, after)
        ]
        assert kept[0] == kept[1], f"seed {seed}"
    fetched = taken = most = 0
    for instruction in after:
        if instruction.unit == Unit.WEIGHTS:
            fetched += 1
        elif instruction.unit == Unit.MATRIX and takes(instruction):
            assert fetched > taken, f"seed {seed}: a tile is taken before it is fetched"
            most = max(most, fetched - taken)
            taken += 1
    assert most == LAB.weight_tiles


def takes(instruction):
    return BY_NAME["MATMUL"].decode(instruction.data)["new_weights"]


def _vector(emitter, params):
    emitter.emit(
        "VECTOR", [Span(Memory.PARAM, params, params + 1)], n_count=1, y_count=1, x_count=1
    )


def _load(emitter, memory, index):
    emitter.emit("LOAD", (), [Span(memory, index, index + 1)], n_count=1, y_count=1, x_count=1)


def test_constants_come_first_but_not_before_their_place_is_free():
    emitter = Emitter(LAB)
    _load(emitter, Memory.UB, 0)
    _load(emitter, Memory.PARAM, 0)
    _vector(emitter, 0)
    _load(emitter, Memory.UB, 1)
    _load(emitter, Memory.PARAM, 0)
    _load(emitter, Memory.PARAM, 1)
    ub0, first, vector, ub1, again, other = emitter.instructions
    assert hoist_constants(emitter.instructions) == [first, other, ub0, vector, again, ub1]


@pytest.mark.parametrize("loads", [0, 1, 3, 7, 20])
def test_loads_are_spread_evenly(loads):
    instructions, extra = list(range(7)), [f"load {k}" for k in range(loads)]
    result = spread(extra, instructions)
    assert [i for i in result if i in instructions] == instructions
    assert [i for i in result if i in extra] == extra
    gaps = np.diff([-1, *(i for i, one in enumerate(result) if one in instructions)])
    assert max(gaps) - min(gaps[1:]) <= 1
