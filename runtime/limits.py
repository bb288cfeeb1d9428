"""What limits each layer: how much every resource worked in the time that the layer added.

The rule. A layer's window reaches from the end of the layer that ended before it to its own end; a
layer that is computed in slices has several. The windows fill the run. In them, whatever
instruction it came from, is counted

- ``matrix``: rows streamed through the array, one a cycle,
- ``fill``: weight tiles taken times the cycles that shifting one into the array takes,
- ``vector``: cycles in which the vector unit had an instruction,
- ``weights``, ``input``, ``output``: rows that WEIGHTS, LOAD and STORE move, one a cycle, or their
  bytes over the DRAM's bandwidth where that is more,
- ``fetch``: bytes of the instructions themselves over the DRAM's bandwidth,
- ``dram``: bytes of all four over the DRAM's bandwidth,

an instruction's work spread evenly over the time in which its unit was at it, and its fetch right
before its start. The resource that
worked the largest share of a layer's windows is its limit; for ``dram`` that of the four which
worked most. When none worked for ``BUSY`` of them, the units waited for one another: the limit is
``latency``. A layer that added no time is ``hidden``.
"""

from collections.abc import Mapping

import numpy as np

from hpu.hw.config import Config
from hpu.hw.isa import INSTRUCTION_BYTES, Unit
from hpu.runtime.program import Program
from hpu.runtime.timeline import Timeline, done_by, node_of, served
from hpu.runtime.traffic import bus_bytes, matrix_rows, moved_rows, new_tiles

__all__ = [
    "BUSY",
    "LIMITS",
    "RESOURCES",
    "array_use",
    "fetched",
    "limit_of",
    "load_of",
    "shares",
    "work",
]

#: Share of a window from which on a resource limits it.
BUSY = 0.5
RESOURCES = ("matrix", "fill", "vector", "weights", "input", "output", "fetch", "dram")
#: Words for what limits a layer.
LIMITS = {
    "matrix": "matrix compute",
    "fill": "array fill",
    "vector": "vector unit",
    "weights": "weights bandwidth",
    "input": "input load",
    "output": "output store",
    "fetch": "instruction fetch",
    "latency": "latency",
    "hidden": "hidden",
}
_MOVERS = ("weights", "input", "output", "fetch")


def work(program: Program, config: Config, spans: Timeline) -> dict[str, np.ndarray]:
    """Cycles of work that every span asks of each resource (float64, in the order of ``spans``)."""
    dram = (bus_bytes(program, config) / config.dram_bytes_per_cycle)[spans.pc]
    move = np.maximum(dram, moved_rows(program)[spans.pc])
    lasted = (spans.end - spans.start).astype(float)
    return {
        "matrix": matrix_rows(program)[spans.pc].astype(float),
        "fill": (config.rows * new_tiles(program))[spans.pc].astype(float),
        "vector": np.where(spans.unit == Unit.VECTOR, lasted, 0.0),
        "weights": np.where(spans.unit == Unit.WEIGHTS, move, 0.0),
        "input": np.where(spans.unit == Unit.LOAD, move, 0.0),
        "output": np.where(spans.unit == Unit.STORE, move, 0.0),
        "fetch": np.full(len(spans), INSTRUCTION_BYTES / config.dram_bytes_per_cycle),
        "dram": dram,
    }


def shares(
    spans: Timeline, amounts: Mapping[str, np.ndarray], windows: np.ndarray, layer: np.ndarray
) -> list[dict[str, float]]:
    """Of the windows of every layer the share in which each resource worked, at most 1.

    ``windows``: int64 [n, 2], from and to; ``layer``: which layer each belongs to. An
    instruction's work is not known to the cycle; what exceeds a window is left out.
    """
    in_order, before = served(spans), fetched(spans, amounts["fetch"])
    total = {}
    for name in RESOURCES:
        done = done_by(before if name == "fetch" else in_order, amounts[name], windows)
        total[name] = np.bincount(layer, done[:, 1] - done[:, 0])
    total["dram"] += total["fetch"]
    length = np.maximum(np.bincount(layer, windows[:, 1] - windows[:, 0]), 1)
    columns = {name: np.clip(total[name] / length, 0, 1) for name in RESOURCES}
    return [{name: float(columns[name][k]) for name in RESOURCES} for k in range(len(length))]


def fetched(spans: Timeline, cycles: np.ndarray) -> Timeline:
    """The last ``cycles`` before each start, in which its instruction was fetched at the latest."""
    return Timeline(spans.unit, spans.pc, spans.start - cycles, spans.start)


def array_use(program: Program, config: Config, spans: Timeline, windows: np.ndarray) -> np.ndarray:
    """Useful MACs done in every window over what the array could do in it (float64 [n]).

    A node's MACs are spread over its rows of the array.
    """
    owner = node_of(spans.pc, program.nodes)
    rows = matrix_rows(program)[spans.pc].astype(float)
    total = np.bincount(owner + 1, rows, len(program.nodes) + 1)
    macs = np.array([0, *(node.macs for node in program.nodes)])
    each = np.divide(macs, total, out=np.zeros(len(macs)), where=total > 0)
    done = done_by(served(spans), rows * each[owner + 1], windows)
    length = np.maximum(windows[:, 1] - windows[:, 0], 1)
    return np.clip((done[:, 1] - done[:, 0]) / length / config.peak_macs, 0, 1)


def limit_of(share: Mapping[str, float], cycles: int) -> str:
    """The key of ``LIMITS`` for a window of ``cycles`` cycles."""
    if not cycles:
        return "hidden"
    mover = max(_MOVERS, key=lambda name: share[name])
    found = {name: load_of(name, share) or 0.0 for name in ("matrix", "fill", "vector", mover)}
    most = max(found, key=lambda name: found[name])
    return most if found[most] >= BUSY else "latency"


def load_of(limit: str, share: Mapping[str, float]) -> float | None:
    """The share of a window in which what limits it worked; ``None`` where nothing does."""
    if limit in _MOVERS:
        return max(share[limit], share["dram"])
    return share.get(limit)
