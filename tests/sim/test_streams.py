"""Streamed windows: what is read, and that every window is there when its step comes."""

import random

import numpy as np
import pytest

from hpu.hw.config import by_name
from hpu.hw.isa import Opcode
from hpu.sim.access import window_taps
from hpu.sim.cycles.streams import stream_length, stream_steps, stream_words
from hpu.sim.random_instruction import Drawer

LAB = by_name("lab-16")


def streams(seed, count):
    drawer, found = Drawer(LAB, random.Random(seed)), []
    while len(found) < count:
        values = drawer.draw(Opcode.VECTOR)
        if values["stream"]:
            found.append(values)
    return found


def window(v, n, y, x, rows, cols, top, left):
    """Numbers of the words of a window that are inside the image, in the order of reading."""
    for ky in range(v["ky_count"]):
        for kx in range(v["kx_count"]):
            iy = v["y0"] + y * v["y_step"] + ky
            ix = v["x0"] + x * v["x_step"] + kx
            if 0 <= iy < v["image_rows"] and 0 <= ix < v["image_cols"]:
                yield (n * rows + iy - top) * cols + ix - left


@pytest.mark.parametrize("seed", range(4))
def test_every_window_is_in_the_lines_when_its_step_comes(seed):
    for v in streams(seed, 60):
        _, rows, cols = stream_words(v).counts
        top, left = max(0, v["y0"]), max(0, v["x0"])
        steps = stream_steps(v).reshape(v["n_count"], v["y_count"], v["x_count"])
        assert (np.diff(steps.ravel()) > 0).all(), (seed, v)
        assert stream_length(v) == steps.max() + 1
        for (n, y, x), step in np.ndenumerate(steps):
            words = list(window(v, n, y, x, rows, cols, top, left))
            assert max(words) <= step, (seed, v)
            assert min(words) >= step - 2 * cols - 2, (seed, v)


@pytest.mark.parametrize("seed", range(4))
def test_the_words_read_are_those_of_the_windows(seed):
    for v in streams(seed, 60):
        words = {int(w) for tap in window_taps(v) for w in tap.box.words().ravel()}
        assert set(stream_words(v).words().ravel().tolist()) == words, (seed, v)
