"""Cells against loops over pixels."""

import itertools

import numpy as np
import pytest

from hpu.runtime.cell import PLAIN, Cell

CELLS = [
    PLAIN,
    Cell(1, 2, 2, 4),
    Cell(3, 1, 1, 4),
    Cell(2, 1, 4, 16),
    Cell(2, 2, 3, 1),
    Cell(2, 1, 2, 2, 4),
]


def twin(values, cell):
    """The stored form, pixel by pixel: images at whole groups, pixels without gaps."""
    n, y, x, c = values.shape
    if cell.block and c > cell.block:
        parts = [
            twin(_filled(values[..., at : at + cell.block], cell), cell)
            for at in range(0, c, cell.block)
        ]
        return np.concatenate(parts, axis=3)[..., : cell.lanes(c)]
    if cell.block:
        return twin(_filled(values, cell), Cell(*cell.size, cell.group))[..., : cell.lanes(c)]
    per_image = cell.rows * cell.cols * c
    step = -(-per_image // cell.group) * cell.group
    lanes = (cell.images - 1) * step + per_image
    stored = np.zeros((n // cell.images, y // cell.rows, x // cell.cols, lanes), values.dtype)
    for i, j, k in itertools.product(range(n), range(y), range(x)):
        pixel = j % cell.rows * cell.cols + k % cell.cols
        lane = i % cell.images * step + pixel * c
        word = stored[i // cell.images, j // cell.rows, k // cell.cols]
        word[lane : lane + c] = values[i, j, k]
    return stored


def _filled(values, cell):
    return np.pad(values, [(0, 0)] * 3 + [(0, cell.block - values.shape[3])])


@pytest.mark.parametrize("channels", [1, 3, 4, 7, 9])
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_stored_form(cell, channels):
    values = np.random.default_rng(channels).integers(-128, 128, (6, 4, 12, channels), np.int8)
    stored = cell.store(values)
    assert cell.stored(values.shape) == stored.shape
    assert (stored == twin(values, cell)).all()
    assert (cell.restore(stored, channels) == values).all()


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_spread_is_the_stored_form_of_equal_pixels(cell):
    row = np.arange(1, 6)
    values = np.broadcast_to(row, (*cell.size, 5))
    assert (cell.spread(row) == twin(values, cell)[0, 0, 0]).all()
    both = np.stack([row, -row])
    assert (cell.spread(both) == np.stack([cell.spread(row), cell.spread(-row)])).all()


def test_lanes_of_a_pixel():
    cell = Cell(2, 2, 2, 4)
    values = np.arange(2 * 2 * 2).reshape(2, 2, 2, 1) + 1
    wide = np.repeat(values, 3, axis=3)
    stored = cell.store(wide)[0, 0, 0]
    for n, y, x in itertools.product(range(2), repeat=3):
        lane = cell.lane(3, n, y, x)
        assert (stored[lane : lane + 3] == values[n, y, x]).all()
    assert cell.lanes(3) == 24


def test_divides():
    assert Cell(2, 2, 1).divides((4, 6, 5, 3))
    assert not Cell(2, 2, 1).divides((4, 5, 6, 3))


def test_text():
    assert str(Cell(1, 2, 2)) == "2×2 pixels"
    assert str(Cell(4)) == "4 images"
    assert str(Cell(4, 1, 4)) == "4 images of 1×4 pixels"
    assert str(PLAIN) == "1×1 pixels"
    assert str(Cell(8, 1, 1, 16, 32)) == "8 images of 32 channels"


def test_lanes_end_with_the_last_channel():
    assert Cell(2, 1, 1, 4, 4).lanes(10) == 2 * 8 + 4 + 2
    assert Cell(2, 1, 1, 4, 4).stored((4, 3, 3, 10)) == (2, 3, 3, 22)
    assert Cell(1, 2, 2, 4).lanes(3) == 12
