"""Conv and QLinearConv."""

import dataclasses

import numpy as np

from hpu.compiler import ir
from hpu.compiler.importer.build import Builder
from hpu.compiler.importer.layout import Layout
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import (
    Activation,
    Constant,
    OnnxQuant,
    Pending,
    QuantConstant,
)
from hpu.compiler.importer.weights import Weights, bias_of, requantisation, weights_of
from hpu.compiler.importer.window import window_of

__all__ = ["conv", "layer"]


def conv(builder: Builder, node: Node) -> Pending:
    """Conv of a dequantised activation with quantised constants: what QLinearConv computes."""
    return convolve(
        builder, node, builder.quantised(node, 0), weights_of(node, 1, 0), node.input(2)
    )


def convolve(
    builder: Builder, node: Node, value: Activation, weights: Weights, bias: object
) -> Pending:
    """A convolution of ``value`` with weights [cout, cin // groups, kh, kw] or [cout, …, kw]."""
    x = builder.image(node, value)
    groups = node.attribute("group", 1)
    cout, cin, *kernel = weights.steps.shape
    spatial = len(kernel)
    if spatial != len(value.shape) - 2:
        node.refuse(
            f"its weights have {spatial} spatial dimensions, its input {len(value.shape) - 2}"
        )
    declared = list(node.attribute("kernel_shape", kernel))
    if declared != kernel:
        node.refuse(f"its kernel_shape {declared} is not that of its weights, {kernel}")
    if cin * groups != x.shape[3] or cout % groups:
        node.refuse(
            f"{groups} groups of {cin} input channels and {cout} output channels do not fit "
            f"the input's {x.shape[3]} channels"
        )
    over = (1, kernel[0]) if spatial == 1 else (kernel[0], kernel[1])
    window = window_of(node, x.shape[1:3], over, spatial)
    steps = weights.steps.reshape(cout, cin, *over)
    template = ir.Conv(
        nodes=(node.name,),
        x=x,
        out=x,
        weight=np.ascontiguousarray(steps.transpose(0, 2, 3, 1)),
        bias=np.zeros(cout, np.int32),
        scale=np.zeros(cout, np.float32),
        strides=window.strides,
        pads=window.pads,
        dilations=window.dilations,
        groups=groups,
    )
    shape4 = (x.shape[0], *window.out, cout)
    layout = Layout.row(shape4) if spatial == 1 else Layout.image(shape4)
    return layer(node, template, weights, value, layout, shape4, bias)


def layer(
    node: Node,
    template: ir.Conv,
    weights: Weights,
    value: Activation,
    layout: Layout,
    shape4: tuple[int, int, int, int],
    bias: object,
) -> Pending:
    """``template`` waiting for its result's quantisation, and for a bias when it has none."""
    quant = value.base.quant
    assert quant is not None
    if bias is not None:
        template = dataclasses.replace(template, bias=bias_of(node, bias, quant, weights))

    def finish(pending: Pending, name: str, y: OnnxQuant) -> ir.Op:
        return dataclasses.replace(
            template,
            nodes=pending.nodes,
            out=ir.Tensor(name, shape4, y.device()),
            scale=requantisation(quant, weights, y),
            weight_scale=weights.scale,
            low=y.quantise(pending.low),
            high=y.quantise(pending.high),
        )

    def add_bias(values: np.ndarray | QuantConstant, name: str) -> Pending:
        constant = Constant(values) if isinstance(values, np.ndarray) else values
        biased = layer(node, template, weights, value, layout, shape4, constant)
        return dataclasses.replace(biased, nodes=(node.name, name))

    def affine(factors: np.ndarray, offsets: np.ndarray, name: str) -> Pending:
        scaled, real = _scaled(template, weights, factors)
        before = template.bias * (quant.scale * weights.scale).astype(np.float64)
        plain = dataclasses.replace(template, weight=scaled, bias=np.zeros_like(template.bias))
        constant = Constant((before * factors + offsets).astype(np.float32))
        made = layer(node, plain, real, value, layout, shape4, constant)
        return dataclasses.replace(made, nodes=(node.name, name))

    later = None if bias is not None else add_bias
    return Pending(finish, shape4, layout, (node.name,), node.op_type, bias=later, affine=affine)


def _scaled(template: ir.Conv, weights: Weights, factors: np.ndarray) -> tuple[np.ndarray, Weights]:
    """The kernel and the weights' scales when every output channel is times its factor."""
    signs = np.sign(factors).astype(np.int16)
    scale = np.where(signs == 0, weights.scale, weights.scale * np.abs(factors))
    kernel = template.weight * signs.reshape(-1, 1, 1, 1)
    return kernel, Weights(weights.steps, scale.astype(np.float32))
