"""Delay lines against a list of what went in."""

import random

import cocotb
from stepping import Stepper

from hpu.sim.testbench import parameters

CYCLES = parameters()["cycles"]
WIDTH = parameters()["width"]


@cocotb.test()
async def delays(dut):
    """Outputs are inputs of ``cycles`` cycles ago, and zero before; also after a second reset."""
    seed = random.getrandbits(32)
    cocotb.log.info("seed %d", seed)
    rng = random.Random(seed)
    bench = Stepper(dut)
    for _ in range(3):
        await bench.reset(i=rng.getrandbits(WIDTH))
        history = []
        for cycle in range(rng.randint(1, 4 * max(CYCLES))):
            history.append(rng.getrandbits(WIDTH))
            bench.set(i=history[-1])
            await bench.settle()
            for cycles in CYCLES:
                expected = history[cycle - cycles] if cycle >= cycles else 0
                assert bench.get(f"o_{cycles}") == expected, (cycle, cycles)
            await bench.edge()
