"""What of a model runs on the HPU, node by node, and why not."""

import dataclasses
from typing import TYPE_CHECKING

from hpu.compiler.errors import UnsupportedError
from hpu.compiler.importer.load import load_model, read_model
from hpu.compiler.quantise import is_float, quantise
from hpu.compiler.support import CHECKS
from hpu.hw.config import Config
from hpu.runtime.interface import NodeArg
from hpu.runtime.measure import random_feeds
from hpu.runtime.source import Network, import_graph

if TYPE_CHECKING:
    import onnx

    from hpu.compiler import ir

__all__ = ["Placement", "placements"]


@dataclasses.dataclass(frozen=True)
class Placement:
    """A node: the operation of the HPU that it is part of, or the reason why it does not run.

    ``operation`` is empty for a node that costs nothing: constants, relabellings, quantisation
    that its neighbours take over.
    """

    node: str
    op_type: str
    operation: str
    reason: str = ""


def placements(model: Network, config: Config, batch: int | None = None) -> list[Placement]:
    """Where every node of ``model`` runs. A float model is quantised with random samples for this.

    Raises
    ------
    HpuError
        When the model is damaged.
    """
    proto = load_model(read_model(model), batch)
    try:
        graph = _graph(proto)
    except UnsupportedError as error:
        return [_refused(node, error) for node in proto.graph.node]
    try:
        _compile(graph, config)
    except UnsupportedError as error:
        return [_too_large(placement, error) for placement in _placed(proto, graph)]
    return _placed(proto, graph)


def _graph(proto: "onnx.ModelProto") -> "ir.Graph":
    return import_graph(quantise(proto, _samples(proto)) if is_float(proto) else proto)


def _samples(proto: "onnx.ModelProto") -> dict:
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [
        NodeArg(
            value.name,
            [dim.dim_value for dim in value.type.tensor_type.shape.dim],
            "tensor(float)",
        )
        for value in proto.graph.input
        if value.name not in constants
    ]
    return random_feeds(inputs, 1)


def _compile(graph: "ir.Graph", config: Config) -> None:
    from hpu.compiler.backend import compile_graph

    compile_graph(graph, config)


def _placed(proto: "onnx.ModelProto", graph: "ir.Graph") -> list[Placement]:
    part_of = {name: op for op in graph.ops for name in op.nodes}
    return [
        Placement(node.name, node.op_type, _operation(part_of.get(node.name)))
        for node in proto.graph.node
    ]


def _operation(op: "ir.Op | None") -> str:
    return "" if op is None else f"{type(op).__name__} {'+'.join(op.nodes)}"


def _refused(node: "onnx.NodeProto", error: UnsupportedError) -> Placement:
    """The error names the first node that is refused; of the others, only the operator is known."""
    if error.op_type == node.op_type and error.node == node.name:
        return Placement(node.name, node.op_type, "", error.reason)
    unknown = node.op_type not in CHECKS and node.op_type != "Constant"
    reason = "the HPU does not run this operator" if unknown else ""
    return Placement(node.name, node.op_type, "" if unknown else "not decided", reason)


def _too_large(placement: Placement, error: UnsupportedError) -> Placement:
    if error.node and error.node in (placement.node, placement.operation.partition(" ")[2]):
        return dataclasses.replace(placement, operation="", reason=error.reason)
    return placement
