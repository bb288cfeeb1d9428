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
    dim_option,
    fallback_option,
    force_option,
    print_fallbacks,
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
@dim_option()
@calibrate_option()
@fallback_option()
@force_option()
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
    device: str,
    config: str | None,
    batch: int | None,
    dims: dict[str, int],
    calibration: Path | None,
    no_fallback: bool,
    force_hpu: bool,
    json_path: Path | None,
    html_path: Path | None,
    trace_path: Path | None,
) -> None:
    """Run MODEL once and show where the time goes, node by node.

    With --device rtl cycles are measured on the simulated machine; the functional device has no
    clock, and the cycle model predicts them. Of a network of which the host runs parts, every
    program between them is shown; the files of the second one get the number 2, and so on.

    \b
    Examples:
      hpu profile model.onnx --html report.html
      hpu profile model.hpu --device rtl --trace run.perfetto-trace --json run.json
    """
    from hpu.runtime.errors import HpuError
    from hpu.runtime.measure import measure_all
    from hpu.runtime.progress import Progress
    from hpu.runtime.session import InferenceSession

    with Progress() as progress:
        session = InferenceSession(
            model,
            device=device,
            config=config,
            batch=batch,
            dims=dims,
            calibration=calibration,
            no_fallback=no_fallback,
            force_hpu=force_hpu,
            progress=progress,
        )
        programs = measure_all(session, _feeds(session, source, batch))
    print_fallbacks(session.placements)
    for number, measured in enumerate(programs, start=1):
        paths = [_numbered(path, number) for path in (json_path, html_path, trace_path)]
        title = model.name if number == 1 else f"{model.name}, part {number}"
        measured.write(title, json_path=paths[0], html_path=paths[1], trace_path=paths[2])
        _print(measured.profile, paths)
    if not programs:
        raise HpuError(f"{model}: nothing of it runs on the HPU, so there is nothing to profile.")


def _numbered(path: Path | None, number: int) -> Path | None:
    """The file of a program: ``path``, and for further programs with their number."""
    return path if path is None or number == 1 else path.with_stem(f"{path.stem}-{number}")


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
    out.print()
    out.print(attribution_table(profile))
    cycles = f"{profile.cycles:,} cycles" + (" (predicted)" if profile.predicted else "")
    out.print(
        f"\n{cycles}, {profile.milliseconds:.4g} ms at "
        f"{profile.clock_hz / 1e6:.0f} MHz, {profile.utilisation:.1%} of the array's peak"
    )
    for path in filter(None, written):
        out.print(f"wrote [bold]{path}[/]")
