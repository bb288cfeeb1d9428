"""Counters and the attribution of matrix cycles, in Amaranth's simulator."""

import itertools
import random

from amaranth.sim import Simulator

from hpu.hw import csr
from hpu.hw.counters import Counters, MatrixCause
from hpu.hw.isa import Unit


def _simulate(block, testbench, clock=True):
    simulator = Simulator(block)
    if clock:
        simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def _cause(own, running, missing, present, coming):
    """The rules in words, from first to last."""
    if own is not None:
        return f"MATRIX_{own}"
    if not running:
        return "MATRIX_HOST"
    if Unit.LOAD in missing:
        return "MATRIX_INPUT"
    if Unit.VECTOR in missing:
        return "MATRIX_ACCUMULATOR"
    if missing:
        return "MATRIX_TOKEN"
    if present:
        return "MATRIX_SETUP"
    return "MATRIX_FETCH" if coming else "MATRIX_DRAINED"


def test_every_cycle_has_one_cause():
    block = MatrixCause()
    own = {
        None: None,
        "USEFUL": "useful",
        "PADDING": "padding",
        "WEIGHTS": "weights",
        "SETUP": "setup",
    }

    async def testbench(ctx):
        for (name, port), running, mask, present, coming in itertools.product(
            own.items(), (0, 1), range(32), (0, 1), (0, 1)
        ):
            for other in filter(None, own.values()):
                ctx.set(getattr(block, other), int(other == port))
            ctx.set(block.running, running)
            ctx.set(block.missing, mask)
            ctx.set(block.present, present)
            ctx.set(block.coming, coming)
            charged = ctx.get(block.causes)
            names = [c.name for c in csr.MATRIX_CAUSES if charged[c.name]]
            missing = [unit for unit in Unit if mask >> unit & 1]
            assert names == [_cause(name, running, missing, present, coming)]

    _simulate(block, testbench, clock=False)


def test_counters_and_snapshot():
    block, rng = Counters(), random.Random(6)
    names = [counter.name for counter in csr.COUNTERS]

    async def testbench(ctx):
        counts, shown = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
        for _ in range(300):
            snapshot = rng.random() < 0.1
            events = {name: rng.randrange(2) for name in names if name != "CYCLES"}
            ctx.set(block.snapshot, snapshot)
            ctx.set(block.events, events)
            if snapshot:
                shown = dict(counts)
            for name in names:
                counts[name] += events.get(name, 1)
            await ctx.tick()
            values = ctx.get(block.values)
            assert [values[k] for k in range(len(names))] == list(shown.values())

    _simulate(block, testbench)
