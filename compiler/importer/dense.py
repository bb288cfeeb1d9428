"""Products with a constant matrix, as convolutions.

A product over the last dimension is a convolution: with a 1 x 1 kernel when that dimension is the
channels, with a kernel of the whole image when it is a flattened image, the weights' rows put into
the order of the device tensor.
"""

import numpy as np

from hpu.compiler import ir
from hpu.compiler.importer.arrange import settle
from hpu.compiler.importer.build import Builder, whole
from hpu.compiler.importer.conv import layer
from hpu.compiler.importer.layout import Digit, Layout, LayoutError, merge
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import Activation, Pending
from hpu.compiler.importer.weights import Weights, weights_of

__all__ = ["gemm", "product"]

_AXES = {1: (3,), 2: (0, 3), 3: (0, 2, 3), 4: (0, 1, 2, 3)}


def gemm(builder: Builder, node: Node) -> Pending:
    """Gemm of a dequantised activation, quantised constant weights and a bias."""
    value = builder.quantised(node, 0)
    return product(builder, node, value, gemm_weights(node, 1), node.input(2))


def gemm_weights(node: Node, k: int) -> Weights:
    """Weights of a Gemm as [k, n]."""
    if not node.attribute("transB", 0):
        return weights_of(node, k, 1)
    weights = weights_of(node, k, 0)
    return Weights(weights.steps.T, weights.scale)


def product(
    builder: Builder, node: Node, value: Activation, weights: Weights, bias: object
) -> Pending:
    """``value`` [..., k] times weights [k, n]."""
    rank = len(value.shape)
    if rank not in _AXES:
        node.refuse(f"its input has {rank} dimensions; the HPU takes 1 to 4")
    if value.shape[-1] != weights.steps.shape[0]:
        node.refuse(
            f"its input has {value.shape[-1]} columns and its weights {weights.steps.shape[0]} rows"
        )
    builder.bind(node, value, _AXES[rank])
    x, kernel = _laid_out(builder, value)
    if kernel is None:
        value = settle(builder, node, value, tuple((axis, 1) for axis in _AXES[rank]))
        x, kernel = _laid_out(builder, value)
    assert kernel is not None
    *outer, last = builder.dims(node, value)
    cout = weights.steps.shape[1]
    shape4 = (*x.shape[:3], cout) if kernel == (1, 1) else (x.shape[0], 1, 1, cout)
    template = ir.Conv(
        nodes=(node.name,),
        x=x,
        out=x,
        weight=_kernel(weights.steps, last, kernel),
        bias=np.zeros(cout, np.int32),
        scale=np.zeros(cout, np.float32),
    )
    digits = [*(d for ds in outer for d in ds), Digit(3, 1, cout)]
    layout = Layout((*value.shape[:-1], cout), merge(digits))
    return layer(node, template, weights, value, layout, shape4, bias)


def _laid_out(builder: Builder, value: Activation) -> tuple[ir.Tensor, tuple[int, int] | None]:
    """The tensor of a product's left side, and the kernel that the product is over it.

    1 x 1 where the last dimension is the channels, the whole image where it is a flattened image,
    and none where data must move first.
    """
    x = builder.tensor(value.base)
    try:
        *outer, last = value.layout.dims()
    except LayoutError:
        return x, None
    if last == whole(3, x.shape[3]) and all(d.axis != 3 for ds in outer for d in ds):
        return x, (1, 1)
    if merge(d for ds in outer for d in ds) == whole(0, x.shape[0]):
        return x, (x.shape[1], x.shape[2])
    return x, None


def _kernel(steps: np.ndarray, digits: tuple[Digit, ...], kernel: tuple[int, int]) -> np.ndarray:
    """Weights [k, n] as [n, kh, kw, c], the rows walking ``digits``."""
    n = steps.shape[1]
    split = steps.reshape(*(digit.size for digit in digits), n)
    order = sorted(range(len(digits)), key=lambda i: (digits[i].axis, -digits[i].stride))
    rows = split.transpose(*order, len(digits)).reshape(*kernel, -1, n)
    return np.ascontiguousarray(rows.transpose(3, 0, 1, 2))
