"""What limits each layer: how much every resource worked in the time that the layer added.

The rule. A layer's window reaches from the end of the layer that ended before it to its own end;
the windows fill the run. In a window, whatever instruction it came from, is counted

- ``matrix``: rows streamed through the array, one a cycle,
- ``fill``: weight tiles taken times the cycles that shifting one into the array takes,
- ``vector``: cycles in which the vector unit had an instruction,
- ``weights``, ``input``, ``output``: bytes of WEIGHTS, LOAD and STORE over the DRAM's bandwidth,

an instruction's work spread evenly from its start to its end. The three of the DRAM share one
port and count together. The resource that worked the largest share of the window is the limit; the
DRAM is named by the largest of its three. When none worked for ``BUSY`` of the window, the units
waited for one another: the limit is ``latency``. A layer that added no time is ``hidden``.
"""

from collections.abc import Mapping

import numpy as np

from hpu.hw.config import Config
from hpu.hw.isa import Unit
from hpu.runtime.program import Program
from hpu.runtime.timeline import Timeline, done_by
from hpu.runtime.traffic import bus_bytes, matrix_rows, new_tiles

__all__ = ["BUSY", "LIMITS", "RESOURCES", "limit_of", "shares", "work"]

#: Share of a window from which on a resource limits it.
BUSY = 0.5
RESOURCES = ("matrix", "fill", "vector", "weights", "input", "output")
#: Words for what limits a layer.
LIMITS = {
    "matrix": "matrix compute",
    "fill": "array fill",
    "vector": "vector unit",
    "weights": "weights bandwidth",
    "input": "input bandwidth",
    "output": "output bandwidth",
    "latency": "latency",
    "hidden": "hidden",
}
_DRAM = ("weights", "input", "output")


def work(program: Program, config: Config, spans: Timeline) -> dict[str, np.ndarray]:
    """Cycles of work that every span asks of each resource (float64, in the order of ``spans``)."""
    dram = (bus_bytes(program, config) / config.dram_bytes_per_cycle)[spans.pc]
    lasted = (spans.end - spans.start).astype(float)
    return {
        "matrix": matrix_rows(program)[spans.pc].astype(float),
        "fill": (config.rows * new_tiles(program))[spans.pc].astype(float),
        "vector": np.where(spans.unit == Unit.VECTOR, lasted, 0.0),
        "weights": np.where(spans.unit == Unit.WEIGHTS, dram, 0.0),
        "input": np.where(spans.unit == Unit.LOAD, dram, 0.0),
        "output": np.where(spans.unit == Unit.STORE, dram, 0.0),
    }


def shares(
    spans: Timeline, amounts: Mapping[str, np.ndarray], windows: np.ndarray
) -> list[dict[str, float]]:
    """Of every window (int64 [n, 2]) the share in which each resource worked; 0 of an empty one."""
    length = np.maximum(windows[:, 1] - windows[:, 0], 1)
    columns = {}
    for name in RESOURCES:
        done = done_by(spans, amounts[name], windows)
        columns[name] = (done[:, 1] - done[:, 0]) / length
    return [{name: float(columns[name][k]) for name in RESOURCES} for k in range(len(windows))]


def limit_of(share: Mapping[str, float], cycles: int) -> str:
    """The key of ``LIMITS`` for a window of ``cycles`` cycles."""
    if not cycles:
        return "hidden"
    dram = max(_DRAM, key=lambda name: share[name])
    found = {name: share[name] for name in ("matrix", "fill", "vector")}
    found[dram] = sum(share[name] for name in _DRAM)
    most = max(found, key=lambda name: found[name])
    return most if found[most] >= BUSY else "latency"
