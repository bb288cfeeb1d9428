"""``hpu profile``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpu.runtime.cli_common import (
    FILE,
    batch_option,
    calibrate_option,
    config_option,
    console,
    device_option,
)

if TYPE_CHECKING:
    import numpy as np

    from hpu.runtime.session import InferenceSession

__all__ = ["profile"]


@click.command()
@click.argument("model", type=FILE)
@click.option(
    "--input", "source", type=FILE, metavar="X.npz", help="Inputs by name.  [default: random]"
)
@device_option()
@config_option(None)
@batch_option()
@calibrate_option()
@click.option("--json", "json_path", type=FILE, metavar="P.json", help="Write all numbers as JSON.")
@click.option("--html", "html_path", type=FILE, metavar="P.html", help="Write the report page.")
@click.option(
    "--trace",
    "trace_path",
    type=FILE,
    metavar="P.perfetto-trace",
    help="Write a trace for ui.perfetto.dev (device rtl only).",
)
def profile(
    model: Path,
    source: Path | None,
    device: str,
    config: str | None,
    batch: int | None,
    calibration: Path | None,
    json_path: Path | None,
    html_path: Path | None,
    trace_path: Path | None,
) -> None:
    """Run MODEL once and show where the time goes, node by node.

    Cycles come from the simulated machine (--device rtl); the functional device has no clock and
    tells MACs, instructions and memory traffic.

    \b
    Examples:
      hpu profile model.onnx --device rtl --html report.html
      hpu profile model.hpu --device rtl --trace run.perfetto-trace --json run.json
    """
    from hpu.runtime.errors import InputError
    from hpu.runtime.measure import measure
    from hpu.runtime.progress import Progress
    from hpu.runtime.session import InferenceSession

    if trace_path and device != "rtl":
        raise InputError("a trace needs cycles, which only --device rtl has.")
    with Progress() as progress:
        session = InferenceSession(
            model,
            device=device,
            config=config,
            batch=batch,
            calibration=calibration,
            progress=progress,
        )
        measured = measure(session, _feeds(session, source, batch))
    measured.write(model.name, json_path=json_path, html_path=html_path, trace_path=trace_path)
    _print(measured.profile, [json_path, html_path, trace_path])


def _feeds(
    session: "InferenceSession", source: Path | None, batch: int | None
) -> dict[str, "np.ndarray"]:
    from hpu.runtime.arrays import read_feeds
    from hpu.runtime.measure import random_feeds

    inputs = session.get_inputs()
    if source is None:
        return random_feeds(inputs, batch or 1)
    return read_feeds(source, [arg.name for arg in inputs])


def _print(profile: Any, written: list[Path | None]) -> None:
    from hpu.runtime.cli_tables import attribution_table, profile_table

    out = console()
    out.print(profile_table(profile))
    if profile.cycles is None:
        out.print("The functional device has no clock: use --device rtl for cycles.")
    else:
        out.print()
        out.print(attribution_table(profile))
        out.print(
            f"\n{profile.cycles:,} cycles, {profile.milliseconds:.4g} ms at "
            f"{profile.clock_hz / 1e6:.0f} MHz, {profile.utilisation:.1%} of the array's peak"
        )
    for path in filter(None, written):
        out.print(f"wrote [bold]{path}[/]")
