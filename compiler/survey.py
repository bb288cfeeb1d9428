"""Which nodes of a model the HPU takes: the importer's walk, which goes on after a refusal.

What a refused node gives is known like an input of the model, so that the nodes after it are
looked at too. A float result that is never quantised is no tensor of the HPU; the nodes that make
it are refused in a further walk.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto

from hpu.compiler import support
from hpu.compiler.errors import ModelError, UnsupportedError
from hpu.compiler.importer.build import Builder
from hpu.compiler.importer.external import array_of
from hpu.compiler.importer.layout import Layout
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import (
    Activation,
    Base,
    Constant,
    Pending,
    Value,
)
from hpu.compiler.importer.walk import import_node
from hpu.compiler.submodel import names_read

__all__ = ["Survey", "survey", "tensor_type"]

_BYTES: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
}
_DOMAINS = ("", "ai.onnx", "com.microsoft")


@dataclasses.dataclass
class Survey:
    """What is known of every value, and why the nodes in ``refused`` (by rank) stay on the host."""

    values: dict[str, Value]
    refused: dict[int, str]


def survey(
    model: onnx.ModelProto,
    types: Mapping[str, onnx.TypeProto],
    held: Mapping[int, str],
) -> Survey:
    """Walk over a model until no further node is refused.

    Parameters
    ----------
    model:
        Checked, every shape known as far as it can be, every node with a name of its own.
    types:
        Types of the values, by name.
    held:
        Nodes that are on the host anyway, by rank, with the reason.
    """
    refused = dict(held)
    while True:
        walk = _Walk(model, types, refused)
        more = walk.refused.keys() - refused.keys()
        if not more:
            return Survey(walk.values, refused)
        refused |= {rank: walk.refused[rank] for rank in more}


class _Walk:
    def __init__(
        self,
        model: onnx.ModelProto,
        types: Mapping[str, onnx.TypeProto],
        held: Mapping[int, str],
    ):
        self._types = types
        self._builder = Builder()
        versions = (e.version for e in model.opset_import if e.domain in ("", "ai.onnx"))
        self._opset = max(versions, default=0)
        self.values: dict[str, Value] = {
            tensor.name: Constant(array_of(tensor)) for tensor in model.graph.initializer
        }
        self.refused: dict[int, str] = dict(held)
        self._unknown: dict[str, str] = {}
        for entry in model.graph.input:
            if entry.name not in self.values:
                self._from_host(entry.name)
        self._later = _read_later(model)
        for rank, proto in enumerate(model.graph.node):
            self._visit(rank, proto)
        self._refuse_unfinished(model)

    def _visit(self, rank: int, proto: onnx.NodeProto) -> None:
        if rank not in self.refused:
            try:
                self.values |= self._imported(rank, proto)
                return
            except UnsupportedError as error:
                self.refused[rank] = error.reason
            except ModelError as error:
                self.refused[rank] = str(error).removeprefix(
                    f"{proto.op_type} node {proto.name!r} "
                )
        for name in filter(None, proto.output):
            self._from_host(name)

    def _imported(self, rank: int, proto: onnx.NodeProto) -> dict[str, Value]:
        inputs = [self.values.get(name) for name in proto.input]
        node = Node(proto, inputs, rank, self._opset)
        self._screen(node)
        values = import_node(self._builder, node)
        for value in values.values():
            if isinstance(value, Constant) and not _is_numbers(value.array):
                node.refuse("the HPU does not run this operator")
        for name in proto.output[1:]:
            if name in self._later and name not in values:
                node.refuse(f"its further result {name!r} is not given")
        return values

    def _screen(self, node: Node) -> None:
        proto = node.proto
        if proto.domain not in _DOMAINS:
            node.refuse("the HPU does not run this operator")
        for name in names_read(proto):
            if name not in self.values and proto.op_type in support.CHECKS:
                node.refuse(f"its input {name!r} {self._unknown.get(name, 'is not known')}")
            if name not in self.values:
                node.refuse("the HPU does not run this operator")

    def _from_host(self, name: str) -> None:
        """A value that comes from outside the HPU, as far as the HPU can read it."""
        self.values.pop(name, None)
        kind = self._types.get(name, onnx.TypeProto())
        dtype = _BYTES.get(kind.tensor_type.elem_type)
        if dtype is None:
            self._unknown[name] = f"is {_type_text(kind)}; the HPU holds int8 and uint8"
            return
        shape = tuple(dim.dim_value for dim in kind.tensor_type.shape.dim)
        if not kind.tensor_type.HasField("shape") or min(shape, default=1) < 1:
            self._unknown[name] = "has a size that is not known before the run, or is empty"
            return
        real = dtype == "float32"
        base = Base(name, dtype, shape=shape)
        self.values[name] = Activation(base, Layout.flat(shape), real=real, raw=real)

    def _refuse_unfinished(self, model: onnx.ModelProto) -> None:
        """Refuse what makes a float result that the host reads before it is quantised."""
        rank_of = {proto.name: rank for rank, proto in enumerate(model.graph.node)}
        readers = {value.name: "the model gives" for value in model.graph.output}
        for rank in self.refused:
            proto = model.graph.node[rank]
            readers |= dict.fromkeys(names_read(proto), f"{proto.op_type} {proto.name!r} reads")
        for name, reader in readers.items():
            value = self.values.get(name)
            if isinstance(value, Pending):
                reason = f"{reader} its result as float, without QuantizeLinear between"
                self.refused |= {
                    rank_of[node]: reason
                    for node in value.nodes
                    if rank_of[node] not in self.refused
                }


def _read_later(model: onnx.ModelProto) -> set[str]:
    read = {name for proto in model.graph.node for name in names_read(proto)}
    return read | {value.name for value in model.graph.output}


def _is_numbers(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind in "biufc"


def _type_text(kind: onnx.TypeProto) -> str:
    which = kind.WhichOneof("value")
    if which != "tensor_type":
        return "no tensor" if which else "of a type that is not known"
    return TensorProto.DataType.Name(kind.tensor_type.elem_type).lower()


def tensor_type(value: Value) -> tuple[str, tuple[int, ...]]:
    """Element type (numpy's name) and shape of a value."""
    if isinstance(value, Constant):
        return str(value.array.dtype), value.shape
    if not isinstance(value, Activation) or value.real:
        return "float32", value.shape
    return value.base.quant.dtype if value.base.quant else value.base.dtype, value.shape
