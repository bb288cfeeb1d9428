"""Models made of some nodes of a model, for the parts that run one after another."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import onnx

__all__ = ["extract", "names_read", "stamped_down", "with_names"]


def with_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` itself, every node with a name of its own."""
    taken: set[str] = set()
    for rank, node in enumerate(model.graph.node):
        name = node.name or f"{node.op_type}_{rank}"
        while name in taken:
            name = f"{name}_{rank}"
        taken.add(name)
        node.name = name
    return model


def names_read(node: onnx.NodeProto) -> list[str]:
    """The values that a node reads, those that only its inner graphs read included."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names += _captured(graph)
    return list(dict.fromkeys(names))


def _captured(graph: onnx.GraphProto) -> Iterator[str]:
    own = {value.name for value in (*graph.input, *graph.initializer)}
    own |= {tensor.values.name for tensor in graph.sparse_initializer}
    own |= {name for node in graph.node for name in node.output}
    for node in graph.node:
        yield from (name for name in names_read(node) if name not in own)
    yield from (value.name for value in graph.output if value.name not in own)


def extract(
    model: onnx.ModelProto,
    nodes: Iterable[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Mapping[str, onnx.TensorProto],
) -> onnx.ModelProto:
    """A model of ``nodes``, with those of ``constants`` that they read as initializers."""
    part = onnx.ModelProto()
    part.ir_version = model.ir_version
    part.opset_import.extend(model.opset_import)
    part.functions.extend(model.functions)
    graph = part.graph
    graph.name = model.graph.name or "part"
    graph.node.extend(nodes)
    graph.input.extend(inputs)
    graph.output.extend(outputs)
    read = {name for node in graph.node for name in names_read(node)}
    read |= {value.name for value in outputs}
    graph.initializer.extend(constants[name] for name in constants if name in read)
    return part


#: IR version that every onnxruntime reads.
_IR_VERSION = 10


def stamped_down(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that names the oldest opsets in which its operators mean the same.

    An operator means the same in every opset from its schema's ``since_version`` on to the next
    schema; onnxruntime refuses the newest opsets even where no operator of theirs is used.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = min(copy.ir_version, _IR_VERSION)
    versions = {entry.domain: entry.version for entry in copy.opset_import}
    oldest = dict.fromkeys(versions, 1)
    for node in _every_node(copy.graph):
        with contextlib.suppress(onnx.defs.SchemaError):
            schema = onnx.defs.get_schema(node.op_type, versions.get(node.domain, 1), node.domain)
            oldest[node.domain] = max(oldest.get(node.domain, 1), schema.since_version)
    for entry in copy.opset_import:
        entry.version = min(entry.version, max(oldest[entry.domain], _least(entry.domain)))
    return copy


def _least(domain: str) -> int:
    return 7 if domain in ("", "ai.onnx") else 1


def _every_node(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _every_node(inner)
