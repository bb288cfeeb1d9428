"""Places for all tensors at once."""

import itertools

import numpy as np
import pytest

from hpu.compiler.allocate import Space
from hpu.compiler.arrange import arrange


def _lies_apart(lives, words, bases):
    for one, other in itertools.combinations(lives, 2):
        together = lives[one][0] <= lives[other][1] and lives[other][0] <= lives[one][1]
        apart = bases[one] + words[one] <= bases[other] or bases[other] + words[other] <= bases[one]
        assert apart or not together, (one, other)


def _random(seed):
    rng = np.random.default_rng(seed)
    firsts = rng.integers(0, 20, 25)
    lives = {f"t{i}": (int(f), int(f + rng.integers(0, 6))) for i, f in enumerate(firsts)}
    return lives, {name: int(rng.integers(1, 30)) for name in lives}


@pytest.mark.parametrize("seed", range(5))
def test_tensors_that_live_together_lie_apart(seed):
    lives, words = _random(seed)
    bases = arrange(lives, words, 400)
    assert bases is not None
    assert all(0 <= base <= 400 - words[name] for name, base in bases.items())
    _lies_apart(lives, words, bases)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_tensors_get_the_same_places(seed):
    lives, words = _random(seed)
    assert arrange(lives, words, 300) == arrange(lives, words, 300)


def test_more_than_the_buffer_holds_has_no_places():
    assert arrange({"a": (0, 2), "b": (2, 3)}, {"a": 6, "b": 5}, 10) is None
    assert arrange({"a": (0, 1), "b": (2, 3)}, {"a": 6, "b": 5}, 10) == {"a": 0, "b": 0}


#: First fit puts c between a and where b was; d then finds no four words in a row.
LIVES = {"a": (0, 1), "b": (0, 2), "c": (1, 3), "d": (2, 3)}
WORDS = {"a": 2, "b": 2, "c": 2, "d": 4}


def test_where_first_fit_leaves_gaps_the_solver_finds_room():
    space, held = Space(8), {}
    for index in range(4):
        for name in [n for n in held if LIVES[n][1] < index]:
            space.give(held.pop(name), WORDS[name])
        for name, (first, _) in LIVES.items():
            if first == index:
                held[name] = space.take(WORDS[name])
    assert None in held.values(), "first fit fails"
    bases = arrange(LIVES, WORDS, 8)
    assert bases is not None
    _lies_apart(LIVES, WORDS, bases)
