"""MATMUL as docs/machine.md says it, one row and one lane group at a time."""

import itertools

import numpy as np

from hpu.hw.config import TAPS

MASK = (1 << 24) - 1


def rows(f):
    """Per row, per tap: the word read, or None outside the image."""
    for n, y, x in itertools.product(*(range(f[f"{name}_count"]) for name in "nyx")):
        base = f["a_base"] + n * f["a_n"] + y * f["a_y"] + x * f["a_x"]
        row = []
        for tap in range(f["taps"]):
            dy, dx = f[f"dy{tap}"], f[f"dx{tap}"]
            offset = dy * f["tap_y"] + dx * f["tap_x"]
            iy = f["y0"] + y * f["y_step"] + dy
            ix = f["x0"] + x * f["x_step"] + dx
            inside = 0 <= iy < f["image_rows"] and 0 <= ix < f["image_cols"]
            row.append((base + offset) & MASK if inside else None)
        yield row


def activations(f, row, ub, config):
    """int32 activations of the array's rows."""
    result = np.zeros(config.rows, np.int32)
    for group in range(f["taps"] * f["tap_groups"]):
        lanes = slice(group * config.group, (group + 1) * config.group)
        word = row[group // f["tap_groups"]]
        result[lanes] = f["pad"] if word is None else ub[word][lanes]
    return result


def run(f, ub, weight, acc, config):
    """Execute on ``acc`` in place; gives (useful, padding) row counts and the words written."""
    useful, words = 0, []
    all_rows = list(rows(f))
    for index, row in enumerate(all_rows):
        word = f["acc"] + index
        sums = activations(f, row, ub, config) @ weight.astype(np.int32)
        acc[word] = sums + (acc[word] if f["accumulate"] else 0)
        useful += any(word is not None for word in row)
        words.append(word)
    return (useful, len(all_rows) - useful), words


def legal(f, config):
    """Whether every access is inside its memory."""
    words = [word for row in rows(f) for word in row if word is not None]
    count = f["n_count"] * f["y_count"] * f["x_count"]
    return max(words, default=0) < config.ub_depth and f["acc"] + count <= config.acc_depth


def draw(rng, config, **fixed):
    """A random legal MATMUL."""
    while True:
        f = _draw(rng, config)
        f.update(fixed)
        if legal(f, config):
            return f


def _draw(rng, config):
    step = 12
    n_taps = rng.randint(1, config.row_groups)
    far_y, far_x = (rng.randint(-32000, 32000) if rng.random() < 0.2 else 0 for _ in "yx")
    table = {f"{name}{tap}": 0 for name in ("dy", "dx") for tap in range(TAPS)}
    for tap in range(n_taps):
        table[f"dy{tap}"] = far_y + rng.randint(-2, 4)
        table[f"dx{tap}"] = far_x + rng.randint(-2, 4)
    return table | {
        "n_count": rng.randint(1, 2),
        "y_count": rng.randint(1, 4),
        "x_count": rng.randint(1, 6),
        "a_base": rng.randint(0, config.ub_depth - 1),
        "a_n": rng.randint(-step, step),
        "a_y": rng.randint(-step, step),
        "a_x": rng.randint(-step, step),
        "y0": rng.randint(-4, 3) - far_y,
        "x0": rng.randint(-4, 3) - far_x,
        "y_step": rng.randint(0, 2),
        "x_step": rng.randint(0, 2),
        "image_rows": rng.randint(1, 6),
        "image_cols": rng.randint(1, 6),
        "taps": n_taps,
        "tap_groups": rng.randint(1, config.row_groups // n_taps),
        "tap_y": rng.randint(-step, step),
        "tap_x": rng.randint(-step, step),
        "pad": rng.randint(-128, 127),
        "new_weights": int(rng.random() < 0.5),
        "accumulate": rng.randint(0, 1),
        "acc": rng.randint(0, config.acc_depth - 1),
    }
