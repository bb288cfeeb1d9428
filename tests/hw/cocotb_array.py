"""The array against a matrix product: staggered rows, idle between them, weights on the move."""

import random

import cocotb
import numpy as np
from stepping import Stepper

from hpu.hw.config import Config
from hpu.hw.tile import hop_bits
from hpu.sim.testbench import parameters

CONFIG = Config(**parameters()["config"])
ROWS, COLS, TILE = CONFIG.rows, CONFIG.cols, CONFIG.tile
ROW_TILES, COL_TILES = ROWS // TILE, COLS // TILE


class Plan:
    """Inputs and expected outputs by cycle."""

    def __init__(self):
        self.act, self.weight, self.live, self.swap, self.psum = {}, {}, set(), set(), {}

    def add_row(self, cycle, row, weight):
        """Lane 0 of ``row`` enters in ``cycle``."""
        self.live.add(cycle)
        for lane, value in enumerate(row):
            self.act[cycle + lane, lane] = int(value)
        for column, value in enumerate(row.astype(np.int32) @ weight.astype(np.int32)):
            self.psum[cycle + ROWS + CONFIG.multiply_cycles + column, column] = int(value)

    def add_tile(self, cycle, weight):
        """Row 0 of ``weight`` enters column tile 0 in ``cycle``."""
        for r, row in enumerate(weight):
            for j in range(COL_TILES):
                self.weight[cycle + r + TILE * j, j] = r // TILE, row[TILE * j : TILE * (j + 1)]

    @property
    def end(self):
        return max(cycle for cycle, _ in self.psum) + 1


def _plan(rng, draw, idle):
    """Tiles as close to each other as the rules of the swap allow, rows between the swaps."""
    plan, load, swap = Plan(), 0, -3 * TILE
    for _ in range(8):
        weight = draw.integers(-128, 128, (ROWS, COLS), np.int8)
        # One cycle to the first transit register, and one from the swap to its first stage.
        load = max(load, swap + 2 * TILE - 2)
        plan.add_tile(load, weight)
        swap = max(swap + 1, load + TILE + ROW_TILES - 1)
        plan.swap.add(swap)
        cycle = swap + 1
        for _ in range(rng.choice([1, 1, 2, 2 * TILE, 4 * ROWS])):
            row = draw.integers(-128, 128, ROWS, np.int8)
            plan.add_row(cycle, row, weight)
            cycle += 1 + (rng.randrange(3 * TILE) if rng.random() < idle else 0)
        load, swap = load + ROWS, cycle - 2
    return plan


def _inputs(plan, cycle, rng):
    act = weight = hops = valid = 0
    for lane in range(ROWS):
        act |= (plan.act.get((cycle, lane), rng.getrandbits(8)) & 255) << 8 * lane
    for j in range(COL_TILES):
        hop, row = plan.weight.get((cycle, j), (rng.randrange(ROW_TILES), None))
        hops |= hop << hop_bits(ROW_TILES) * j
        if row is not None:
            valid |= 1 << j
            weight |= int.from_bytes(row.tobytes(), "little") << 8 * TILE * j
    return {"act": act, "weight": weight, "weight_valid": valid, "hops": hops}


@cocotb.test()
async def products(dut):
    """Every partial sum in its cycle, with and without idle between the rows."""
    seed = random.getrandbits(32)
    cocotb.log.info("seed %d", seed)
    rng, draw = random.Random(seed), np.random.default_rng(seed)
    bench = Stepper(dut)
    for idle in (0.0, 0.1, 0.5, 1.0):
        plan = _plan(rng, draw, idle)
        await bench.reset(act=0, live=0, swap=0, weight=0, weight_valid=0, hops=0)
        for cycle in range(plan.end):
            bench.set(live=cycle in plan.live, swap=cycle in plan.swap)
            bench.set(**_inputs(plan, cycle, rng))
            await bench.settle()
            sums = bench.get("psum")
            for column in range(COLS):
                expected = plan.psum.get((cycle, column))
                if expected is not None:
                    value = sums >> 32 * column & 0xFFFFFFFF
                    assert value == expected & 0xFFFFFFFF, (idle, cycle, column)
            await bench.edge()
