"""``hpu profile``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpu.runtime.cli_common import FILE, console, print_fallbacks, session_options

if TYPE_CHECKING:
    import numpy as np

    from hpu.runtime.profile import NetworkProfile
    from hpu.runtime.session import InferenceSession

__all__ = ["profile"]


@click.command()
@click.argument("model", type=FILE)
@click.option(
    "--input", "source", type=FILE, metavar="X.npz", help="Inputs by name.  [default: random]"
)
@session_options
@click.option("--json", "json_path", type=FILE, metavar="P.json", help="Write all numbers as JSON.")
@click.option("--html", "html_path", type=FILE, metavar="P.html", help="Write the report page.")
@click.option(
    "--trace",
    "trace_path",
    type=FILE,
    metavar="P.perfetto-trace",
    help="Write a trace for ui.perfetto.dev.",
)
def profile(
    model: Path,
    source: Path | None,
    json_path: Path | None,
    html_path: Path | None,
    trace_path: Path | None,
    **options: Any,
) -> None:
    """Run MODEL once and show where the time goes, node by node.

    With --device rtl cycles are measured on the simulated machine; the functional device has no
    clock, and the cycle model predicts them. The host's parts are timed on this computer.

    \b
    Examples:
      hpu profile model.onnx --html report.html
      hpu profile model.hpu --device rtl --trace run.perfetto-trace --json run.json
    """
    from hpu.runtime.measure import measure_network
    from hpu.runtime.progress import Progress
    from hpu.runtime.session import InferenceSession

    with Progress() as progress:
        session = InferenceSession(model, progress=progress, **options)
        feeds = _feeds(session, source, options["batch"])
        measured = measure_network(session, feeds)
    print_fallbacks(session.placements, session.device)
    measured.write(model.name, json_path=json_path, html_path=html_path, trace_path=trace_path)
    _print(measured.profile(model.name), [json_path, html_path, trace_path])


def _feeds(
    session: "InferenceSession", source: Path | None, batch: int | None
) -> dict[str, "np.ndarray"]:
    from hpu.runtime.arrays import read_feeds
    from hpu.runtime.measure import random_feeds

    inputs = session.get_inputs()
    if source is None:
        return random_feeds(inputs, batch or 1)
    return read_feeds(source, [arg.name for arg in inputs])


def _print(network: "NetworkProfile", written: list[Path | None]) -> None:
    from hpu.runtime.cli_tables import (
        attribution_table,
        mapping_table,
        profile_table,
        summary_table,
    )

    out = console()
    for program in network.programs:
        for rows in (profile_table(program), mapping_table(program), attribution_table(program)):
            if rows is not None:
                out.print(rows)
                out.print()
    out.print(summary_table(network))
    for path in filter(None, written):
        out.print(f"wrote [bold]{path}[/]")
