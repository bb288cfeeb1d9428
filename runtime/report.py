"""The HTML report of a run: one page with everything inside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpu.hw import csr
from hpu.hw.config import Config
from hpu.runtime.limits import LIMITS
from hpu.runtime.profile import NetworkProfile, NodeProfile, Profile
from hpu.runtime.program import Program
from hpu.runtime.report_data import program_data, script_json
from hpu.runtime.report_text import bytes_text, count_text, percent_text, short_text, time_text
from hpu.runtime.timeline import Timeline

__all__ = ["html_report"]

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
_LIMITS = {
    "matrix": ("#2e9e5b", "rows streaming through the array, however full they are"),
    "fill": ("#a8b53a", "weight tiles shifting into the array"),
    "vector": ("#b0457b", "the vector unit"),
    "weights": ("#e0a030", "DRAM, most of it weights"),
    "input": ("#d9643a", "DRAM, most of it activations read"),
    "output": ("#5b7fc7", "DRAM, most of it results written"),
    "fetch": ("#45a3b5", "DRAM, most of it instructions"),
    "latency": ("#8d949e", "nothing is busy for half of the time: units wait for one another"),
    "hidden": ("#c4c9d0", "in the shadow of other layers"),
}


def html_report(network: NetworkProfile, runs: Sequence[tuple[Program, Config, Timeline]]) -> str:
    """A self-contained HTML page.

    Parameters
    ----------
    runs:
        Every program of the network with its spans, in the order of ``network.programs``.
    """
    import jinja2

    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(
        bytes=bytes_text, count=count_text, percent=percent_text, time=time_text, short=short_text
    )
    programs = network.programs
    data = {
        "limits": {name: [LIMITS[name], colour] for name, (colour, _doc) in _LIMITS.items()},
        "programs": [
            program_data(profile, *run) for profile, run in zip(programs, runs, strict=True)
        ],
    }
    return environment.get_template("report.html.j2").render(
        network=network,
        programs=programs,
        causes=[_causes(profile) for profile in programs],
        stacks=[[_stack(node) for node in profile.nodes] for profile in programs],
        limits=[_limits(profile) for profile in programs],
        limit_of={name: (LIMITS[name], *_LIMITS[name]) for name in LIMITS},
        longest=max((n.cycles or 0 for p in programs for n in p.nodes), default=0) or 1,
        totals=network.totals,
        style=(folder / "report.css").read_text(),
        script=(folder / "report.js").read_text(),
        data=script_json(data),
    )


def _causes(profile: Profile) -> list[dict[str, Any]]:
    """Words, colour, cycles and share of each cause of the matrix unit's cycles."""
    docs = {cause.name: cause.doc for cause in csr.MATRIX_CAUSES}
    return [
        {
            "text": _CAUSES[name][0],
            "colour": _CAUSES[name][1],
            "cycles": cycles,
            "share": cycles / (profile.cycles or 1),
            "doc": docs[name],
        }
        for name, cycles in (profile.attribution or {}).items()
    ]


def _stack(node: NodeProfile) -> list[dict[str, Any]]:
    """The causes of a node's cycles of the matrix unit."""
    total = sum((node.causes or {}).values()) or 1
    return [
        {"text": _CAUSES[name][0], "colour": _CAUSES[name][1], "cycles": n, "share": n / total}
        for name, n in (node.causes or {}).items()
    ]


def _limits(profile: Profile) -> list[dict[str, Any]]:
    """Words, colour and share of what limits the layers, in the order of ``LIMITS``."""
    found = profile.limits or {}
    total = sum(found.values()) or 1
    return [
        {
            "text": LIMITS[name],
            "colour": _LIMITS[name][0],
            "doc": _LIMITS[name][1],
            "cycles": found[name],
            "share": found[name] / total,
        }
        for name in LIMITS
        if name in found
    ]
