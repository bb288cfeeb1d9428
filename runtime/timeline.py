"""When every instruction ran: the machine's event log, turned into spans and charged to nodes."""

import dataclasses
from collections.abc import Sequence

import msgspec
import numpy as np

from hpu.hw.isa import Unit
from hpu.runtime.program import NodeRange

__all__ = [
    "Timeline",
    "busy",
    "charged",
    "done_by",
    "layers",
    "node_of",
    "served",
    "timeline",
    "windows",
]


@dataclasses.dataclass(frozen=True)
class Timeline:
    """Spans in the order of their starts, one per instruction: int64 arrays of equal length.

    Instruction ``pc`` ran on ``unit`` from cycle ``start`` to ``end``, counted from the first.
    """

    unit: np.ndarray
    pc: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def __len__(self) -> int:
        return len(self.pc)


def timeline(events: np.ndarray) -> Timeline:
    """Spans of a log of dtype ``hpu.sim.rtl.EVENT``: cycle, pc, unit, end (0 or 1).

    Raises
    ------
    ValueError
        When a start has no end or an end no start.
    """
    spans = np.concatenate([_spans(events, int(unit)) for unit in Unit])
    spans = spans[np.lexsort((spans[:, 0], spans[:, 2]))]
    origin = spans[0, 2] if len(spans) else 0
    return Timeline(spans[:, 0], spans[:, 1], spans[:, 2] - origin, spans[:, 3] - origin)


def _spans(events: np.ndarray, unit: int) -> np.ndarray:
    """Rows unit, pc, start, end. A unit runs in order, so its k-th start has its k-th end."""
    own = events[events["unit"] == unit]
    starts, ends = own[own["end"] == 0], own[own["end"] == 1]
    if not np.array_equal(starts["pc"], ends["pc"]):
        raise ValueError(f"the log of unit {Unit(unit).name} has starts and ends that do not match")
    columns = (np.full(len(starts), unit), starts["pc"], starts["cycle"], ends["cycle"])
    return np.stack([column.astype(np.int64) for column in columns], axis=1)


def node_of(pcs: np.ndarray, nodes: Sequence[NodeRange]) -> np.ndarray:
    """Index into ``nodes`` of the range that holds each instruction; -1 where none does."""
    size = max((node.first + node.count for node in nodes), default=0)
    owner = np.full(max(size, int(pcs.max(initial=0)) + 1), -1)
    for index, node in enumerate(nodes):
        owner[node.first : node.first + node.count] = index
    return owner[pcs]


def layers(nodes: Sequence[NodeRange]) -> tuple[list[NodeRange], np.ndarray]:
    """The ranges of one name and operator as one, and for every range which of these it is in.

    A layer that is computed in slices has a range for each; MACs and instructions add up.
    """
    names = [(node.name, node.op_type) for node in nodes]
    order = {name: k for k, name in enumerate(dict.fromkeys(names))}
    index = np.array([order[name] for name in names], np.int64)
    groups: list[list[NodeRange]] = [[] for _name in order]
    for node, k in zip(nodes, index, strict=True):
        groups[k].append(node)
    return [_joined(group) for group in groups], index


def _joined(group: Sequence[NodeRange]) -> NodeRange:
    return msgspec.structs.replace(
        group[0],
        count=sum(node.count for node in group),
        macs=sum(node.macs for node in group),
        mapping="; ".join(dict.fromkeys(node.mapping for node in group if node.mapping)),
    )


def windows(spans: Timeline, nodes: Sequence[NodeRange]) -> np.ndarray:
    """The time that each node added to the run: int64 [nodes, 2], from and to.

    Nodes overlap: a node's window reaches from the end of the node that ended before it to its
    own end. The windows fill the run; that of a node without an instruction is empty.
    """
    ends = _last_ends(spans, nodes)
    order = np.argsort(ends, kind="stable")
    result = np.empty((len(nodes), 2), np.int64)
    result[order, 1] = ends[order]
    result[order, 0] = np.concatenate([[0], ends[order][:-1]]) if len(nodes) else 0
    return result


def charged(spans: Timeline, nodes: Sequence[NodeRange]) -> np.ndarray:
    """Cycles that each node added to the run; they sum to the cycle of the last end."""
    found = windows(spans, nodes)
    return found[:, 1] - found[:, 0]


def _last_ends(spans: Timeline, nodes: Sequence[NodeRange]) -> np.ndarray:
    ends = np.zeros(len(nodes), np.int64)
    np.maximum.at(ends, node_of(spans.pc, nodes), spans.end)
    return ends


def busy(spans: Timeline, unit: Unit, nodes: Sequence[NodeRange]) -> np.ndarray:
    """Cycles in which ``unit`` ran an instruction of each node; overlaps count once."""
    chosen = spans.unit == unit
    start, end = spans.start[chosen], spans.end[chosen]
    owner = node_of(spans.pc[chosen], nodes)
    before = np.concatenate([[0], np.maximum.accumulate(end)[:-1]]) if len(end) else end
    result = np.zeros(len(nodes), np.int64)
    np.add.at(result, owner, np.maximum(end - np.maximum(start, before), 0))
    return result


def served(spans: Timeline) -> Timeline:
    """``spans`` less the time in which the unit was still at the instruction before.

    A unit takes instructions ahead; it does their work in order.
    """
    start = spans.start.copy()
    for unit in Unit:
        own = np.flatnonzero(spans.unit == unit)  # in the order of starts, hence of ends
        start[own[1:]] = np.maximum(start[own[1:]], spans.end[own[:-1]])
    return Timeline(spans.unit, spans.pc, np.minimum(start, spans.end), spans.end)


def done_by(spans: Timeline, amounts: np.ndarray, cycles: np.ndarray) -> np.ndarray:
    """What is done by each of ``cycles``, when every span does its amount evenly from start to end.

    ``amounts`` has one number per span; returns float64 of the shape of ``cycles``.
    """
    chosen = np.flatnonzero(amounts)
    if not len(chosen):
        return np.zeros(np.shape(cycles))
    start, end = spans.start[chosen], np.maximum(spans.end[chosen], spans.start[chosen] + 1)
    rate = amounts[chosen] / (end - start)
    times, change = np.concatenate([start, end]), np.concatenate([rate, -rate])
    order = np.argsort(times, kind="stable")
    times, slope = times[order], np.cumsum(change[order])
    level = np.concatenate([[0.0], np.cumsum(slope[:-1] * np.diff(times))])
    return np.interp(cycles, times, level)
