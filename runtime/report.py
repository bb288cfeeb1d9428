"""The HTML report of a run: one page with everything inside it."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from hpu.hw import csr
from hpu.hw.isa import Unit
from hpu.runtime.profile import Profile
from hpu.runtime.program import NodeRange
from hpu.runtime.timeline import Timeline, node_of

__all__ = ["html_report", "time_text"]

#: Spans that the timeline draws at most; beyond, neighbours of one node are joined.
MAX_SPANS = 20_000

_CAUSES = {
    "MATRIX_USEFUL": ("useful rows", "#2e9e5b"),
    "MATRIX_PADDING": ("padding rows", "#9bd3ae"),
    "MATRIX_WEIGHTS": ("waiting for weights", "#e0a030"),
    "MATRIX_INPUT": ("waiting for input", "#d9643a"),
    "MATRIX_ACCUMULATOR": ("waiting for vector unit", "#b0457b"),
    "MATRIX_TOKEN": ("waiting for another unit", "#8059b8"),
    "MATRIX_SETUP": ("setting up", "#5b7fc7"),
    "MATRIX_FETCH": ("waiting for instructions", "#45a3b5"),
    "MATRIX_DRAINED": ("drained, others finish", "#8d949e"),
}


def html_report(
    profile: Profile,
    title: str,
    *,
    spans: Timeline | None = None,
    nodes: Sequence[NodeRange] = (),
) -> str:
    """A self-contained HTML page.

    Parameters
    ----------
    title:
        What ran, in a few words.
    spans, nodes:
        The timeline and the ranges that name its instructions; without them, no timeline.
    """
    import jinja2

    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(
        bytes=_bytes, count=_count, percent=_percent, time=time_text, short=_short
    )
    return environment.get_template("report.html.j2").render(
        title=title,
        profile=profile,
        causes=_causes(profile),
        longest=max((node.cycles or 0 for node in profile.nodes), default=0) or 1,
        timeline=_timeline_json(profile, spans, nodes) if spans is not None else None,
    )


def _causes(profile: Profile) -> list[dict]:
    """Words, colour, cycles and share of each cause of the matrix unit's cycles."""
    if not profile.attribution or not profile.cycles:
        return []
    docs = {cause.name: cause.doc for cause in csr.MATRIX_CAUSES}
    return [
        {
            "text": _CAUSES[name][0],
            "colour": _CAUSES[name][1],
            "cycles": cycles,
            "share": cycles / profile.cycles,
            "doc": docs[name],
        }
        for name, cycles in profile.attribution.items()
    ]


def _timeline_json(profile: Profile, spans: Timeline, nodes: Sequence[NodeRange]) -> str:
    """Numbers for the page's script: rows of unit, node, start, end."""
    owner = node_of(spans.pc, nodes)
    rows = np.stack([spans.unit, owner, spans.start, spans.end], axis=1)
    data = {
        "units": [unit.name.lower() for unit in Unit],
        "nodes": [node.name for node in nodes],
        "cycles": profile.cycles,
        "clock": profile.clock_hz,
        "spans": _joined(rows).ravel().tolist(),
    }
    text = msgspec.json.encode(data).decode()
    return text.replace("<", "\\u003c")  # a node's name must not end the script


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


def _bytes(value: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.3g} {unit}" if unit != "B" else f"{value} B"
        value /= 1024  # type: ignore[assignment]
    return f"{value:.3g} GiB"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _short(value: float) -> str:
    """A count in three or four digits."""
    for limit, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= 10 * limit or value >= limit > 1e3:
            return f"{value / limit:.4g}{suffix}"
    return f"{value:,.0f}"


def time_text(milliseconds: float) -> str:
    """A time in the unit that suits it."""
    if milliseconds < 1:
        return f"{1e3 * milliseconds:.4g} µs"
    return f"{milliseconds:.4g} ms"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%" if value >= 0.001 or value == 0 else f"{100 * value:.2g}%"
