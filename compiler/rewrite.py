"""What every pass over the graph ends with."""

from hpu.compiler import ir

__all__ = ["with_ops"]


def with_ops(graph: ir.Graph, ops: list[ir.Op]) -> ir.Graph:
    """The graph with other operations, and only the tensors that these and the interface name."""
    names = {host.tensor for host in (*graph.inputs, *graph.outputs)}
    tensors = {name: graph.tensors[name] for name in graph.tensors if name in names}
    for op in ops:
        tensors |= {tensor.name: tensor for tensor in (*op.inputs, op.out)}
    return ir.Graph(ops, graph.inputs, graph.outputs, tensors)
