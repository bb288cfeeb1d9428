"""Models made of some nodes of a model, for the parts that run one after another."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import onnx

__all__ = ["extract", "names_read", "typed", "with_names"]


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


def typed(name: str, dtype: int, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    """The description of a tensor."""
    return onnx.helper.make_tensor_value_info(name, dtype, list(shape))


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
