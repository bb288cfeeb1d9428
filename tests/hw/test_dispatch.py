"""Tokens, and the dispatcher's order, overflow and deadlock, in Amaranth's simulator."""

import random

from amaranth.sim import Simulator

from hpu.hw.config import by_name
from hpu.hw.csr import FaultCause
from hpu.hw.dispatch import Dispatch, Tokens
from hpu.hw.isa import Unit


def _run(block, *testbenches):
    simulator = Simulator(block)
    simulator.add_clock(1e-6)
    for index, testbench in enumerate(testbenches):
        simulator.add_testbench(testbench, background=index > 0)
    simulator.run()


def test_tokens_count_every_channel():
    block, rng = Tokens(), random.Random(9)

    async def testbench(ctx):
        counts = {(giver, taker): 0 for giver in Unit for taker in Unit}
        for step in range(2000):
            chance = 0.9 if step < 1000 else 0.3
            give, take = [0] * len(Unit), [0] * len(Unit)
            overflow = 0
            for (giver, taker), count in counts.items():
                gives = rng.random() < chance
                takes = count > 0 and rng.random() < 0.5
                give[giver] |= gives << taker
                take[taker] |= takes << giver
                overflow |= (gives and not takes and count == 255) << giver
            for unit in Unit:
                ctx.set(block.give[unit], give[unit])
                ctx.set(block.take[unit], take[unit])
                mask = sum((counts[giver, unit] > 0) << giver for giver in Unit)
                assert ctx.get(block.tokens[unit]) == mask
            assert ctx.get(block.overflow) == overflow
            for giver, taker in counts:
                counts[giver, taker] += (give[giver] >> taker & 1) - (take[taker] >> giver & 1)
                counts[giver, taker] %= 256
            await ctx.tick()

    _run(block, testbench)


class _Twin:
    """Queues, tokens and units as lists; a unit takes any time for an instruction."""

    def __init__(self, program):
        self.queues = {unit: [] for unit in Unit}
        self.tokens = {(giver, taker): 0 for giver in Unit for taker in Unit}
        self.program, self.started = program, []

    def start(self, unit, pc):
        """The unit started ``pc``: its next, with a token in every channel it waits for."""
        expected = next(
            i for i, (u, *_) in enumerate(self.program) if u == unit and i not in self.started
        )
        assert pc == expected
        for giver in Unit:
            if self.program[pc][1] >> giver & 1:
                assert self.tokens[giver, unit] > 0, f"{pc} started without a token of {giver.name}"
                self.tokens[giver, unit] -= 1
        self.started.append(pc)

    def done(self, unit, pc):
        for taker in Unit:
            self.tokens[unit, taker] += self.program[pc][2] >> taker & 1


def _bench(program, rng):
    """Dispatch ``program`` (unit, wait, signal), now and then late, to units of random speed."""
    block, twin = Dispatch(config=by_name("lab-16")), _Twin(program)
    state = {"given": 0}

    async def give(ctx):
        for pc, (unit, wait, signal) in enumerate(program):
            queue = block.queues[unit]
            for _ in range(rng.choice((0, 0, 0, 40))):
                await ctx.tick()
            ctx.set(queue.i.p.wait, wait)
            ctx.set(queue.i.p.signal, signal)
            ctx.set(queue.i.p.instr.pc, pc)
            ctx.set(queue.i.valid, 1)
            while not ctx.get(queue.i.ready):
                ctx.set(block.settled, 1)
                await ctx.tick()
            ctx.set(block.settled, 0)
            await ctx.tick()
            ctx.set(queue.i.valid, 0)
            state["given"] = pc + 1
        ctx.set(block.settled, 1)

    def serve(unit):
        async def testbench(ctx):
            queue, flying = block.queues[unit], []
            while True:
                ctx.set(queue.instr.ready, rng.random() < 0.5)
                ends_now = bool(flying) and rng.random() < 0.2
                ctx.set(queue.done, ends_now)
                if ends_now:
                    assert ctx.get(queue.done_pc) == flying[0]
                    twin.done(unit, flying.pop(0))
                starts = ctx.get(queue.instr.valid) and ctx.get(queue.instr.ready)
                pc = ctx.get(queue.instr.p.pc)
                await ctx.tick()
                if starts:
                    twin.start(unit, pc)
                    flying.append(pc)

        return testbench

    return block, twin, state, [give, *(serve(unit) for unit in Unit)]


def _ordered(rng, length):
    """A random program whose every wait is for a token given by an earlier instruction."""
    tokens = {(giver, taker): 0 for giver in Unit for taker in Unit}
    program = []
    for _ in range(length):
        unit = rng.choice(list(Unit))
        wait = sum(1 << giver for giver in Unit if tokens[giver, unit] and rng.random() < 0.6)
        signal = rng.randrange(32) & rng.randrange(32)
        for other in Unit:
            tokens[other, unit] -= wait >> other & 1
            tokens[unit, other] += signal >> other & 1
        program.append((unit, wait, signal))
    return program


def test_programs_run_in_token_order():
    for seed in range(8):
        print("seed", seed)
        rng = random.Random(seed)
        program = _ordered(rng, 80)
        block, twin, state, testbenches = _bench(program, rng)

        async def end(ctx, block=block, twin=twin, state=state, program=program):
            for _ in range(5000):
                await ctx.tick()
                assert not ctx.get(block.fault.valid)
                if state["given"] == len(program) and ctx.get(block.empty):
                    assert sorted(twin.started) == list(range(len(program)))
                    return
            raise AssertionError(f"{len(twin.started)} of {len(program)} started")

        _run(block, end, *testbenches)


def test_waiting_for_a_late_giver_is_no_deadlock():
    rng = random.Random(13)
    program = []
    for _ in range(12):
        program += [(Unit.MATRIX, 1 << Unit.LOAD, 0), (Unit.LOAD, 0, 1 << Unit.MATRIX)]
    fault, twin = _fault(program, rng)
    assert fault is None
    assert sorted(twin.started) == list(range(len(program)))


def _fault(program, rng):
    block, twin, _, testbenches = _bench(program, rng)
    result = []

    async def end(ctx):
        for _ in range(4000):
            await ctx.tick()
            if ctx.get(block.fault.valid):
                result.append((FaultCause(ctx.get(block.fault.cause)), ctx.get(block.fault.pc)))
                return

    _run(block, end, *testbenches)
    return result[0] if result else None, twin


def test_deadlock_names_the_oldest_waiting():
    rng = random.Random(10)
    program = [
        (Unit.LOAD, 0, 0),
        (Unit.STORE, 1 << Unit.VECTOR, 0),
        (Unit.VECTOR, 1 << Unit.STORE, 1 << Unit.STORE),
        (Unit.MATRIX, 0, 0),
    ]
    fault, twin = _fault(program, rng)
    assert fault == (FaultCause.DEADLOCK, 1)
    assert sorted(twin.started) == [0, 3]


def test_deadlock_behind_a_full_queue():
    rng = random.Random(11)
    program = [(Unit.MATRIX, 0, 0)] + [(Unit.LOAD, 1 << Unit.STORE, 0)] * 12 + [(Unit.STORE, 0, 1)]
    fault, _ = _fault(program, rng)
    assert fault == (FaultCause.DEADLOCK, 1)


def test_overflow_names_the_giver():
    rng = random.Random(12)
    program = [(Unit.VECTOR, 0, 1 << Unit.STORE)] * 260
    fault, _ = _fault(program, rng)
    assert fault == (FaultCause.TOKEN_OVERFLOW, 255)
