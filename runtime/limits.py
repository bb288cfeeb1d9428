"""What limits each layer: how much every resource worked in the time that the layer added.

The rule. A layer's window reaches from the end of the layer that ended before it to its own end; a
layer that is computed in slices has several. The windows fill the run. In them, whatever
instruction it came from, is counted

- ``matrix``: rows streamed through the array, one a cycle,
- ``fill``: weight tiles taken times the cycles that shifting one into the array takes,
- ``vector``: cycles in which the vector unit had an instruction,
- ``weights``, ``input``, ``output``: rows that WEIGHTS, LOAD and STORE move, one a cycle, or their
  bytes over the DRAM's bandwidth where that is more,
- ``dram``: bytes of all three over the DRAM's bandwidth,

an instruction's work spread evenly over the time in which its unit was at it. The resource that
worked the largest share of a layer's windows is its limit; for ``dram`` that of the three which
worked most. When none worked for ``BUSY`` of them, the units waited for one another: the limit is
``latency``. A layer that added no time is ``hidden``.
"""

from collections.abc import Mapping

import numpy as np

from hpu.hw.config import Config
from hpu.hw.isa import Unit
from hpu.runtime.program import Program
from hpu.runtime.timeline import Timeline, done_by, served
from hpu.runtime.traffic import bus_bytes, matrix_rows, moved_rows, new_tiles

__all__ = ["BUSY", "LIMITS", "RESOURCES", "limit_of", "load_of", "shares", "work"]

#: Share of a window from which on a resource limits it.
BUSY = 0.5
RESOURCES = ("matrix", "fill", "vector", "weights", "input", "output", "dram")
#: Words for what limits a layer.
LIMITS = {
    "matrix": "matrix compute",
    "fill": "array fill",
    "vector": "vector unit",
    "weights": "weights bandwidth",
    "input": "input load",
    "output": "output store",
    "latency": "latency",
    "hidden": "hidden",
}
_MOVERS = ("weights", "input", "output")


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
        "dram": dram,
    }


def shares(
    spans: Timeline, amounts: Mapping[str, np.ndarray], windows: np.ndarray, layer: np.ndarray
) -> list[dict[str, float]]:
    """Of the windows of every layer the share in which each resource worked, at most 1.

    ``windows``: int64 [n, 2], from and to; ``layer``: which layer each belongs to. An
    instruction's work is not known to the cycle; what exceeds a window is left out.
    """
    length = np.bincount(layer, windows[:, 1] - windows[:, 0])
    columns, spans = {}, served(spans)
    for name in RESOURCES:
        done = done_by(spans, amounts[name], windows)
        total = np.bincount(layer, done[:, 1] - done[:, 0])
        columns[name] = np.minimum(total / np.maximum(length, 1), 1)
    return [{name: float(columns[name][k]) for name in RESOURCES} for k in range(len(length))]


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
