"""ConvTranspose as sub-pixel phases: results that lie a stride apart are one convolution.

With stride s, result i takes input (i + pad - k·dilation) / s for every tap k where that is whole.
The taps that do so are the same for all i with one remainder by s, so each remainder is a
convolution of stride 1 with its share of the taps, and the results are laid between one another.
Nothing is multiplied by zeros that were put between the pixels.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from hpu.compiler import ir
from hpu.compiler.importer.build import Builder
from hpu.compiler.importer.conv import layer
from hpu.compiler.importer.layout import Layout
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import Activation, OnnxQuant, Pending
from hpu.compiler.importer.weights import Weights, weights_of
from hpu.compiler.importer.window import pair
from hpu.compiler.pieces import box

__all__ = ["conv_transpose"]

Shape = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class _Phase:
    """Along one axis: results ``first``, ``first`` + stride, … as a convolution of stride 1.

    ``taps`` are the kernel's taps in the order of the input; None stands for a zero.
    """

    first: int
    count: int
    taps: tuple[int | None, ...]
    dilation: int
    pads: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class _Axis:
    """One axis of the operator; ``size`` results of an input of ``image``."""

    image: int
    kernel: int
    stride: int
    dilation: int
    pad: int
    size: int

    def phases(self) -> list[_Phase]:
        """A phase for every remainder that there is."""
        return [self._phase(first) for first in range(min(self.stride, self.size))]

    def _phase(self, first: int) -> _Phase:
        ahead = first + self.pad
        own = [k for k in range(self.kernel) if (ahead - k * self.dilation) % self.stride == 0]
        dilation = self.dilation // math.gcd(self.dilation, self.stride)
        count = -(-(self.size - first) // self.stride)
        taps: tuple[int | None, ...] = tuple(own[::-1]) or (None,)
        lowest = (ahead - own[-1] * self.dilation) // self.stride if own else 0
        low, more = _without_crop(-lowest, dilation)
        taps = (None,) * more + taps
        reach = dilation * (len(taps) - 1) + 1
        high, more = _without_crop(count - 1 + reach - self.image - low, dilation)
        return _Phase(first, count, taps + (None,) * more, dilation, (low, high))


def _without_crop(pad: int, dilation: int) -> tuple[int, int]:
    """A padding that is not negative, and the zero taps that make up for what was added to it."""
    taps = max(-(pad // dilation), 0)
    return pad + taps * dilation, taps


def conv_transpose(builder: Builder, node: Node) -> Pending:
    """ConvTranspose of a dequantised activation with quantised constants."""
    value = builder.quantised(node, 0)
    x = builder.image(node, value)
    spatial = len(value.shape) - 2
    weights, kernel = _weights(node, x, spatial)
    axes = _axes(node, x.shape[1:3], kernel, spatial)
    cout = weights.scale.size
    shape4 = (x.shape[0], axes[0].size, axes[1].size, cout)
    layout = Layout.row(shape4) if spatial == 1 else Layout.image(shape4)
    bias = node.input(2)
    parts = [
        _part(node, value, x, weights, phases, bias)
        for phases in itertools.product(axes[0].phases(), axes[1].phases())
    ]

    def finish(pending: Pending, name: str, quant: OnnxQuant) -> ir.Op:
        bounded = [
            dataclasses.replace(part, nodes=pending.nodes, low=pending.low, high=pending.high)
            for part, _ in parts
        ]
        if len(parts) == 1:
            return bounded[0].finish(bounded[0], name, quant)
        values = [
            builder.emit(part, f"{name}/phase {first[0]} {first[1]}", quant)
            for part, (_, first) in zip(bounded, parts, strict=True)
        ]
        out = ir.Tensor(name, shape4, quant.device())
        return _laid_between(builder, pending.nodes, values, [f for _, f in parts], axes, out)

    return Pending(finish, shape4, layout, (node.name,), node.op_type)


def _laid_between(
    builder: Builder,
    nodes: tuple[str, ...],
    values: Sequence[Activation],
    firsts: Sequence[tuple[int, int]],
    axes: Sequence[_Axis],
    out: ir.Tensor,
) -> ir.Move:
    tensors = [builder.tensor(value.base) for value in values]
    steps = (1, axes[0].stride, axes[1].stride, 1)
    pieces = tuple(
        box(k, tensor.shape, dest=(0, *first, 0), to_steps=steps)
        for k, (tensor, first) in enumerate(zip(tensors, firsts, strict=True))
    )
    return ir.Move(nodes=nodes, x=tensors[0], others=tuple(tensors[1:]), out=out, pieces=pieces)


def _part(
    node: Node,
    value: Activation,
    x: ir.Tensor,
    weights: Weights,
    phases: tuple[_Phase, _Phase],
    bias: object,
) -> tuple[Pending, tuple[int, int]]:
    """One phase as a convolution, and where its first result goes."""
    y_phase, x_phase = phases
    cout = weights.scale.size
    template = ir.Conv(
        nodes=(node.name,),
        x=x,
        out=x,
        weight=_chosen(weights.steps, y_phase.taps, x_phase.taps),
        bias=np.zeros(cout, np.int32),
        scale=np.zeros(cout, np.float32),
        pads=(y_phase.pads[0], x_phase.pads[0], y_phase.pads[1], x_phase.pads[1]),
        dilations=(y_phase.dilation, x_phase.dilation),
        groups=node.attribute("group", 1),
    )
    shape4 = (x.shape[0], y_phase.count, x_phase.count, cout)
    pending = layer(node, template, weights, value, Layout.image(shape4), shape4, bias)
    return pending, (y_phase.first, x_phase.first)


def _chosen(steps: np.ndarray, y: Sequence[int | None], x: Sequence[int | None]) -> np.ndarray:
    """Weights [cout, kh, kw, cin] of chosen taps, zeros where there is none."""
    result = np.zeros((steps.shape[0], len(y), len(x), steps.shape[3]), np.int16)
    for (i, ky), (j, kx) in itertools.product(enumerate(y), enumerate(x)):
        if ky is not None and kx is not None:
            result[:, i, j] = steps[:, ky, kx]
    return result


def _weights(node: Node, x: ir.Tensor, spatial: int) -> tuple[Weights, tuple[int, int]]:
    """Weights [cout, kh, kw, cin // groups], from ONNX's [cin, cout // groups, kh, kw]."""
    given = weights_of(node, 1, 1)
    cin, per_out, *kernel = given.steps.shape
    groups = node.attribute("group", 1)
    if len(kernel) != spatial:
        node.refuse(f"its weights have {len(kernel)} spatial dimensions, its input {spatial}")
    if cin != x.shape[3] or cin % groups:
        node.refuse(f"{groups} groups of its weights' {cin} rows do not fit {x.shape[3]} channels")
    declared = list(node.attribute("kernel_shape", kernel))
    if declared != kernel:
        node.refuse(f"its kernel_shape {declared} is not that of its weights, {kernel}")
    over = (1, kernel[0]) if spatial == 1 else (kernel[0], kernel[1])
    steps = given.steps.reshape(groups, cin // groups, per_out, *over)
    steps = steps.transpose(0, 2, 3, 4, 1).reshape(groups * per_out, *over, cin // groups)
    return Weights(np.ascontiguousarray(steps), np.tile(given.scale, groups)), over


def _axes(
    node: Node, image: tuple[int, int], kernel: tuple[int, int], spatial: int
) -> tuple[_Axis, _Axis]:
    strides = pair(node, "strides", (1, 1), spatial)
    dilations = pair(node, "dilations", (1, 1), spatial)
    extra = _both(node, "output_padding", 0, spatial)
    wanted = _both(node, "output_shape", 0, spatial)
    pads = _pads(node, spatial)
    axes = []
    for k in (0, 1):
        full = strides[k] * (image[k] - 1) + extra[k] + (kernel[k] - 1) * dilations[k] + 1
        low, high = pads[k], pads[k + 2]
        mode = node.text("auto_pad", "NOTSET")
        if wanted[k] or mode.startswith("SAME"):
            size = wanted[k] or min(image[k] * strides[k], full)
            low, high = _shared(max(full - size, 0), mode)
        else:
            size = full - low - high
        if size < 1:
            node.refuse("its padding leaves no result")
        axes.append(_Axis(image[k], kernel[k], strides[k], dilations[k], low, size))
    return axes[0], axes[1]


def _shared(total: int, mode: str) -> tuple[int, int]:
    """A total padding at the beginning and at the end."""
    half = total // 2
    return (half, total - half) if mode == "SAME_UPPER" else (total - half, half)


def _both(node: Node, name: str, default: int, spatial: int) -> tuple[int, int]:
    """An attribute for y and x; for a row x alone, ``default`` standing for y."""
    values = list(node.attribute(name, ())) or [default] * spatial
    if len(values) == spatial + 2:  # an output_shape with batch and channels, as old models have
        values = values[2:]
    if len(values) != spatial or min(values) < 0:
        node.refuse(f"its {name} must be {spatial} numbers from 0, not {values}")
    return (default, values[0]) if spatial == 1 else (values[0], values[1])


def _pads(node: Node, spatial: int) -> tuple[int, int, int, int]:
    values = list(node.attribute("pads", ())) or [0] * (2 * spatial)
    if node.text("auto_pad", "NOTSET") == "VALID":
        values = [0] * (2 * spatial)
    if len(values) != 2 * spatial or min(values) < 0:
        node.refuse(f"its pads must be {2 * spatial} numbers from 0, not {values}")
    return (0, values[0], 0, values[1]) if spatial == 1 else tuple(values)  # type: ignore[return-value]
