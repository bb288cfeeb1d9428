"""What a quantised model is better without: three passes after onnxruntime's quantiser.

Clips before a quantisation come back, and constants of element-wise operators stay float, since
tables are made of real numbers anyway. Between functions of one tensor nothing is quantised:
together they are one table, with one rounding, as x · sigmoid(x) or the parts of a Gelu.
"""

from collections.abc import Mapping

import onnx

from hpu.compiler.submodel import names_read
from hpu.compiler.support import FUNCTIONS

__all__ = ["join_functions", "restore_clips", "restore_constants", "without_unread"]

#: Operators that are a table when their activations are functions of one tensor.
_TABLES = {*FUNCTIONS, "Add", "Sub", "Mul", "Relu", "Clip", "Swish", "BatchNormalization"}


def restore_constants(model: onnx.ModelProto, source: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` itself; its element-wise operators read the constants that they read in ``source``.

    Nodes are the same by their names; ``source`` is the model before it was quantised.
    """
    constants = {tensor.name: tensor for tensor in source.graph.initializer}
    before = {node.name: node for node in source.graph.node if node.op_type in _TABLES}
    wanted: dict[str, onnx.TensorProto] = {}  # by new names: the old ones may have other meanings
    for node in model.graph.node:
        if node.name not in before or node.op_type not in _TABLES:
            continue
        for k, name in enumerate(before[node.name].input):
            if name in constants:
                node.input[k] = f"{name}/float"
                wanted[node.input[k]] = constants[name]
    model.graph.initializer.extend(_named(tensor, name) for name, tensor in wanted.items())
    return without_unread(model)


def _named(tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    return copy


def restore_clips(model: onnx.ModelProto, source: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` itself, with the clips that the quantiser left to the range of their results.

    Only those of element-wise operators: without the quantisation after it there would be no clip.
    """
    have = {node.name for node in model.graph.node}
    gone = {
        node.output[0]: node
        for node in source.graph.node
        if node.op_type in ("Relu", "Clip") and node.name not in have
    }
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type in _TABLES and node.output[0] in gone:
            clip = onnx.NodeProto()
            clip.CopyFrom(gone[node.output[0]])
            node.output[0] = clip.input[0]
            nodes.append(clip)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def join_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` itself, without quantisation between functions of one and the same tensor."""
    edges = _Edges(model.graph)
    while True:
        origin = edges.origins()
        kept = {name for name in edges.inner if edges.joins(name, origin)}
        if kept == edges.inner:
            break
        edges.inner = kept
    for node in model.graph.node:
        for k, name in enumerate(node.input):
            if edges.written.get(name) in edges.inner:
                node.input[k] = edges.real[edges.written[name]]
    return without_unread(model)


class _Edges:
    """Quantised tensors of a graph; ``inner`` are those that may turn out not to be needed.

    ``real`` gives what is quantised, by the quantised tensor's name, and ``written`` the quantised
    tensor of what a DequantizeLinear gives.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._nodes = list(graph.node)
        self._constants = {tensor.name for tensor in graph.initializer}
        self._outputs = {value.name for value in graph.output}
        self._maker = {name: node for node in graph.node for name in node.output}
        self.real: dict[str, str] = {}
        self.written: dict[str, str] = {}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self._nodes:
            self._note(node)
        self.inner = {name for name, real in self.real.items() if self._is_table(real)}

    def _note(self, node: onnx.NodeProto) -> None:
        if node.op_type == "QuantizeLinear" and node.input[0] not in self._constants:
            self.real[node.output[0]] = node.input[0]
        if node.op_type == "DequantizeLinear" and node.input[0] in self.real:
            self.written[node.output[0]] = node.input[0]
        for name in names_read(node):
            self._readers.setdefault(name, []).append(node)

    def _is_table(self, name: str) -> bool:
        return name in self._maker and self._maker[name].op_type in _TABLES

    def origins(self) -> dict[str, str]:
        """The tensor of which a value is a function, were the inner tensors not there."""
        origin: dict[str, str] = {}
        for node in self._nodes:
            out = node.output[0] if node.output else ""
            if out in self.written:
                tensor = self.written[out]
                inner = origin.get(self.real[tensor]) if tensor in self.inner else None
                origin[out] = inner or tensor
            elif node.op_type in _TABLES:
                found = self._origins_of(node, origin)
                if len(found) == 1 and None not in found:
                    origin[out] = str(found.pop())
        return origin

    def _origins_of(self, node: onnx.NodeProto, origin: Mapping[str, str]) -> set[str | None]:
        moving = (name for name in names_read(node) if name not in self._constants)
        return {origin.get(name) for name in moving}

    def joins(self, tensor: str, origin: Mapping[str, str]) -> bool:
        """Whether all that read an inner tensor are functions of what it is a function of."""
        own = origin.get(self.real[tensor])
        readers = self._readers.get(tensor, [])
        return (
            own is not None
            and tensor not in self._outputs
            and all(self._passes(reader, own, origin) for reader in readers)
        )

    def _passes(self, reader: onnx.NodeProto, own: str, origin: Mapping[str, str]) -> bool:
        if reader.op_type != "DequantizeLinear" or reader.output[0] in self._outputs:
            return False
        functions = self._readers.get(reader.output[0], [])
        return all(origin.get(node.output[0]) == own for node in functions)


def without_unread(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` itself, without the nodes and initializers whose results nothing reads."""
    read = {value.name for value in model.graph.output}
    for node in reversed(list(model.graph.node)):
        if read.isdisjoint(node.output):
            model.graph.node.remove(node)
        else:
            read.update(names_read(node))
    for tensor in list(model.graph.initializer):
        if tensor.name not in read:
            model.graph.initializer.remove(tensor)
    return model
