"""Tables that the command line prints."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.markup import escape
from rich.table import Table

from hpu.runtime.interface import shape_text
from hpu.runtime.program import Program

if TYPE_CHECKING:
    from hpu.compiler.placement import Placement
    from hpu.runtime.profile import Profile

__all__ = [
    "attribution_table",
    "outputs_table",
    "placement_table",
    "profile_table",
    "program_table",
    "table",
]


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
    """Instructions and MACs of every node."""
    result = table("node", "operator", ">instructions", ">MACs")
    for node in program.nodes:
        result.add_row(node.name, node.op_type, f"{node.count:,}", f"{node.macs:,}")
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
    """MACs, traffic and, where there are any, cycles of every node."""
    timed = profile.cycles is not None
    columns = ["node", "operator", ">MACs", ">read bytes", ">written bytes"]
    result = table(*columns, *([">cycles", ">of peak"] if timed else []))
    for node in profile.nodes:
        cells = [f"{node.macs:,}", f"{node.read_bytes:,}", f"{node.written_bytes:,}"]
        if timed:
            cells += [f"{node.cycles or 0:,}", f"{node.utilisation or 0:.1%}"]
        result.add_row(node.name, node.op_type, *cells)
    return result


def attribution_table(profile: "Profile") -> Table:
    """Cause, cycles and share of every cycle of the matrix unit."""
    result = table("matrix unit", ">cycles", ">share")
    causes = profile.attribution or {}
    for name, cycles in causes.items():
        text = name.removeprefix("MATRIX_").lower()
        result.add_row(text, f"{cycles:,}", f"{cycles / (profile.cycles or 1):.2%}")
    result.add_row("all", f"{sum(causes.values()):,}", f"{profile.attributed:.2%}", style="bold")
    return result
