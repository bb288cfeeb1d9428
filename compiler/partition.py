"""A model in parts: regions of the HPU, and models for onnxruntime between them.

The nodes of one level on one side (:mod:`hpu.compiler.levels`) are a part, so parts are convex, as
large as they can be, and there are as few crossings as on the worst path. Constants and
DequantizeLinear belong to every part that reads them: what crosses is the quantised tensor.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import numpy as np
import onnx
from onnx import helper

from hpu.compiler import ir
from hpu.compiler.cost import Cost
from hpu.compiler.errors import UnsupportedError
from hpu.compiler.frontend import import_quantised
from hpu.compiler.levels import HOST, HPU, Key, levels
from hpu.compiler.net import Net
from hpu.compiler.placement import SLOWER, Placement
from hpu.compiler.roles import NOTHING_TO_COMPUTE, Roles
from hpu.compiler.submodel import extract, with_names
from hpu.compiler.survey import survey, tensor_type

__all__ = ["HostPart", "HpuPart", "Partition", "partition"]

Made = TypeVar("Made")

ONLY_READ_THERE = "only the host reads it"


@dataclasses.dataclass(frozen=True)
class HostPart:
    """A part for onnxruntime."""

    model: onnx.ModelProto
    nodes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class HpuPart:
    """A part for the HPU, what ``compile`` made of it, and what it costs where that is known."""

    model: onnx.ModelProto
    graph: ir.Graph
    compiled: object
    nodes: tuple[str, ...]
    cost: Cost | None = None


Part: TypeAlias = HostPart | HpuPart


@dataclasses.dataclass(frozen=True)
class Partition:
    """The parts in the order in which they run, and the decision for every node."""

    parts: tuple[Part, ...]
    placements: tuple[Placement, ...]


def partition(
    model: onnx.ModelProto,
    *,
    compile: Callable[[ir.Graph], object] = lambda graph: None,
    cost: Callable[[ir.Graph, object], Cost] | None = None,
    force: bool = False,
    held: str = "",
) -> Partition:
    """Cut ``model`` in parts.

    Parameters
    ----------
    model:
        As :func:`~hpu.compiler.importer.load.load_model` gives it; nodes without a name get one.
    compile:
        Called with the graph of every HPU part, once; raises UnsupportedError when it does not fit.
    cost:
        Called with the graph of every HPU part and what ``compile`` made of it. A part that does
        not pay goes to the host.
    force:
        A part that does not pay stays on the HPU, and its placements say so.
    held:
        When not empty, the reason why everything runs on the host.
    """
    cut = _Cut(Net(with_names(model)), compile, cost, force)
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
    """HPU parts that turned out not to run; ``reasons`` holds why, by rank of node."""

    def __init__(self, reasons: dict[int, str]):
        self.reasons = reasons
        super().__init__(reasons)


class _UntypedError(Exception):
    """A value that crosses between parts and whose type is not known."""


class _Cut:
    """One model; ``held`` grows with every attempt, so there are at most as many as nodes."""

    def __init__(
        self,
        net: Net,
        compile: Callable[[ir.Graph], object],
        cost: Callable[[ir.Graph, object], Cost] | None,
        force: bool,
    ):
        self.net, self._compile, self._cost, self._force = net, compile, cost, force
        self.held: dict[int, str] = {}
        #: HPU parts of earlier attempts, and why they were refused, by what they are made of.
        self._known: dict[tuple, HpuPart | dict[int, str]] = {}

    def whole(self, reason: str) -> Partition:
        """Everything on the host."""
        placed = (Placement(node.name, node.op_type, "", reason) for node in self.net.nodes)
        return Partition((self._everything(),), tuple(placed))

    def _everything(self) -> HostPart:
        return HostPart(self.net.model, tuple(node.name for node in self.net.nodes))

    def attempt(self) -> Partition:
        """Cut once.

        Raises
        ------
        _RefusedError
            When more nodes have to be held on the host.
        """
        found = survey(self.net.model, self.net.types, self.held)
        reasons = dict(found.refused)
        roles = Roles(self.net, found, reasons)
        members: dict[Key, list[int]] = {}
        for rank, key in sorted(levels(self.net, roles, reasons).items()):
            members.setdefault(key, []).append(rank)
        if all(side == HOST for _, side in members):
            placed = _placements(self.net, roles, reasons, [], set())
            return Partition((self._everything(),), placed)
        parts: list[Part] = []
        pulled: set[int] = set()
        refused: dict[int, str] = {}
        for key, own in sorted(members.items()):
            ranks = roles.with_copies(self.net, own)
            part = self._part(key, ranks, members, roles)
            if isinstance(part, dict):
                refused |= part
                continue
            parts.append(part)
            pulled |= set(ranks) if key[1] == HPU else set()
        if refused:
            raise _RefusedError(refused)
        return Partition(tuple(parts), _placements(self.net, roles, reasons, parts, pulled))

    def _part(
        self, key: Key, ranks: list[int], members: Mapping[Key, list[int]], roles: Roles
    ) -> Part | dict[int, str]:
        """A part, or why its nodes must be held on the host."""
        own = members[key]
        inputs, outputs = self._interface(key, ranks, members, roles)
        constants = self.net.initializers | roles.constants(self.net)
        nodes = [self.net.nodes[rank] for rank in ranks]
        model = extract(self.net.model, nodes, inputs, outputs, constants)
        names = tuple(self.net.nodes[rank].name for rank in own)
        if key[1] == HOST:
            return HostPart(model, names)
        ends = (value.SerializeToString() for value in (*inputs, *outputs))
        signature = (*ranks, len(inputs), *ends)
        if signature not in self._known:
            self._known[signature] = self._hpu_part(model, own, names)
        return self._known[signature]

    def _hpu_part(
        self, model: onnx.ModelProto, own: Sequence[int], names: tuple[str, ...]
    ) -> HpuPart | dict[int, str]:
        graph: ir.Graph | None = None
        try:
            graph = import_quantised(model)
            compiled = self._compile(graph)
        except UnsupportedError as error:
            return dict.fromkeys(self._blamed(error, own, graph), error.reason)
        cost = self._cost(graph, compiled) if self._cost else None
        if cost and not cost.pays and not self._force:
            return dict.fromkeys(own, f"{SLOWER} ({cost})")
        return HpuPart(model, graph, compiled, names, cost)

    def _blamed(
        self, error: UnsupportedError, own: Sequence[int], graph: ir.Graph | None
    ) -> list[int]:
        """The nodes of the part ``own`` that an error is about; all of them in doubt."""
        names = {error.node}
        for op in graph.ops if graph else []:
            if error.node in ("+".join(op.nodes), *op.nodes):
                names.update(op.nodes)
        if error.value:
            found = [rank for rank in own if self.net.touches(rank, error.value)]
        else:
            found = [rank for rank in own if self.net.nodes[rank].name in names]
        return found or list(own)

    def _interface(
        self, key: Key, ranks: Sequence[int], members: Mapping[Key, list[int]], roles: Roles
    ) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
        """The values that a part takes, and those that it gives to others."""
        net = self.net
        made = net.made(ranks)
        constants = {*net.initializers, *net.made(roles.folded)}
        read = dict.fromkeys(name for rank in ranks for name in net.reads[rank])
        inputs = [name for name in read if name not in made and name not in constants]
        wanted = set(net.outputs)
        for other, theirs in members.items():
            if other != key:
                copies = roles.with_copies(net, theirs)
                wanted |= {name for rank in copies for name in net.reads[rank]} - net.made(copies)
        given = [n for rank in members[key] for n in net.nodes[rank].output if n in wanted]
        return (
            [self._described(name, roles) for name in inputs],
            [self._described(name, roles) for name in given],
        )

    def _described(self, name: str, roles: Roles) -> onnx.ValueInfoProto:
        value = roles.values.get(name)
        if value is not None:
            dtype, shape = tensor_type(value)
            number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            return helper.make_tensor_value_info(name, number, list(shape))
        if name not in self.net.types:
            raise _UntypedError(
                f"the type of {name!r}, which would cross to the host, is not known"
            )
        return onnx.ValueInfoProto(name=name, type=self.net.types[name])


def _placements(
    net: Net,
    roles: Roles,
    reasons: Mapping[int, str],
    parts: Iterable[Part],
    pulled: set[int],
) -> tuple[Placement, ...]:
    regions = [part for part in parts if isinstance(part, HpuPart)]
    operation = {
        name: f"{type(op).__name__} {'+'.join(op.nodes)}"
        for part in regions
        for op in part.graph.ops
        for name in op.nodes
    }
    slow = {
        name: f"slower than on the host ({part.cost})"
        for part in regions
        if part.cost and not part.cost.pays
        for name in part.nodes
    }
    placed = []
    for rank, node in enumerate(net.nodes):
        here = rank in pulled or rank in roles.folded or rank not in net.needed
        reason = "" if here else reasons.get(rank, ONLY_READ_THERE)
        follows = reason in (NOTHING_TO_COMPUTE, ONLY_READ_THERE)
        name, note = operation.get(node.name, ""), slow.get(node.name, "")
        placed.append(Placement(node.name, node.op_type, name, reason, follows, note))
    return tuple(placed)
