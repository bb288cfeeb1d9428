"""Convolutions computed through sweeps and passes, against loops over pixels."""

import dataclasses
import itertools

import numpy as np
import pytest

from hpu.compiler.packing import folded_bias, passes_of, split_int8, tiles_of
from hpu.compiler.sweep import Geometry, sweep_of
from hpu.hw.config import by_name
from hpu.runtime.cell import PLAIN, Cell

LAB = by_name("lab-16")
FULL = by_name("hai-v1")
WIDE = dataclasses.replace(LAB, name="wide", rows=8, cols=24)
TALL = dataclasses.replace(LAB, name="tall", rows=24, cols=8)


def sums_by_loops(op, x):
    """int64 [n, y, x, c] sums of the convolution, padded with zero point."""
    n, height, width, _ = x.shape
    _, rows, cols, cout = op.out.shape
    per_in, per_out = op.weight.shape[3], cout // op.groups
    total = np.zeros(op.out.shape, np.int64)
    for y, k in itertools.product(range(rows), range(cols)):
        for ky, kx in itertools.product(range(op.weight.shape[1]), range(op.weight.shape[2])):
            iy = y * op.strides[0] - op.pads[0] + ky * op.dilations[0]
            ix = k * op.strides[1] - op.pads[1] + kx * op.dilations[1]
            inside = 0 <= iy < height and 0 <= ix < width
            pixel = x[:, iy, ix] if inside else np.full((n, x.shape[3]), op.x.quant.zero)
            for o in range(cout):
                group = pixel[:, o // per_out * per_in :][:, :per_in].astype(np.int64)
                total[:, y, k, o] += group @ op.weight[o, ky, kx]
    return total


def sums_by_passes(op, sweep, cell_out, x, config):
    """The same through the passes: what the array and the moves do, in numpy."""
    stored_x = sweep.cell_in.store(x)
    result = np.zeros(cell_out.stored(op.out.shape), np.int64)
    for target in sweep.targets:
        sums = np.zeros((*sweep.size, target.columns), np.int64)
        for one, tile in tiles_of(op, sweep, target, config):
            assert tile.shape == (one.rows, target.columns) and tile.dtype == np.int8
            assert one.rows <= config.rows
            assert len(one.taps) * one.tap_groups <= config.row_groups
            for at in np.ndindex(*sweep.size):
                sums[at] += activations(op, sweep, one, at, stored_x, config) @ tile
        move(sweep, target, sums, result, config)
    return cell_out.restore(result, op.out.shape[3])


def activations(op, sweep, one, at, stored, config):
    """What the rows of the array see in one step of a pass."""
    block = sweep.in_blocks[one.block]
    n, y, x = (i * step for i, step in zip(at, sweep.step, strict=True))
    lanes = np.zeros(config.rows, np.int64)
    for group in range(len(one.taps) * one.tap_groups):
        dy, dx = one.taps[group // one.tap_groups]
        word = np.full(block.width * config.group, op.x.quant.zero)
        if 0 <= y + dy < stored.shape[1] and 0 <= x + dx < stored.shape[2]:
            word[: block.channels] = stored[n + one.image, y + dy, x + dx][block.first :][
                : block.channels
            ]
            word[block.channels :] = 0
        part = word.reshape(-1, config.group)[group % block.width]
        lanes[group * config.group : (group + 1) * config.group] = part
    return lanes[: one.rows]


def move(sweep, target, sums, result, config):
    """Every move of a target to the words of the result, with a mark that none comes twice."""
    for one in target.moves:
        block = sweep.out_blocks[one.block]
        words = result[:, :, :, block.first : block.first + block.channels]
        part = sums[..., one.s_group * config.group :][..., : one.width * config.group]
        n, y, x = (slice(o, None, s) for o, s in zip(one.word, sweep.spread, strict=True))
        first = one.d_group * config.group
        assert one.d_group + one.width * one.copies <= config.groups
        words[n, y, x, first : first + part.shape[-1]] += part[..., : block.channels - first]


CASES = [
    # shape, cout, kernel, more, cell in, cell out
    ((2, 6, 6, 4), 4, (3, 3), dict(pads=(1, 1, 1, 1)), (1, 2, 2), (1, 2, 2)),
    ((2, 6, 6, 4), 8, (3, 3), dict(pads=(1, 1, 1, 1)), (1, 2, 2), (1, 1, 2)),
    ((2, 6, 6, 8), 4, (1, 1), {}, (1, 1, 2), (1, 2, 2)),
    ((2, 6, 6, 4), 8, (1, 1), {}, (1, 2, 2), (1, 1, 1)),
    ((2, 6, 6, 40), 4, (1, 1), {}, (1, 1, 1), (1, 2, 2)),
    ((4, 4, 4, 4), 4, (1, 1), {}, (4, 1, 1), (4, 1, 1)),
    ((4, 4, 4, 4), 3, (3, 3), dict(pads=(1, 0, 1, 2)), (1, 1, 1), (4, 1, 1)),
    ((4, 4, 4, 4), 20, (1, 1), {}, (4, 1, 1), (1, 1, 1)),
    ((2, 8, 8, 3), 4, (3, 3), dict(strides=(2, 2), pads=(1, 1, 1, 1)), (1, 1, 4), (1, 2, 2)),
    ((2, 8, 8, 3), 4, (7, 7), dict(strides=(2, 2), pads=(3, 3, 3, 3)), (1, 2, 2), (2, 1, 1)),
    ((1, 9, 9, 5), 8, (3, 3), dict(dilations=(2, 2), pads=(2, 2, 2, 2)), (1, 3, 1), (1, 1, 1)),
    ((2, 8, 8, 4), 4, (3, 3), dict(groups=4, pads=(1, 1, 1, 1)), (2, 2, 1), (2, 2, 1)),
    ((2, 8, 8, 8), 12, (2, 3), dict(groups=2, wide=True), (1, 1, 1), (1, 1, 1)),
    ((4, 4, 4, 10), 20, (3, 3), dict(pads=(1, 1, 1, 1)), (2, 1, 1, 8), (4, 1, 1, 4)),
    ((4, 4, 4, 4), 11, (1, 1), {}, (1, 2, 2), (2, 1, 1, 8)),
    ((4, 4, 4, 14), 3, (2, 2), {}, (2, 1, 1, 8), (1, 1, 1)),
    ((2, 4, 4, 12), 12, (3, 3), dict(groups=3, pads=(1, 1, 1, 1)), (2, 1, 1, 8), (2, 1, 1, 8)),
    ((1, 5, 6, 20), 20, (3, 3), dict(groups=20, pads=(1, 1, 1, 1)), (1, 1, 1), (1, 1, 1)),
    (
        (1, 5, 6, 2),
        2,
        (3, 2),
        dict(strides=(2, 1), pads=(0, 0, 0, 1), wide=True),
        (1, 1, 2),
        (1, 1, 1),
    ),
]


def cells(case):
    """Cells of (images, rows, columns) and perhaps channels."""
    return [Cell(*size[:3], LAB.group, *size[3:]) if size != (1, 1, 1) else PLAIN for size in case]


@pytest.mark.parametrize("config", [LAB, WIDE, TALL], ids=lambda c: c.name)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_passes_are_the_convolution(random_graphs, case, config):
    shape, cout, kernel, more, *sizes = case
    b = random_graphs.Builder(5)
    b.conv(b.input(*shape), cout, kernel, **more)
    op = b.ops[0]
    cell_in, cell_out = cells(sizes)
    sweep = sweep_of(Geometry.of(op), cell_in, cell_out, config)
    if sweep is None:
        assert config.name != "lab-16"
        pytest.skip("the cells do not fit this array's words")
    x = b.rng.integers(-128, 128, shape)
    found = sums_by_passes(op, sweep, cell_out, x, config)
    assert (found == sums_by_loops(op, x)).all()


@pytest.mark.parametrize("seed", range(60))
def test_random_convolutions(random_graphs, seed):
    b = random_graphs.Builder(seed)
    rng = b.rng
    sizes = [[int(rng.integers(1, 3)) for _ in range(3)] for _ in range(3)]
    shape = (2 * int(rng.integers(1, 3)), *(int(rng.integers(2, 5)) * 2 for _ in range(2)))
    groups = int(rng.integers(1, 3))
    cin, cout = (groups * int(rng.integers(1, 5)) for _ in range(2))
    kernel = tuple(int(rng.integers(1, 4)) for _ in range(2))
    more = dict(
        strides=tuple(int(rng.integers(1, 3)) for _ in range(2)),
        pads=tuple(int(rng.integers(1, 3)) for _ in range(4)),
        dilations=tuple(int(rng.integers(1, 3)) for _ in range(2)),
    )
    b.conv(b.input(*shape, cin), cout, kernel, groups=groups, **more)
    op = b.ops[0]
    cell_in, cell_out, columns = cells(sizes)
    x = rng.integers(-128, 128, (*shape, cin))
    expected = sums_by_loops(op, x)
    for side, outer in itertools.product((None, columns), (cell_out, PLAIN)):
        sweep = sweep_of(Geometry.of(op), cell_in, outer, LAB, side)
        if sweep is not None:
            found = sums_by_passes(op, sweep, outer, x, LAB)
            assert (found == expected).all(), f"seed {seed}, {cell_in}, {outer}, {side}"
    sweep = sweep_of(Geometry.of(op), PLAIN, PLAIN, LAB)
    assert (sums_by_passes(op, sweep, PLAIN, x, LAB) == expected).all(), f"seed {seed}"


def passes_per_unit(config, shape, cout, kernel, cell_in, cell_out, **more):
    out = (
        shape[0],
        shape[1] // more.get("strides", (1, 1))[0],
        shape[2] // more.get("strides", (1, 1))[1],
        cout,
    )
    geometry = Geometry(
        x=shape,
        out=out,
        kernel=kernel,
        strides=more.get("strides", (1, 1)),
        pads=tuple(k // 2 for k in kernel),
        dilations=(1, 1),
        groups=1,
    )
    sweep = sweep_of(geometry, cell_in, cell_out, config, more.get("columns"))
    pixels = np.prod(sweep.unit)
    return sum(len(passes_of(sweep, t, config)) for t in sweep.targets), pixels


@pytest.mark.parametrize(
    ("case", "passes", "pixels"),
    [
        (((4, 56, 56, 256), 64, (1, 1), PLAIN, Cell(1, 2, 2, 16)), 4, 4),
        (((4, 56, 56, 64), 64, (3, 3), Cell(1, 2, 2, 16), Cell(1, 2, 2, 16)), 4, 4),
        (((4, 56, 56, 64), 256, (1, 1), Cell(1, 2, 2, 16), PLAIN), 4, 4),
        (((4, 56, 56, 64), 64, (3, 3), PLAIN, PLAIN), 3, 1),
        (((4, 28, 28, 128), 128, (3, 3), Cell(1, 1, 2, 16), Cell(1, 1, 2, 16)), 6, 2),
        (((4, 224, 224, 3), 64, (7, 7), Cell(1, 1, 4, 16), Cell(1, 2, 2, 16)), 2, 4),
        (((8, 56, 56, 32), 32, (1, 1), Cell(8, 1, 1, 16), Cell(8, 1, 1, 16)), 1, 8),
        (((4, 14, 14, 256), 256, (3, 3), PLAIN, PLAIN), 9, 1),
        (((4, 14, 14, 1024), 256, (1, 1), PLAIN, PLAIN), 4, 1),
    ],
    ids=str,
)
def test_passes_of_known_layers(case, passes, pixels):
    shape, cout, kernel, cell_in, cell_out = case
    strides = (2, 2) if kernel == (7, 7) else (1, 1)
    found = passes_per_unit(FULL, shape, cout, kernel, cell_in, cell_out, strides=strides)
    assert found == (passes, pixels)


def test_small_channels_share_a_pass(random_graphs):
    b = random_graphs.Builder(2)
    b.conv(b.input(1, 8, 8, 3), 4, (3, 3))
    sweep = sweep_of(Geometry.of(b.ops[0]), PLAIN, PLAIN, LAB)
    passes = passes_of(sweep, sweep.targets[0], LAB)
    assert [one.taps for one in passes] == [
        ((0, 0), (0, 1), (0, 2), (1, 0)),
        ((1, 1), (1, 2), (2, 0), (2, 1)),
        ((2, 2),),
    ]
    assert [one.rows for one in passes] == [15, 15, 3]


def test_depthwise_blocks_use_their_own_inputs_only(random_graphs):
    b = random_graphs.Builder(2)
    b.conv(b.input(1, 4, 4, 40), 40, (3, 3), groups=40)
    sweep = sweep_of(Geometry.of(b.ops[0]), PLAIN, PLAIN, LAB)
    used = [{one.block for one in passes_of(sweep, t, LAB)} for t in sweep.targets]
    assert used == [{0}, {1}, {2}]


def test_columns_take_several_blocks_where_the_array_is_wide(random_graphs):
    b = random_graphs.Builder(2)
    b.conv(b.input(1, 4, 4, 8), 40, (1, 1))
    sweep = sweep_of(Geometry.of(b.ops[0]), PLAIN, PLAIN, WIDE)
    assert [target.columns for target in sweep.targets] == [24, 16]
    assert [[m.block for m in target.moves] for target in sweep.targets] == [[0, 1, 2], [3, 4]]


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
