"""A model as a net of nodes by rank: who makes a value, who reads it, what an output needs."""

from collections.abc import Iterable, Mapping

import onnx
from onnx import helper

from hpu.compiler.submodel import names_read

__all__ = ["Groups", "Net"]


class Net:
    """The nodes of a model, each with a name of its own, and how they hang together.

    ``maker`` is the rank of the node that gives a value; ``reads`` are the values that a node
    reads, by rank; ``readers`` the ranks that read a value; ``needed`` the ranks on which an
    output depends.
    """

    def __init__(self, model: onnx.ModelProto):
        self.model = model
        self.nodes = list(model.graph.node)
        self.types = _types(model)
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.outputs = [value.name for value in model.graph.output]
        self.maker = {name: k for k, node in enumerate(self.nodes) for name in node.output if name}
        self.reads = [names_read(node) for node in self.nodes]
        self.needed = self._needed()
        self.readers: dict[str, list[int]] = {}
        for rank in sorted(self.needed):
            for name in self.reads[rank]:
                self.readers.setdefault(name, []).append(rank)

    def _needed(self) -> set[int]:
        open_, needed = list(self.outputs), set()
        while open_:
            rank = self.maker.get(open_.pop())
            if rank is not None and rank not in needed:
                needed.add(rank)
                open_ += self.reads[rank]
        return needed

    def made(self, ranks: Iterable[int]) -> set[str]:
        """The values that nodes give."""
        return {name for rank in ranks for name in self.nodes[rank].output}

    def touches(self, rank: int, value: str) -> bool:
        """Whether a node reads or gives ``value``."""
        return value in self.reads[rank] or value in self.nodes[rank].output


def _types(model: onnx.ModelProto) -> Mapping[str, onnx.TypeProto]:
    entries = (*model.graph.value_info, *model.graph.output, *model.graph.input)
    types = {entry.name: entry.type for entry in entries if entry.HasField("type")}
    for tensor in model.graph.initializer:
        types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
    return types


class Groups:
    """Sets of nodes that hang together."""

    def __init__(self) -> None:
        self._up: dict[int, int] = {}

    def of(self, rank: int) -> int:
        """The set's representative."""
        while rank in self._up:
            rank = self._up[rank]
        return rank

    def join(self, one: int, other: int) -> None:
        """Make two sets one."""
        one, other = self.of(one), self.of(other)
        if one != other:
            self._up[one] = other
