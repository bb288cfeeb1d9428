"""A streamed VECTOR: the words that it reads, and the steps that complete its windows."""

import numpy as np

from hpu.sim.access import Box, Values

__all__ = ["stream_length", "stream_steps", "stream_words"]


def _ends(values: Values, axis: str, size: str) -> tuple[int, int]:
    """First row or column under the windows, and the one behind the last."""
    last = values[f"{axis}0"] + (values[f"{axis}_count"] - 1) * values[f"{axis}_step"]
    return max(0, values[f"{axis}0"]), min(values[size], last + values[f"k{axis}_count"])


def stream_words(values: Values) -> Box:
    """The words in the order of the steps that read them, [n, rows, columns]."""
    y, rows = _ends(values, "y", "image_rows")
    x, cols = _ends(values, "x", "image_cols")
    base = values["a_base"] + (y - values["y0"]) * values["a_ky"]
    base += (x - values["x0"]) * values["a_kx"]
    strides = (values["a_n"], values["a_ky"], values["a_kx"])
    return Box(base, (values["n_count"], rows - y, cols - x), strides)


def _completing(values: Values) -> Box:
    """The steps that complete the windows, [n, y, x].

    Rows and images follow one another without a gap; so do the rows and columns behind them.
    """
    _, rows, cols = stream_words(values).counts
    y, _ = _ends(values, "y", "image_rows")
    x, _ = _ends(values, "x", "image_cols")
    first = (values["y0"] - y + values["ky_count"] - 1) * cols
    first += values["x0"] - x + values["kx_count"] - 1
    counts = (values["n_count"], values["y_count"], values["x_count"])
    return Box(first, counts, (rows * cols, values["y_step"] * cols, values["x_step"]))


def stream_steps(values: Values) -> np.ndarray:
    """The step that completes each window, int64, in the order of the elements."""
    return _completing(values).addresses().ravel()


def stream_length(values: Values) -> int:
    """Steps in all."""
    return _completing(values).extent()[1] + 1
