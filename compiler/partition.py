"""A model in parts: regions of the HPU, and models for onnxruntime between them.

Nodes get levels: a node stands at the highest level of those it reads, and one higher where it
crosses from the host to the HPU or back. The nodes of one level on one side are a part, so parts
are convex, as large as they can be, and there are as few crossings as on the worst path. Constants
and DequantizeLinear belong to every part that reads them: what crosses is the quantised tensor.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import numpy as np
import onnx
from onnx import helper, numpy_helper

from hpu.compiler import ir
from hpu.compiler.errors import UnsupportedError
from hpu.compiler.frontend import import_quantised
from hpu.compiler.importer.values import Activation, Constant, Pending, QuantConstant
from hpu.compiler.importer.walk import ANY_VALUE
from hpu.compiler.placement import Placement
from hpu.compiler.submodel import extract, names_read, with_names
from hpu.compiler.survey import Survey, survey, tensor_type

__all__ = ["HostPart", "HpuPart", "Partition", "partition"]

#: Side of a part, as it sorts.
_HOST, _HPU = 0, 1
Key: TypeAlias = tuple[int, int]
Made = TypeVar("Made")

#: Reasons of nodes that are on the host only because their neighbours are.
NOTHING_TO_COMPUTE = "nothing next to it is computed on the HPU"
ONLY_READ_THERE = "only the host reads it"


@dataclasses.dataclass(frozen=True)
class HostPart:
    """A part for onnxruntime."""

    model: onnx.ModelProto
    nodes: tuple[str, ...]

    @property
    def outputs(self) -> list[str]:
        """Names of the values that it gives."""
        return [value.name for value in self.model.graph.output]


@dataclasses.dataclass(frozen=True)
class HpuPart:
    """A part for the HPU, and what ``compile`` made of it."""

    model: onnx.ModelProto
    graph: ir.Graph
    compiled: object
    nodes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Partition:
    """The parts in the order in which they run, and the decision for every node."""

    parts: tuple[HostPart | HpuPart, ...]
    placements: tuple[Placement, ...]


def partition(
    model: onnx.ModelProto,
    *,
    compile: Callable[[ir.Graph], object] = lambda graph: None,
    held: str = "",
) -> Partition:
    """Cut ``model`` in parts.

    Parameters
    ----------
    model:
        As :func:`~hpu.compiler.importer.load.load_model` gives it; nodes without a name get one.
    compile:
        Called with the graph of every HPU part; raises UnsupportedError when it does not fit.
    held:
        When not empty, the reason why everything runs on the host.
    """
    cut = _Cut(with_names(model), compile)
    if held:
        return cut.whole(held)
    while True:
        try:
            return cut.attempt()
        except _RefusedError as refused:
            cut.held |= refused.reasons
        except _UntypedError as untyped:
            return cut.whole(str(untyped))


class _RefusedError(Exception):
    """An HPU part that turned out not to run; ``reasons`` holds why, by rank of node."""

    def __init__(self, reasons: dict[int, str]):
        self.reasons = reasons
        super().__init__(reasons)


class _UntypedError(Exception):
    """A value that crosses between parts and whose type is not known."""


class _Cut:
    """One model; ``held`` grows with every attempt, so there are at most as many as nodes."""

    def __init__(self, model: onnx.ModelProto, compile: Callable[[ir.Graph], object]):
        self.model, self._compile = model, compile
        self.held: dict[int, str] = {}
        self.nodes = list(model.graph.node)
        self.types = _types(model)
        self.maker = {name: k for k, node in enumerate(self.nodes) for name in node.output if name}
        self.reads = [names_read(node) for node in self.nodes]
        self.outputs = [value.name for value in model.graph.output]
        self.needed = self._needed()
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}

    def whole(self, reason: str) -> Partition:
        """Everything on the host."""
        names = tuple(node.name for node in self.nodes)
        placed = tuple(Placement(node.name, node.op_type, "", reason) for node in self.nodes)
        return Partition((HostPart(self.model, names),), placed)

    def attempt(self) -> Partition:
        """Cut once.

        Raises
        ------
        _RefusedError
            When more nodes have to be held on the host.
        """
        found = survey(self.model, self.types, self.held)
        reasons = dict(found.refused)
        roles = _Roles(self, found, reasons)
        keys = _levels(self, roles, reasons)
        members: dict[Key, list[int]] = {}
        for rank, key in sorted(keys.items()):
            members.setdefault(key, []).append(rank)
        if all(side == _HOST for _, side in members):
            everything = HostPart(self.model, tuple(node.name for node in self.nodes))
            return Partition((everything,), self._placements(reasons, roles, [], set()))
        parts: list[HostPart | HpuPart] = []
        pulled: set[int] = set()
        for key in sorted(members):
            part, ranks = self._part(key, members, roles)
            parts.append(part)
            pulled |= set(ranks) if key[1] == _HPU else set()
        return Partition(tuple(parts), self._placements(reasons, roles, parts, pulled))

    def _needed(self) -> set[int]:
        """Ranks of the nodes on which an output depends."""
        open_, needed = list(self.outputs), set()
        while open_:
            rank = self.maker.get(open_.pop())
            if rank is not None and rank not in needed:
                needed.add(rank)
                open_ += self.reads[rank]
        return needed

    def _part(
        self, key: Key, members: Mapping[Key, list[int]], roles: "_Roles"
    ) -> tuple[HostPart | HpuPart, list[int]]:
        own = members[key]
        ranks = self._with_copies(own, roles)
        model = self._submodel(own, ranks, members, key, roles)
        names = tuple(self.nodes[rank].name for rank in own)
        if key[1] == _HOST:
            return HostPart(model, names), ranks
        graph = self._checked(own, lambda: import_quantised(model), None)
        compiled = self._checked(own, lambda: self._compile(graph), graph)
        return HpuPart(model, graph, compiled, names), ranks

    def _checked(
        self, own: Sequence[int], make: Callable[[], Made], graph: ir.Graph | None
    ) -> Made:
        try:
            return make()
        except UnsupportedError as error:
            ranks = self._blamed(error, own, graph)
            raise _RefusedError(dict.fromkeys(ranks, error.reason)) from None

    def _blamed(
        self, error: UnsupportedError, own: Sequence[int], graph: ir.Graph | None
    ) -> list[int]:
        """The nodes of the part ``own`` that an error is about; all of them in doubt."""
        names = {error.node}
        for op in graph.ops if graph else []:
            if error.node in ("+".join(op.nodes), *op.nodes):
                names.update(op.nodes)
        if error.value:
            found = [rank for rank in own if self._touches(rank, error.value)]
        else:
            found = [rank for rank in own if self.nodes[rank].name in names]
        return found or list(own)

    def _touches(self, rank: int, value: str) -> bool:
        return value in self.reads[rank] or value in self.nodes[rank].output

    def _with_copies(self, own: Sequence[int], roles: "_Roles") -> list[int]:
        """The nodes of a part, and those of every part that they read, in order."""
        ranks, open_ = set(own), list(own)
        while open_:
            for name in self.reads[open_.pop()]:
                maker = self.maker.get(name)
                if maker in roles.copied and maker not in ranks and maker not in roles.folded:
                    ranks.add(maker)
                    open_.append(maker)
        return sorted(ranks)

    def _submodel(
        self,
        own: Sequence[int],
        ranks: Sequence[int],
        members: Mapping[Key, list[int]],
        key: Key,
        roles: "_Roles",
    ) -> onnx.ModelProto:
        made = {name for rank in ranks for name in self.nodes[rank].output}
        constants = self.initializers | roles.constants(self)
        inputs = [
            name
            for name in dict.fromkeys(name for rank in ranks for name in self.reads[rank])
            if name not in made and name not in constants
        ]
        wanted = set(self.outputs)
        for other, theirs in members.items():
            if other != key:
                copies = self._with_copies(theirs, roles)
                theirs_made = {name for rank in copies for name in self.nodes[rank].output}
                read = {name for rank in copies for name in self.reads[rank]}
                wanted |= read - theirs_made
        given = [name for rank in own for name in self.nodes[rank].output if name in wanted]
        return extract(
            self.model,
            [self.nodes[rank] for rank in ranks],
            [self._described(name, roles) for name in inputs],
            [self._described(name, roles) for name in given],
            constants,
        )

    def _described(self, name: str, roles: "_Roles") -> onnx.ValueInfoProto:
        value = roles.values.get(name)
        if value is not None:
            dtype, shape = tensor_type(value)
            number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            return helper.make_tensor_value_info(name, number, list(shape))
        if name not in self.types:
            raise _UntypedError(
                f"the type of {name!r}, which would cross to the host, is not known"
            )
        return onnx.ValueInfoProto(name=name, type=self.types[name])

    def _placements(
        self,
        reasons: Mapping[int, str],
        roles: "_Roles",
        parts: Iterable[HostPart | HpuPart],
        pulled: set[int],
    ) -> tuple[Placement, ...]:
        operation = {
            name: f"{type(op).__name__} {'+'.join(op.nodes)}"
            for part in parts
            if isinstance(part, HpuPart)
            for op in part.graph.ops
            for name in op.nodes
        }
        placed = []
        for rank, node in enumerate(self.nodes):
            reason = self._reason(rank, reasons, roles, pulled)
            follows = reason in (NOTHING_TO_COMPUTE, ONLY_READ_THERE)
            name = operation.get(node.name, "")
            placed.append(Placement(node.name, node.op_type, name, reason, follows))
        return tuple(placed)

    def _reason(
        self,
        rank: int,
        reasons: Mapping[int, str],
        roles: "_Roles",
        pulled: set[int],
    ) -> str:
        if rank in pulled or rank in roles.folded or rank not in self.needed:
            return ""
        if rank in reasons:
            return reasons[rank]
        return ONLY_READ_THERE


class _Roles:
    """What the nodes are: copied to their readers, folded away, or members of one part.

    Nodes that only relabel or quantise, and have no neighbour that computes, go to the host.
    """

    def __init__(self, cut: _Cut, found: Survey, reasons: dict[int, str]):
        self.values = found.values
        self.copied: set[int] = set()
        self.folded: set[int] = set()
        for rank, node in enumerate(cut.nodes):
            value = found.values.get(node.output[0]) if node.output else None
            if rank in reasons:
                continue
            if isinstance(value, Constant | QuantConstant):
                self.copied.add(rank)
                if isinstance(value, Constant) and not self._reads_constants(cut, rank):
                    self.folded.add(rank)
            elif node.op_type == "DequantizeLinear":
                self.copied.add(rank)
        self._send_idle_to_host(cut, reasons)

    def _reads_constants(self, cut: _Cut, rank: int) -> bool:
        made = (self.values.get(name) for name in cut.reads[rank])
        return all(isinstance(value, Constant | QuantConstant) for value in made)

    def constants(self, cut: _Cut) -> dict[str, onnx.TensorProto]:
        """Results that are constants although the node reads none (shapes), as initializers."""
        names = [cut.nodes[rank].output[0] for rank in sorted(self.folded)]
        return {name: numpy_helper.from_array(_array(self.values[name]), name) for name in names}

    def _send_idle_to_host(self, cut: _Cut, reasons: dict[int, str]) -> None:
        group = _Groups()
        busy: set[int] = set()
        for rank, node in enumerate(cut.nodes):
            constant = rank in self.copied and not self._is_activation(node)
            if rank in reasons or constant or rank not in cut.needed:
                continue
            for name in cut.reads[rank]:
                maker = cut.maker.get(name)
                constant = maker in self.copied and not self._is_activation(cut.nodes[maker])
                if maker is not None and maker not in reasons and not constant:
                    group.join(rank, maker)
            if self._computes(node):
                busy.add(rank)
        kept = {group.of(rank) for rank in busy}
        for rank, node in enumerate(cut.nodes):
            idle = rank not in reasons and rank in cut.needed and group.of(rank) not in kept
            if idle and self._is_activation(node) and rank not in self.folded:
                reasons[rank] = NOTHING_TO_COMPUTE
                self.copied.discard(rank)

    def _is_activation(self, node: onnx.NodeProto) -> bool:
        return isinstance(self.values.get(node.output[0]), Activation | Pending)

    def _computes(self, node: onnx.NodeProto) -> bool:
        return node.op_type not in ANY_VALUE


class _Groups:
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


def _levels(cut: _Cut, roles: _Roles, reasons: Mapping[int, str]) -> dict[int, Key]:
    """Level and side of every node that is a member of one part."""
    keys: dict[int, Key] = {}
    seen: dict[str, Key | None] = {}
    for rank in sorted(cut.needed):
        node = cut.nodes[rank]
        before = [seen[name] for name in cut.reads[rank] if seen.get(name)]
        if rank in roles.copied:
            key = max((k for k in before if k), default=None)
        else:
            side = _HOST if rank in reasons else _HPU
            level = max((k[0] + (k[1] != side) for k in before if k), default=0)
            key = keys[rank] = (level, side)
        seen |= dict.fromkeys(node.output, key)
    for name in cut.outputs:
        rank = cut.maker.get(name, -1)
        if rank in roles.copied:
            keys[rank] = seen[name] or (0, _HOST)
    return keys


def _types(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    entries = (*model.graph.value_info, *model.graph.output, *model.graph.input)
    types = {entry.name: entry.type for entry in entries if entry.HasField("type")}
    for tensor in model.graph.initializer:
        types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
    return types


def _array(value: object) -> np.ndarray:
    assert isinstance(value, Constant)
    return value.array
