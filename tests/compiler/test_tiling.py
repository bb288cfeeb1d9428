"""Regions: every position exactly once, within the limits."""

import dataclasses
import itertools

import numpy as np
import pytest

from hpu.compiler.tiling import (
    Accumulators,
    Axis,
    Region,
    View,
    acc_pieces,
    growing,
    rising,
    shrinking,
    split,
    tiles,
    window,
)
from hpu.hw.config import by_name

LAB = by_name("lab-16")
SHAPES = [(1, 1, 1), (5, 1, 1), (1, 7, 3), (3, 4, 5), (1, 1, 200), (2, 9, 40), (1, 28, 28)]


def covered_once(pieces, whole):
    seen = np.zeros(whole.size, int)
    for p in pieces:
        seen[p.n0 - whole.n0 : p.n1 - whole.n0, p.y0 : p.y1, p.x0 : p.x1] += 1
    return (seen == 1).all()


@pytest.mark.parametrize(("shape", "limit"), list(itertools.product(SHAPES, [1, 3, 16, 1000])))
def test_split(shape, limit):
    whole = Region.whole(shape)
    pieces = split(whole, limit)
    assert covered_once(pieces, whole)
    assert max(p.words for p in pieces) <= limit


@pytest.mark.parametrize(("shape", "most"), list(itertools.product(SHAPES, [1, 16, 64])))
def test_accumulator_blocks(shape, most):
    whole = Region.whole(shape)
    accumulators, pieces = Accumulators(LAB), []
    for part in acc_pieces(whole, LAB, most):
        for group in accumulators.groups(part):
            words = [w for b in group for w in range(b.acc, b.acc + b.region.words)]
            assert len(set(words)) == len(words), "blocks of a group lie apart"
            assert max(words) < LAB.acc_depth
            pieces += [b.region for b in group]
    assert covered_once(pieces, whole)
    assert max(p.words for p in pieces) <= most


def test_groups_follow_one_another_round_the_accumulators():
    accumulators = Accumulators(LAB)
    groups = [next(accumulators.groups([Region.whole((1, 1, 30))])) for _ in range(6)]
    assert [group[0].acc for group in groups] == [0, 30, 60, 90, 0, 30]


def test_a_group_that_passes_the_end_keeps_off_its_own_beginning():
    accumulators = Accumulators(LAB)
    next(accumulators.groups([Region.whole((1, 1, 100))]))
    groups = list(accumulators.groups([Region.whole((1, 1, 40))] * 4))
    for group in groups:
        words = [w for b in group for w in range(b.acc, b.acc + b.region.words)]
        assert len(set(words)) == len(words)


def test_what_leaves_room_for_the_next_is_one_part():
    full = by_name("hai-v1")
    parts = list(acc_pieces(Region.whole((8, 19, 19)), full, full.acc_depth))
    assert len(parts) == 1
    assert sum(piece.words for piece in parts[0]) == 2888


def test_long_results_are_cut_into_equal_parts():
    full = by_name("hai-v1")
    parts = list(acc_pieces(Region.whole((32, 14, 14)), full, full.acc_depth))
    assert [sum(piece.words for piece in part) for part in parts] == [3136, 3136]
    assert [piece.words for part in parts for piece in part] == [392] * 8 + [1568] * 2


def test_groups_are_no_longer_than_asked():
    groups = list(Accumulators(LAB).groups(split(Region.whole((1, 5, 4)), 4), 2))
    assert [len(group) for group in groups] == [2, 2, 1]


def test_shrinking_ends_with_one_position():
    sizes = list(shrinking((5, 30, 6)))
    assert sizes[0] == (5, 30, 6)
    assert sizes[-1] == (1, 1, 1)
    areas = [np.prod(size) for size in sizes]
    assert areas == sorted(areas, reverse=True)


@pytest.mark.parametrize("seed", range(20))
def test_window_holds_every_tap_inside_the_image(seed):
    rng = np.random.default_rng(seed)
    size, kernel, stride, dilation = (int(rng.integers(1, high)) for high in (20, 5, 4, 4))
    axis = Axis(size, kernel, stride, dilation, int(rng.integers(0, kernel)))
    low = int(rng.integers(0, 10))
    high = low + int(rng.integers(1, 5))
    taps = [o * stride - axis.pad + k * dilation for o in range(low, high) for k in range(kernel)]
    inside = [tap for tap in taps if 0 <= tap < size]
    first, last = axis.reach(low, high)
    assert 0 <= first < last <= size
    assert all(first <= tap < last for tap in inside), f"seed {seed}"
    assert last - first <= axis.longest(high - low)


def test_view_extents_cover_the_part_and_stay_in_the_view():
    region = Region(2, 5, 3, 9, 0, 7)
    view = View(100, region)
    for part in tiles(region, (2, 3, 4)):
        words = set()
        for low, high in view.extents(part):
            words |= set(range(low, high))
        assert {
            view.word(n, y, x)
            for n in range(part.n0, part.n1)
            for y in range(part.y0, part.y1)
            for x in range(part.x0, part.x1)
        } <= words
        assert min(words) >= 100
        assert max(words) < 100 + region.words


def test_view_extents_outside_the_view_are_empty():
    region = Region.whole((1, 4, 4))
    assert not list(View(0, region).extents(dataclasses.replace(region, y0=4, y1=6)))


def test_window_of_a_region():
    y, x = Axis(8, 3, 1, 1, 1), Axis(8, 3, 2, 1, 1)
    assert window(Region(0, 2, 2, 4, 1, 3), y, x) == Region(0, 2, 1, 5, 1, 6)


def test_every_few_words_of_a_view():
    view = View(100, Region(0, 4, 3, 9, 0, 6))
    every = view.every((2, 3, 2), (1, 2, 0))
    assert every.region == Region(0, 2, 1, 3, 0, 3)
    for n, y, x in itertools.product(range(2), range(1, 3), range(3)):
        assert every.word(n, y, x) == view.word(2 * n + 1, 3 * y + 2, 2 * x)


def test_blocks_of_positions():
    assert Region(1, 2, 0, 3, 2, 4).times((2, 1, 4)) == Region(2, 4, 0, 3, 8, 16)


@pytest.mark.parametrize(("images", "rows", "most"), [(1, 9, 4), (2, 7, 8), (4, 1, 3), (1, 64, 1)])
def test_growing_pieces_cover_the_region_in_order(images, rows, most):
    region = Region(0, 4, 3, 3 + rows, 1, 6)
    pieces = list(growing(region, images, most))
    covered = [(n, y) for p in pieces for n in range(p.n0, p.n1) for y in range(p.y0, p.y1)]
    assert sorted(covered) == list(itertools.product(range(4), range(3, 3 + rows)))
    assert len(pieces) <= max(most, 4 // images)
    assert all(piece.words > 0 for piece in pieces)
    first = [piece.words for piece in pieces if piece.n0 == 0]
    assert first == sorted(first)


def test_growing_pieces_grow_by_half():
    pieces = list(growing(Region.whole((1, 112, 1)), 1, 8))
    sizes = [piece.words for piece in pieces]
    assert sum(sizes) == 112 and len(sizes) == 8
    assert sizes[0] <= 3
    assert all(b <= 1.5 * a + 2 for a, b in itertools.pairwise(sizes))


@pytest.mark.parametrize(("shape", "limit"), list(itertools.product(SHAPES, [1, 16, 100])))
def test_rising_pieces_begin_small(shape, limit):
    whole = Region.whole(shape)
    pieces = rising(whole, limit)
    assert covered_once(pieces, whole)
    assert max(p.words for p in pieces) <= limit


def test_rising_pieces():
    assert [p.words for p in rising(Region.whole((1, 100, 2)), 40)] == [10, 20, *[34] * 5]
