"""Which windows of VECTOR may be streamed (docs/hw/vector.md says why)."""

from collections.abc import Callable, Mapping

from hpu.hw.config import Config
from hpu.hw.instruction import Rule

__all__ = ["STREAM_RULES", "STREAM_WINDOW"]

#: Rows and columns of the largest window that is streamed.
STREAM_WINDOW = 3


def _steps(values: Mapping, config: Config) -> object:
    """Something but small dense windows, one or two elements apart, of which none is left out."""
    result: object = 0
    for axis in ("y", "x"):
        kernel, step = values[f"k{axis}_count"], values[f"{axis}_step"]
        result = result | (kernel > STREAM_WINDOW) | (values[f"{axis}_dilation"] != 1)
        result = result | (step < 1) | (step > 2) | (step > kernel)
    return result


def _strides(values: Mapping, config: Config) -> object:
    """A word that two windows share has not the same address for both."""
    result: object = 0
    for axis in ("y", "x"):
        step = values[f"{axis}_step"] & 3
        result = result | (values[f"a_{axis}"] != step * values[f"a_k{axis}"])
    return result


def _edges(values: Mapping, config: Config) -> object:
    """A first window before the image, a last one behind it, or an image narrower than both."""
    result: object = 0
    for axis, size in (("y", "image_rows"), ("x", "image_cols")):
        span = (values[f"{axis}_count"] - 1) * (values[f"{axis}_step"] & 3)
        place, limit = values[f"{axis}0"], values[size]
        result = result | (place + values[f"k{axis}_count"] < 1)
        result = result | (place + span > limit - 1) | (span > limit - 1)
    return result


def _width(values: Mapping, config: Config) -> object:
    """Every bound of the columns read is wider than a line."""
    span = (values["x_count"] - 1) * (values["x_step"] & 3)
    place, limit, line = values["x0"], values["image_cols"], config.window_cols
    inside = (limit > line) & (limit - place > line)
    end = span + values["kx_count"]
    return inside & (place + end > line) & (end > line)


def _rule(doc: str, broken: Callable[[Mapping, Config], object]) -> Rule:
    return Rule(
        f"streaming: {doc}", lambda values, config: (values["stream"] == 1) & broken(values, config)
    )


STREAM_RULES = (
    _rule(
        f"ky_count and kx_count are at most {STREAM_WINDOW}, y_dilation and x_dilation 1, "
        "y_step and x_step 1 or 2 and not above ky_count and kx_count",
        _steps,
    ),
    _rule("a_y is y_step * a_ky, a_x is x_step * a_kx", _strides),
    _rule(
        "y0 + ky_count and x0 + kx_count are at least 1; (y_count - 1) * y_step and "
        "(x_count - 1) * x_step, also with y0 and x0 added, are less than image_rows and "
        "image_cols",
        _edges,
    ),
    _rule(
        "the windows of x_count elements cover at most window_cols columns of image_cols", _width
    ),
)
