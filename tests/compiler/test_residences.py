"""What stands where: against what the instructions touch."""

import dataclasses

import pytest

from hpu.compiler.backend import compile_graph
from hpu.hw.config import by_name
from hpu.sim.decode import decode
from hpu.sim.footprint import Memory, footprint

LAB = by_name("lab-16")
TIGHT = dataclasses.replace(LAB, name="tight", ub_depth=512, ub_segments=2, queue_depth=2)


def graph(random_graphs, seed):
    return random_graphs.random_graph(seed, size=12, channels=40, length=6, batch=2)


@pytest.mark.parametrize("config", [LAB, TIGHT], ids=lambda config: config.name)
@pytest.mark.parametrize("seed", range(3))
def test_instructions_touch_only_what_is_held_while_their_node_runs(random_graphs, config, seed):
    program = compile_graph(graph(random_graphs, seed), config)
    words = decode(program.instructions, config)
    touched = 0
    for index, node in enumerate(program.nodes):
        held = set()
        for part in program.memory:
            if part.space == "ub" and part.first <= index <= part.last:
                held |= set(range(part.base, part.base + part.size))
        for instruction in words[node.first : node.first + node.count]:
            found = footprint({**instruction.values, "opcode": instruction.entry.opcode}, config)
            for side in (found.reads, found.writes):
                used = set(side.get(Memory.UB, ()))
                touched += len(used)
                assert used <= held, f"seed {seed}: {node.name} uses {sorted(used - held)[:5]}"
    assert touched


@pytest.mark.parametrize("seed", range(3))
def test_nothing_stands_on_another(random_graphs, seed):
    memory = compile_graph(graph(random_graphs, seed), TIGHT).memory
    for i, a in enumerate(memory):
        for b in memory[:i]:
            apart = a.base + a.size <= b.base or b.base + b.size <= a.base
            later = a.last < b.first or b.last < a.first
            assert a.space != b.space or apart or later, f"seed {seed}: {a} and {b}"
