"""Tokens: order what conflicts, cost little, never overflow."""

import dataclasses

import numpy as np
import pytest

from hpu.compiler.backend import compile_graph
from hpu.compiler.emit import Emitted, Emitter, Memory, Span
from hpu.compiler.sync import insert_tokens
from hpu.hw.config import by_name
from hpu.hw.isa import Unit
from hpu.sim import races

LAB = by_name("lab-16")


def one(unit, reads=(), writes=()):
    spans = [tuple(Span(Memory.UB, *s) for s in side) for side in (reads, writes)]
    return Emitted(unit, bytes(128), *spans)


def tokens(*instructions, config=LAB):
    """(wait, signal) of every instruction."""
    data = insert_tokens(instructions, config)
    return [(data[i + 1], data[i + 2]) for i in range(0, len(data), 128)]


def bit(unit):
    return 1 << unit


def test_a_read_waits_for_the_write():
    assert tokens(one(Unit.LOAD, writes=[(0, 4)]), one(Unit.MATRIX, reads=[(3, 5)])) == [
        (0, bit(Unit.MATRIX)),
        (bit(Unit.LOAD), 0),
    ]


def test_a_write_waits_for_the_read_and_the_write_before():
    found = tokens(
        one(Unit.LOAD, writes=[(0, 4)]),
        one(Unit.STORE, reads=[(0, 4)]),
        one(Unit.VECTOR, writes=[(0, 4)]),
    )
    assert found[2] == (bit(Unit.STORE), 0), "what STORE waited for is known with it"


@pytest.mark.parametrize("words", [(4, 8), (9, 12)])
def test_words_apart_need_no_token(words):
    assert tokens(one(Unit.LOAD, writes=[(0, 4)]), one(Unit.MATRIX, reads=[words])) == [(0, 0)] * 2


def test_one_unit_orders_itself():
    both = one(Unit.VECTOR, reads=[(0, 4)], writes=[(0, 4)])
    assert tokens(both, both) == [(0, 0)] * 2


def test_what_is_known_costs_no_second_token():
    found = tokens(
        one(Unit.LOAD, writes=[(0, 4)]),
        one(Unit.LOAD, writes=[(4, 8)]),
        one(Unit.MATRIX, reads=[(4, 8)]),
        one(Unit.MATRIX, reads=[(0, 4)]),
    )
    assert [wait for wait, _ in found] == [0, 0, bit(Unit.LOAD), 0]


def test_at_most_255_tokens_are_out():
    count = 400
    program = [one(Unit.LOAD, writes=[(i, i + 1)]) for i in range(count)]
    program += [one(Unit.MATRIX, reads=[(i, i + 1)]) for i in range(count)]
    found = tokens(*program)
    given = sum(signal != 0 for _, signal in found)
    assert 1 < given <= 255 - LAB.queue_depth
    assert found[count - 1][1], "a late gift stands for all that are not given"
    assert sum(wait != 0 for wait, _ in found) == given


def test_random_transfers_have_no_race():
    rng = np.random.default_rng(1)
    emitter = Emitter(LAB)
    for _ in range(400):
        load = rng.integers(0, 2)
        word, count = int(rng.integers(0, 60)), int(rng.integers(1, 5))
        row = int(rng.integers(0, 60))
        sides = [Span(Memory.UB, word, word + count)], [Span(Memory.DRAM, row, row + count)]
        side = "d" if load else "a"
        fields = {f"{side}_base": word, f"{side}_x": 1, "x_count": count, "dram": 8 * row}
        if load:
            emitter.emit(
                "LOAD", sides[1], sides[0], **fields, n_count=1, y_count=1, width=2, copies=1
            )
        else:
            emitter.emit("STORE", *sides, **fields, n_count=1, y_count=1, width=2)
    races.check(insert_tokens(emitter.instructions, LAB), LAB)
    with pytest.raises(races.RaceError):
        races.check(b"".join(i.data for i in emitter.instructions), LAB)


def test_every_token_of_a_program_is_needed(random_graphs):
    """Taking any gift and its take away leaves a race: the pass gives none for nothing."""
    graph = random_graphs.random_graph(3, size=6, channels=20, length=2, batch=1)
    data = compile_graph(graph, dataclasses.replace(LAB, ub_depth=512)).instructions
    assert any(data[i + 1] for i in range(0, len(data), 128))
    for giver in Unit:
        for taker in Unit:
            cut = _without_channel(data, giver, taker)
            if cut != data:
                with pytest.raises(races.RaceError):
                    races.check(cut, LAB)


def _without_channel(data, giver, taker):
    cut = bytearray(data)
    owners = {1: Unit.LOAD, 2: Unit.WEIGHTS, 3: Unit.MATRIX, 4: Unit.VECTOR, 5: Unit.STORE}
    for at in range(0, len(cut), 128):
        if owners[cut[at]] == taker:
            cut[at + 1] &= ~bit(giver)
        if owners[cut[at]] == giver:
            cut[at + 2] &= ~bit(taker)
    return bytes(cut)
