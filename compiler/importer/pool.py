"""MaxPool, AveragePool and GlobalAveragePool, and their quantised forms."""

import dataclasses

from hpu.compiler import ir
from hpu.compiler.importer.build import Builder
from hpu.compiler.importer.chain import Chain, evaluate
from hpu.compiler.importer.layout import Layout
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import Activation, OnnxQuant, Pending
from hpu.compiler.importer.window import Window, pair, window_of

__all__ = ["average", "average_pool", "global_average_pool", "max_pool", "pooled"]


def max_pool(builder: Builder, node: Node) -> Pending:
    """MaxPool of a quantised activation."""
    value = builder.quantised(node, 0)
    return _pool(builder, node, value, "max")


def average_pool(builder: Builder, node: Node) -> Pending:
    """AveragePool of a quantised activation."""
    return average(builder, node, builder.quantised(node, 0))


def average(builder: Builder, node: Node, value: Activation) -> Pending:
    """AveragePool or QLinearAveragePool of ``value``."""
    return _pool(builder, node, value, "average")


def _pool(builder: Builder, node: Node, value: Activation, kind: str) -> Pending:
    x = builder.image(node, value)
    spatial = len(value.shape) - 2
    kernel = pair(node, "kernel_shape", (0, 0), spatial)
    window = window_of(node, x.shape[1:3], kernel, spatial)
    include = bool(node.attribute("count_include_pad", 0)) and any(window.pads)
    for k, pad in enumerate(window.pads):
        if pad > window.dilations[k % 2] * (window.kernel[k % 2] - 1):
            node.refuse(f"its padding {pad} is not less than its window")
    return pooled(x, node, value, kind, window, _image_layout(x, value, window), include)


def global_average_pool(builder: Builder, node: Node, value: Activation | None = None) -> Pending:
    """GlobalAveragePool or QLinearGlobalAveragePool."""
    value = value or builder.quantised(node, 0)
    x = builder.image(node, value)
    window = Window((x.shape[1], x.shape[2]), (1, 1), (0, 0, 0, 0), (1, 1), (1, 1))
    return pooled(x, node, value, "average", window, _image_layout(x, value, window))


def _image_layout(x: ir.Tensor, value: Activation, window: Window) -> Layout:
    shape4 = (x.shape[0], *window.out, x.shape[3])
    return Layout.row(shape4) if len(value.shape) == 3 else Layout.image(shape4)


def pooled(
    x: ir.Tensor,
    node: Node,
    value: Activation,
    kind: str,
    window: Window,
    layout: Layout,
    include: bool = False,
) -> Pending:
    """The pool of ``x``, which is ``value``'s tensor; ``layout`` is the result's."""
    shape4 = (x.shape[0], *window.out, x.shape[3])
    quant = value.base.quant
    assert quant is not None
    template = ir.Pool(
        nodes=(node.name,),
        x=x,
        out=x,
        kind=kind,
        kernel=window.kernel,
        strides=window.strides,
        pads=window.pads,
        dilations=window.dilations,
        count_include_pad=include,
    )

    def finish(pending: Pending, name: str, y: OnnxQuant) -> ir.Op:
        out = ir.Tensor(name, shape4, y.device())
        op = dataclasses.replace(
            template,
            nodes=pending.nodes,
            out=out,
            low=y.quantise(pending.low),
            high=y.quantise(pending.high),
        )
        if kind == "average" or quant.device() == y.device():
            return op
        return _requantised(op, quant, y, (pending.low, pending.high))

    return Pending(finish, shape4, layout, (node.name,), node.op_type)


def _requantised(op: ir.Pool, x: OnnxQuant, y: OnnxQuant, bounds: tuple[float, float]) -> ir.Pool:
    """A maximum whose result has another quantisation than its input: with a table after it."""
    model = Chain(op.x, x).clipped(*bounds).model(y)
    table, inner = evaluate(model), x.device()
    return dataclasses.replace(op, low=-128, high=127, table=table, inner=inner, sources=(model,))
