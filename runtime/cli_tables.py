"""Tables that the command line prints."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.markup import escape
from rich.table import Table

from hpu.runtime.interface import shape_text
from hpu.runtime.program import Program

if TYPE_CHECKING:
    from hpu.compiler.placement import Placement
    from hpu.runtime.profile import NetworkProfile, NodeProfile, Profile

__all__ = [
    "attribution_table",
    "mapping_table",
    "outputs_table",
    "placement_table",
    "profile_table",
    "program_table",
    "summary_table",
    "table",
]


#: Letters of a node's name that the profile shows.
_NAME = 60


def table(*columns: str) -> Table:
    """An empty table; a column whose name starts with ``>`` is aligned to the right."""
    result = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        result.add_column(column.lstrip(">"), justify="right" if right else "left")
    return result


def outputs_table(results: Mapping[str, np.ndarray]) -> Table:
    """Name, type, shape and range of every output, and the first classes of a row of scores."""
    result = table("output", "type", "shape", ">least", ">greatest", "largest at")
    for name, value in results.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf" or not value.size:
            result.add_row(name, *_plain(value), "", "", "")
            continue
        cells = (str(value.dtype), shape_text(value.shape), f"{value.min():.6g}")
        result.add_row(name, *cells, f"{value.max():.6g}", _largest(value))
    return result


def _plain(value: object) -> tuple[str, str]:
    """Type and shape of an output that has no least and greatest number."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), shape_text(value.shape)
    return type(value).__name__, ""


def _largest(value: np.ndarray) -> str:
    """Index of the largest of every row, where rows look like scores."""
    if value.ndim != 2 or value.shape[1] < 2:
        return ""
    first = value.argmax(1)
    return ", ".join(map(str, first[:12])) + (", …" if len(first) > 12 else "")


def program_table(program: Program) -> Table:
    """Instructions and MACs of every node; how it is mapped, where that is told."""
    from hpu.runtime.timeline import layers

    found, _index = layers(program.nodes)
    mapped = any(node.mapping for node in found)
    result = table("node", "operator", ">instructions", ">MACs", *(["mapping"] if mapped else []))
    for node in found:
        cells = [f"{node.count:,}", f"{node.macs:,}", *([escape(node.mapping)] if mapped else [])]
        result.add_row(escape(_short(node.name)), node.op_type, *cells)
    return result


def placement_table(placed: Sequence["Placement"]) -> Table:
    """Where every node of a model runs."""
    result = table("node", "operator", "runs on", "as, or why")
    for entry in placed:
        where, how = "HPU", escape(entry.operation) or "in its neighbours"
        if entry.note:
            how += f" [yellow]({escape(entry.note)})[/]"
        if entry.on_host:
            where, how = "[yellow]host[/]", escape(entry.reason)
        result.add_row(escape(entry.node), entry.op_type, where, how)
    return result


def profile_table(profile: "Profile") -> Table:
    """MACs, traffic, cycles and what limits every node."""
    columns = ["node", "operator", ">MACs", ">read bytes", ">written bytes", ">cycles", ">of peak"]
    result = table(*columns, "limited by")
    for node in profile.nodes:
        cells = [f"{node.macs:,}", f"{node.read_bytes:,}", f"{node.written_bytes:,}"]
        cells += [f"{node.cycles or 0:,}", f"{node.utilisation or 0:.1%}", _limit(node)]
        result.add_row(escape(_short(node.name)), node.op_type, *cells)
    return result


def mapping_table(profile: "Profile") -> Table | None:
    """How every node is laid on the machine, and why; ``None`` where nothing is told."""
    result = table("node", "mapping")
    for node in profile.nodes:
        if node.mapping:
            result.add_row(escape(_short(node.name)), escape(node.mapping))
    return result if result.row_count else None


def _short(name: str) -> str:
    """A node's name, the middle of a long one left out."""
    return name if len(name) <= _NAME else f"{name[: _NAME // 2]}…{name[-_NAME // 2 :]}"


def _limit(node: "NodeProfile") -> str:
    """What limits a node, and the share of its time in which it is busy."""
    from hpu.runtime.limits import LIMITS, load_of

    if node.limit is None or node.work is None:
        return ""
    share = load_of(node.limit, node.work)
    return LIMITS[node.limit] + ("" if share is None else f" {share:.0%}")


def attribution_table(profile: "Profile") -> Table:
    """Cause, cycles and share of every cycle of the matrix unit."""
    result = table("matrix unit", ">cycles", ">share")
    causes = profile.attribution or {}
    for name, cycles in causes.items():
        text = name.removeprefix("MATRIX_").lower()
        result.add_row(text, f"{cycles:,}", f"{cycles / (profile.cycles or 1):.2%}")
    result.add_row("all", f"{sum(causes.values()):,}", f"{profile.attributed:.2%}", style="bold")
    return result


def summary_table(network: "NetworkProfile") -> Table:
    """What a network takes: memory, MACs, time, and what limits it."""
    result = table("summary", "")
    for name, text in _summary(network):
        result.add_row(name, text)
    return result


def _summary(network: "NetworkProfile") -> Iterator[tuple[str, str]]:
    from hpu.runtime.report_text import bytes_text, time_text

    first, totals = network.programs[0], network.totals
    rows, cols = first.array
    yield "machine", f"{first.config}, {rows}×{cols} at {first.clock_hz / 1e6:.0f} MHz"
    share = totals.ub_peak / totals.ub_size
    peak, size = bytes_text(totals.ub_peak), bytes_text(totals.ub_size)
    yield "unified buffer", f"{peak} at most, {share:.1%} of {size}"
    weights, program = bytes_text(totals.weights), bytes_text(totals.instructions)
    yield "DRAM", f"{bytes_text(totals.dram)}: weights {weights}, instructions {program}"
    read, written = bytes_text(totals.read_bytes), bytes_text(totals.written_bytes)
    yield "DRAM traffic", f"{read} read, {written} written"
    yield "MACs", f"{totals.macs:,}, batch {network.batch}"
    predicted = " (predicted)" if first.predicted else ""
    yield "cycles", f"{totals.cycles:,}{predicted}"
    yield "utilisation", f"{totals.utilisation:.1%} of the array's peak"
    yield "limited by", ", ".join(f"{text} {share:.0%}" for text, share in totals.limits)
    for part in network.hosts:
        text = f"{time_text(part.milliseconds)}, {', '.join(part.nodes[:3])}"
        more = len(part.nodes) - 3
        yield "host", escape(text) + (f" and {more} more" if more > 0 else "")
    yield "time", f"{time_text(network.milliseconds)} for a batch of {network.batch}"
    yield "inferences per second", f"{network.per_second:,.0f}"
    if network.host_milliseconds is not None:
        took = time_text(network.host_milliseconds)
        yield "without the HPU", f"{took}: all of it by onnxruntime on this computer"
