"""Inputs of the network that are used late come early.

An input is loaded when an operation first needs it. In the middle of a network everything would
wait for that: so a small one is loaded while the convolutions before still compute.
"""

import dataclasses

from hpu.compiler.allocate import tensor_words
from hpu.compiler.ir import Conv, Fetch, Graph, Op, Tensor
from hpu.compiler.slices import with_tensors
from hpu.hw.config import Config

__all__ = ["fetch_early"]

#: The part of the unified buffer that an input may take to come early.
_SMALL = 1 / 64
#: Convolutions that stand between the load and the use.
_AHEAD = 2


def fetch_early(graph: Graph, config: Config) -> Graph:
    """``graph`` with loads of its late inputs some convolutions before their first use."""
    fetches: dict[int, list[Fetch]] = {}
    copies: dict[str, Tensor] = {}
    for host in graph.inputs:
        tensor = graph.tensors[host.tensor]
        first = next((i for i, op in enumerate(graph.ops) if tensor in op.inputs), 0)
        if tensor_words(tensor, config) <= config.ub_depth * _SMALL and _is_late(graph, first):
            fetch = _fetch(tensor)
            fetches.setdefault(_place(graph, first), []).append(fetch)
            copies[tensor.name] = fetch.out
    if not copies:
        return graph
    ops: list[Op] = []
    for index, op in enumerate(graph.ops):
        ops += fetches.get(index, [])
        names = {tensor.name: tensor for tensor in (*op.inputs, op.out)} | copies
        ops.append(with_tensors(op, names))
    views = {f.x.name: f.x for some in fetches.values() for f in some}
    tensors = graph.tensors | views | {copy.name: copy for copy in copies.values()}
    return Graph(ops, graph.inputs, graph.outputs, tensors)


def _is_late(graph: Graph, first: int) -> bool:
    return sum(isinstance(op, Conv) for op in graph.ops[:first]) >= _AHEAD


def _place(graph: Graph, first: int) -> int:
    """The operation before which an input that operation ``first`` needs is loaded."""
    convs = [index for index, op in enumerate(graph.ops[:first]) if isinstance(op, Conv)]
    return convs[-_AHEAD]


def _fetch(tensor: Tensor) -> Fetch:
    view = dataclasses.replace(tensor, name=f"{tensor.name} in place", whole=tensor)
    copy = dataclasses.replace(tensor, name=f"{tensor.name} early")
    return Fetch(nodes=(f"load {tensor.name}",), x=view, out=copy, part=0, parts=1)
