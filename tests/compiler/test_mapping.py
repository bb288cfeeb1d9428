"""Passes: together they are the convolution's matrix."""

import itertools

import numpy as np
import pytest

from hpu.compiler.mapping import conv_passes, folded_bias, input_blocks, split_int8
from hpu.hw.config import by_name
from hpu.runtime.layout import blocks

LAB = by_name("lab-16")


def tile_sum(op, out, config):
    """The weights that the passes of an output block hold: [tap, input channel, output]."""
    in_blocks = list(blocks(op.x.shape, config))
    taps = op.weight.shape[1] * op.weight.shape[2]
    total = np.zeros((taps, op.x.shape[3], out.channels), int)
    for one, tile in conv_passes(op, out, in_blocks, config):
        assert tile.shape == (one.rows, out.channels)
        assert one.rows <= config.rows
        block = in_blocks[one.block]
        for tap in range(one.taps):
            rows = tile[tap * one.tap_groups * config.group :][: block.channels]
            part = slice(block.first, block.first + block.channels)
            total[one.first_tap + tap, part] += rows
    return total


@pytest.mark.parametrize(
    ("cin", "cout", "kernel", "groups", "wide"),
    [
        (3, 5, (3, 3), 1, False),
        (40, 20, (1, 1), 1, False),
        (20, 40, (2, 3), 1, True),
        (24, 24, (3, 3), 24, False),
        (24, 12, (1, 3), 4, True),
    ],
)
def test_passes_hold_every_weight_once(random_graphs, cin, cout, kernel, groups, wide):
    b = random_graphs.Builder(2)
    b.conv(b.input(1, 4, 4, cin), cout, kernel, groups=groups, wide=wide)
    op = b.ops[0]
    per_in, per_out = cin // groups, cout // groups
    for out in blocks(op.out.shape, LAB):
        expected = np.zeros((kernel[0] * kernel[1], cin, out.channels), int)
        for o, (ky, kx) in itertools.product(
            range(out.channels), itertools.product(*map(range, kernel))
        ):
            first = (out.first + o) // per_out * per_in
            weights = op.weight[out.first + o, ky, kx]
            expected[ky * kernel[1] + kx, first : first + per_in, o] = weights
        assert (tile_sum(op, out, LAB) == expected).all()


def test_small_channels_share_a_pass(random_graphs):
    b = random_graphs.Builder(2)
    b.conv(b.input(1, 8, 8, 3), 4, (3, 3))
    op = b.ops[0]
    (out,) = blocks(op.out.shape, LAB)
    passes = [one for one, _ in conv_passes(op, out, list(blocks(op.x.shape, LAB)), LAB)]
    assert [(one.first_tap, one.taps) for one in passes] == [(0, 4), (4, 4), (8, 1)]


def test_depthwise_blocks_use_their_own_inputs_only(random_graphs):
    b = random_graphs.Builder(2)
    b.conv(b.input(1, 4, 4, 40), 40, (3, 3), groups=40)
    op = b.ops[0]
    in_blocks = list(blocks(op.x.shape, LAB))
    used = [input_blocks(op, out, in_blocks) for out in blocks(op.out.shape, LAB)]
    assert used == [[0], [1], [2]]


@pytest.mark.parametrize(("value", "parts"), [(0, 1), (127, 1), (-128, 1), (254, 2), (255, 3)])
def test_split_int8(value, parts):
    pieces = list(split_int8(np.array([[value, 0]])))
    assert len(pieces) == parts
    assert all(piece.dtype == np.int8 for piece in pieces)
    assert sum(piece.astype(int) for piece in pieces).tolist() == [[value, 0]]


def test_folded_bias(random_graphs):
    b = random_graphs.Builder(3)
    b.conv(b.input(1, 4, 4, 5), 3, (2, 2))
    op = b.ops[0]
    sums = op.weight.astype(int).sum(axis=(1, 2, 3))
    assert (folded_bias(op) == op.bias - op.x.quant.zero * sums).all()
