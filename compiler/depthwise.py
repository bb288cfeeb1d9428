"""Depthwise convolutions for the vector unit, where it is faster at them than the array."""

import math

import numpy as np

from hpu.compiler.cells import mapping_of
from hpu.compiler.fuse import with_ops
from hpu.compiler.ir import Conv, Depthwise, Graph, Op
from hpu.compiler.windows import window_cycles
from hpu.hw.config import Config
from hpu.runtime.cell import PLAIN

__all__ = ["with_depthwise"]


def with_depthwise(graph: Graph, config: Config) -> Graph:
    """``graph`` with the convolutions of single channels that the vector unit is to compute."""
    return with_ops(graph, [_chosen(op, config) for op in graph.ops])


def _chosen(op: Op, config: Config) -> Op:
    if not isinstance(op, Conv) or not _possible(op, config):
        return op
    array = math.ceil(mapping_of(op, config).cycles)
    own = _depthwise(op, array)
    return own if window_cycles(own, PLAIN, config) <= array else op


def _possible(op: Conv, config: Config) -> bool:
    """One channel in and out of every group, weights that are bytes and fit the parameter sets."""
    cout, ky, kx, cin = op.weight.shape
    single = cin == 1 and cout == op.groups and cout > 1 and op.residual is None
    small = max(ky, kx) <= 255 and ky * kx <= 8 * (config.param_sets // 2 - 1)
    return single and small and op.weight.min() >= -128 and op.weight.max() <= 127


def _depthwise(op: Conv, array: int) -> Depthwise:
    return Depthwise(
        nodes=op.nodes,
        x=op.x,
        out=op.out,
        low=op.low,
        high=op.high,
        table=op.table,
        inner=op.inner,
        sources=op.sources,
        weight=np.ascontiguousarray(op.weight[..., 0].transpose(1, 2, 0)).astype(np.int8),
        bias=op.bias,
        scale=op.scale,
        strides=op.strides,
        pads=op.pads,
        dilations=op.dilations,
        array=array,
    )
