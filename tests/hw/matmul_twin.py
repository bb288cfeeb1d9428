"""MATMUL as docs/machine.md says it, one row and one lane group at a time."""

import itertools

import numpy as np

MASK = (1 << 24) - 1


def taps(f):
    """(ky·dilation, kx·dilation, offset) of every tap."""
    ky, kx, offset = 0, f["tap_start"], 0
    for _ in range(f["taps"]):
        yield ky * f["y_dilation"], (kx - f["tap_start"]) * f["x_dilation"], offset
        kx += 1
        offset += f["tap_x"]
        if kx == f["tap_row"]:
            ky, kx = ky + 1, 0
            offset += f["tap_y"] - f["tap_x"]


def rows(f):
    """Per row, per tap: the word read, or None outside the image."""
    for n, y, x in itertools.product(*(range(f[f"{name}_count"]) for name in "nyx")):
        base = f["a_base"] + n * f["a_n"] + y * f["a_y"] + x * f["a_x"]
        row = []
        for dy, dx, offset in taps(f):
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
    tap_row = rng.randint(1, 4)
    return {
        "n_count": rng.randint(1, 2),
        "y_count": rng.randint(1, 4),
        "x_count": rng.randint(1, 6),
        "a_base": rng.randint(0, config.ub_depth - 1),
        "a_n": rng.randint(-step, step),
        "a_y": rng.randint(-step, step),
        "a_x": rng.randint(-step, step),
        "y0": rng.randint(-4, 3),
        "x0": rng.randint(-4, 3),
        "y_step": rng.randint(0, 2),
        "x_step": rng.randint(0, 2),
        "y_dilation": rng.randint(0, 2),
        "x_dilation": rng.randint(0, 2),
        "image_rows": rng.randint(1, 6),
        "image_cols": rng.randint(1, 6),
        "taps": n_taps,
        "tap_groups": rng.randint(1, config.row_groups // n_taps),
        "tap_start": rng.randint(0, tap_row - 1),
        "tap_row": tap_row,
        "tap_x": rng.randint(-step, step),
        "tap_y": rng.randint(-step, step),
        "pad": rng.randint(-128, 127),
        "new_weights": int(rng.random() < 0.5),
        "accumulate": rng.randint(0, 1),
        "acc": rng.randint(0, config.acc_depth - 1),
    }
