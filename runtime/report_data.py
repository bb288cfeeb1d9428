"""What the report page's script draws, as compact JSON."""

import base64
from typing import Any

import msgspec
import numpy as np

from hpu.hw.config import Config
from hpu.hw.isa import INSTRUCTION_BYTES, Unit
from hpu.runtime.limits import array_use, fetched
from hpu.runtime.profile import NodeProfile, Profile
from hpu.runtime.program import Program
from hpu.runtime.timeline import Timeline, done_by, layers, node_of, served, windows
from hpu.runtime.traffic import buffer_reads, buffer_writes, bus_bytes

__all__ = ["MAX_SPANS", "program_data", "script_json"]

#: Spans that the timeline draws at most; beyond, neighbours of one node are joined.
MAX_SPANS = 200_000
#: Points of the curves over time.
_STEPS = 2_000
_NEVER = np.iinfo(np.int64).max
#: Units that move DRAM's bytes, by what they move.
_MOVERS = {"weights": Unit.WEIGHTS, "input": Unit.LOAD, "output": Unit.STORE}


def program_data(
    profile: Profile, program: Program, config: Config, spans: Timeline
) -> dict[str, Any]:
    """The numbers of one program's plots. Times are cycles from the first start."""
    total = int(spans.end.max(initial=1))
    return {
        "cycles": total,
        "clock": profile.clock_hz,
        "peak": config.peak_macs,
        "bandwidth": config.dram_bytes_per_cycle,
        "words": config.ub_depth,
        "lanes": config.lanes,
        "units": [unit.name.lower() for unit in Unit],
        "nodes": _layers(profile, program, config, spans),
        "spans": _spans(program, spans),
        "memory": _memory(program, config, spans),
        "dram": _traffic(program, config, spans, total),
    }


def script_json(data: object) -> str:
    """JSON that may stand in a script element: a name must not end it."""
    return msgspec.json.encode(data).decode().replace("<", "\\u003c")


def _layers(profile: Profile, program: Program, config: Config, spans: Timeline) -> list[dict]:
    """Layers, each with its windows: from, to, and the share of the array's peak."""
    _found, index = layers(program.nodes)
    parts = windows(spans, program.nodes)
    share = array_use(program, config, spans, parts).tolist()
    rows = [[int(a), int(b), round(s, 5)] for (a, b), s in zip(parts, share, strict=True)]
    return [
        {
            "name": node.name,
            "op": node.op_type,
            "macs": node.macs,
            "cycles": node.cycles,
            "windows": [rows[i] for i in np.flatnonzero(index == k) if rows[i][1] > rows[i][0]],
            "share": round(node.utilisation or 0.0, 5),
            "own": _own_cycles(node, config),
            "moved": node.read_bytes + node.written_bytes,
            "limit": node.limit,
            "work": {name: round(value, 3) for name, value in (node.work or {}).items()},
        }
        for k, node in enumerate(profile.nodes)
    ]


def _own_cycles(node: NodeProfile, config: Config) -> float:
    """A layer's time on the roofline: what it added to the run, or what its own rows of the array
    and its own DRAM traffic take where they overlapped with other layers."""
    moved = (node.read_bytes + node.written_bytes) / config.dram_bytes_per_cycle
    return max(node.cycles or 0, node.matrix_cycles or 0, moved)


def _spans(program: Program, spans: Timeline) -> list[str]:
    """For each unit base64 of numbers of 7 bits a byte: start less the last, length, node + 1."""
    _found, index = layers(program.nodes)
    owner = np.append(index, -1)[node_of(spans.pc, program.nodes)]
    rows = _joined(np.stack([spans.unit, owner, spans.start, spans.end], axis=1))
    texts = []
    for unit in Unit:
        own = rows[rows[:, 0] == unit]
        gaps = np.diff(own[:, 2], prepend=0)
        numbers = np.stack([gaps, own[:, 3] - own[:, 2], own[:, 1] + 1], axis=1)
        texts.append(base64.b64encode(_varints(numbers.ravel())).decode())
    return texts


def _joined(rows: np.ndarray) -> np.ndarray:
    """At most ``MAX_SPANS`` rows: spans of one unit and node with ever larger gaps become one."""
    rows = rows[np.lexsort((rows[:, 2], rows[:, 0]))]
    gap = 1
    while len(rows) > MAX_SPANS and gap < 1 << 40:
        same = (rows[1:, :2] == rows[:-1, :2]).all(1) & (rows[1:, 2] - rows[:-1, 3] <= gap)
        first = np.concatenate([[True], ~same])
        starts = np.flatnonzero(first)
        ends = np.maximum.reduceat(rows[:, 3], starts)
        rows = np.column_stack([rows[starts, :3], ends])
        gap *= 4
    return rows


def _varints(numbers: np.ndarray) -> bytes:
    """Seven bits a byte, least first; the top bit says that more follow."""
    numbers = numbers.astype(np.uint64)
    size = np.ones(len(numbers), np.int64)
    for k in range(1, 9):
        size += numbers >> np.uint64(7 * k) != 0
    place = np.cumsum(size) - size
    data = np.zeros(int(size.sum()), np.uint8)
    for k in range(int(size.max(initial=0))):
        chosen = size > k
        low = (numbers[chosen] >> np.uint64(7 * k)) & np.uint64(127)
        data[place[chosen] + k] = low + np.uint64(128) * (size[chosen] > k + 1)
    return data.tobytes()


def _memory(program: Program, config: Config, spans: Timeline) -> list[list[Any]]:
    """Name, kind, first word, words, and from when to when, of what the unified buffer holds.

    From the start of the first instruction that may write it to the end of the last that may
    read it: an input of the graph comes by LOAD, other tensors from the vector unit.
    """
    loaded = {port.tensor for port in program.inputs}
    writes, reads = buffer_writes(program)[spans.pc], buffer_reads(program)[spans.pc]
    owner = node_of(spans.pc, program.nodes)
    by_load = _firsts(spans, owner, writes & (spans.unit == Unit.LOAD), program)
    by_vector = _firsts(spans, owner, writes & (spans.unit == Unit.VECTOR), program)
    ends = np.zeros(len(program.nodes) + 1, np.int64)
    np.maximum.at(ends, owner, np.where(reads | writes, spans.end, 0))
    rows = []
    for part in program.memory:
        first = by_load if part.kind == "buffer" or part.name in loaded else by_vector
        start = int(np.minimum(by_load, by_vector)[part.first])
        if first[part.first] < _NEVER:
            start = int(first[part.first])
        end = int(ends[part.first : part.last + 1].max())
        if part.space == "ub" and start < end:
            rows.append([part.name, part.kind, part.base, part.size, start, end])
    return rows


def _firsts(spans: Timeline, owner: np.ndarray, chosen: np.ndarray, program: Program) -> np.ndarray:
    """The first start among the chosen instructions of every range."""
    first = np.full(len(program.nodes) + 1, _NEVER)
    np.minimum.at(first, owner[chosen], spans.start[chosen])
    return first


def _traffic(program: Program, config: Config, spans: Timeline, total: int) -> dict[str, Any]:
    """DRAM bytes per cycle over time, in equal steps."""
    edges = np.linspace(0, total, min(_STEPS, total) + 1)
    moved = bus_bytes(program, config)[spans.pc]
    in_order = served(spans)
    curves = {
        name: done_by(in_order, np.where(spans.unit == unit, moved, 0), edges)
        for name, unit in _MOVERS.items()
    }
    size = np.full(len(spans), float(INSTRUCTION_BYTES))
    curves["fetch"] = done_by(fetched(spans, size / config.dram_bytes_per_cycle), size, edges)
    rates = {n: np.round(np.diff(c) / np.diff(edges), 2).tolist() for n, c in curves.items()}
    return {"step": float(edges[1]), **rates}
