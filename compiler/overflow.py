"""Proof that no int32 sum wraps, for any input."""

import numpy as np

from hpu.compiler import ir
from hpu.compiler.errors import UnsupportedError

__all__ = ["check_overflow", "sum_bounds"]

_LIMIT = 1 << 31


def check_overflow(graph: ir.Graph) -> ir.Graph:
    """``graph`` itself when every accumulator stays in int32.

    Raises
    ------
    UnsupportedError
        When some input could make a sum wrap; names the node.
    """
    for op in graph.ops:
        if isinstance(op, ir.Conv):
            _check_conv(op)
        elif isinstance(op, ir.Pool) and op.kernel[0] * op.kernel[1] * 255 >= _LIMIT:
            raise UnsupportedError("pool", op.nodes[0], "its window is too large for int32 sums")
    return graph


def _check_conv(op: ir.Conv) -> None:
    partial = np.abs(op.weight.astype(np.int64)).sum(axis=(1, 2, 3)) * 128
    low, high = sum_bounds(op)
    wrong = (partial >= _LIMIT) | (low < -_LIMIT) | (high >= _LIMIT)
    if wrong.any():
        channel = int(np.flatnonzero(wrong)[0])
        raise UnsupportedError(
            "convolution or product",
            op.nodes[0],
            f"the sum of output channel {channel} could leave int32 ({low[channel]} to "
            f"{high[channel]}); use smaller weights or a smaller bias",
        )


def sum_bounds(op: ir.Conv) -> tuple[np.ndarray, np.ndarray]:
    """int64 [cout]: least and greatest sum of (x - zero point) times weight, plus bias.

    A term that padding leaves out is 0, which lies within the bounds of every term.
    """
    weight = op.weight.astype(np.int64)
    least, most = -128 - op.x.quant.zero, 127 - op.x.quant.zero
    bias = op.bias.astype(np.int64)
    low = np.minimum(weight * least, weight * most).sum(axis=(1, 2, 3)) + bias
    high = np.maximum(weight * least, weight * most).sum(axis=(1, 2, 3)) + bias
    return low, high
