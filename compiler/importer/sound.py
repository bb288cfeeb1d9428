"""What a graph must be before anything reads it: names that mean one thing, no cycle, whole data.

Says so by the node's name, where onnx's own checker names an offset or nothing. Nodes that are
only out of order are put in order.
"""

import math
from collections.abc import Iterable, Iterator

import onnx
from onnx import TensorProto, helper

from hpu.compiler.errors import ModelError
from hpu.compiler.submodel import names_read

__all__ = ["check_initializers", "check_operators", "put_in_order", "wanted_bytes"]

_AGAIN = "export the model again"


def _called(node: onnx.NodeProto) -> str:
    """A node as messages call it; one without a name by what it gives."""
    if node.name:
        return f"{node.op_type} node {node.name!r}"
    return f"{node.op_type} node of {', '.join(map(repr, filter(None, node.output)))}"


def put_in_order(graph: onnx.GraphProto) -> None:
    """Order the nodes of ``graph`` so that each follows those that it reads.

    Raises
    ------
    ModelError
        When a name means two things, nothing gives a value that is read, or there is a cycle.
    """
    constants = [tensor.name for tensor in graph.initializer]
    constants += [tensor.values.name for tensor in graph.sparse_initializer]
    _refuse_twice("inputs", (value.name for value in graph.input))
    _refuse_twice("initializers", constants)
    known = {value.name for value in graph.input} | set(constants)
    maker = _makers(graph, known)
    for node in graph.node:
        for name in names_read(node):
            if name not in known and name not in maker:
                raise ModelError(f"{_called(node)} reads {name!r}, which nothing gives; {_AGAIN}")
    for value in graph.output:
        if value.name not in known and value.name not in maker:
            raise ModelError(f"nothing gives the model's output {value.name!r}; {_AGAIN}")
    order = _order(graph, maker)
    if order != sorted(order):
        nodes = [onnx.NodeProto.FromString(graph.node[k].SerializeToString()) for k in order]
        del graph.node[:]
        graph.node.extend(nodes)


def _refuse_twice(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ModelError(f"two {kind} of the model have the name {name!r}; {_AGAIN}")
        seen.add(name)


def _makers(graph: onnx.GraphProto, known: set[str]) -> dict[str, int]:
    """The rank of the node that gives each value."""
    maker: dict[str, int] = {}
    for rank, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in maker or name in known:
                other = (
                    _called(graph.node[maker[name]]) if name in maker else "an input or constant"
                )
                raise ModelError(
                    f"{_called(node)} gives {name!r}, and so does {other}; give every value a name "
                    f"of its own and {_AGAIN}"
                )
            maker[name] = rank
    return maker


def _order(graph: onnx.GraphProto, maker: dict[str, int]) -> list[int]:
    """Ranks, each after those that it reads, and otherwise as they are."""
    order: list[int] = []
    done, entered = set(), set()
    for start in range(len(graph.node)):
        stack = [start]
        while stack:
            rank = stack[-1]
            before = [maker[name] for name in names_read(graph.node[rank]) if name in maker]
            open_ = [] if rank in done else [other for other in before if other not in done]
            if rank not in entered and open_:
                entered.add(rank)
                _refuse_cycle(graph, rank, [other for other in open_ if other in entered])
                stack += reversed(open_)
                continue
            stack.pop()
            if rank not in done:
                done.add(rank)
                order.append(rank)
    return order


def _refuse_cycle(graph: onnx.GraphProto, rank: int, again: list[int]) -> None:
    """Refuse a node that reads what one of those gives that depend on it."""
    for other in again:
        reader = "itself" if other == rank else f"{_called(graph.node[other])}, which depends on it"
        raise ModelError(
            f"{_called(graph.node[rank])} depends on {reader}: the model has a cycle; {_AGAIN} "
            "without it, a loop as the operator Loop or Scan"
        )


def check_operators(model: onnx.ModelProto) -> None:
    """Refuse operators that the model's opset, or this release, does not have.

    Raises
    ------
    ModelError
        Names the node.
    """
    versions = {entry.domain: entry.version for entry in model.opset_import}
    version = versions.get("", versions.get("ai.onnx", 0))
    own = {(function.domain, function.name) for function in model.functions}
    since = _since()
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or (node.domain, node.op_type) in own:
            continue
        if node.op_type not in since:
            raise ModelError(
                f"{_called(node)} is no operator of ONNX up to opset "
                f"{onnx.defs.onnx_opset_version()}; export the model with operators of ONNX"
            )
        if since[node.op_type] > version:
            raise ModelError(
                f"{_called(node)} is an operator of opset {since[node.op_type]}, and the model's "
                f"opset is {version}; export it with opset {since[node.op_type]} or later"
            )


def _since() -> dict[str, int]:
    """The first opset of every operator."""
    since: dict[str, int] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            first = since.get(schema.name, schema.since_version)
            since[schema.name] = min(first, schema.since_version)
    return since


def check_initializers(graph: onnx.GraphProto) -> None:
    """Refuse constants whose data are not those of their shape.

    Raises
    ------
    ModelError
        Names the constant, and a node that reads it.
    """
    for tensor in graph.initializer:
        if min(tensor.dims, default=0) < 0:
            raise ModelError(f"the constant {tensor.name!r} has a negative size; {_AGAIN}")
        here = tensor.data_location != TensorProto.EXTERNAL and tensor.HasField("raw_data")
        if here and len(tensor.raw_data) != wanted_bytes(tensor):
            reader = next(_readers(graph, tensor.name), "the model")
            kind = TensorProto.DataType.Name(tensor.data_type).lower()
            raise ModelError(
                f"the constant {tensor.name!r} of {reader} has {len(tensor.raw_data):,} bytes, and "
                f"{kind} {list(tensor.dims)} takes {wanted_bytes(tensor):,}; {_AGAIN}"
            )


def _readers(graph: onnx.GraphProto, name: str) -> Iterator[str]:
    return (_called(node) for node in graph.node if name in names_read(node))


#: Types of which several elements share a byte, by bits.
_NARROW = {
    getattr(TensorProto, name): bits
    for name, bits in (("INT4", 4), ("UINT4", 4), ("FLOAT4E2M1", 4), ("INT2", 2), ("UINT2", 2))
    if hasattr(TensorProto, name)
}


def wanted_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of a constant's data."""
    count = math.prod(tensor.dims)
    if tensor.data_type in _NARROW:
        return -(-count * _NARROW[tensor.data_type] // 8)
    try:
        return count * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError):
        return len(tensor.raw_data)  # onnx's checker says that there is no such type
