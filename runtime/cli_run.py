"""``hpu run``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpu.runtime.cli_common import FILE, console, print_fallbacks, session_options

if TYPE_CHECKING:
    import numpy as np

    from hpu.runtime.session import InferenceSession

__all__ = ["run"]


@click.command()
@click.argument("model", type=FILE)
@click.option(
    "--input", "source", type=FILE, required=True, metavar="X.npz", help="Inputs by name."
)
@click.option("--output", type=FILE, metavar="Y.npz", help="Write the outputs, by name.")
@session_options
def run(model: Path, source: Path, output: Path | None, **options: Any) -> None:
    """Run MODEL (ONNX, or a program file) on the inputs in an .npz file.

    The file holds one array for each input, by name; an .npy file does for a model with one input.
    Inputs that hold several times the batch of the model are run batch after batch. What the HPU
    does not run is run by onnxruntime, and a table says what and why.

    \b
    Examples:
      hpu run model.hpu --input x.npz --output y.npz
      hpu run model.onnx --input x.npz --device rtl
    """
    from hpu.runtime.arrays import read_feeds, write_arrays
    from hpu.runtime.progress import Progress
    from hpu.runtime.session import InferenceSession

    started = time.perf_counter()
    with Progress() as progress:
        session = InferenceSession(model, progress=progress, **options)
        feeds = read_feeds(source, [arg.name for arg in session.get_inputs()])
        results = _results(session, feeds)
    seconds = time.perf_counter() - started
    if output:
        write_arrays(output, results)
    _print(session, results, seconds, output)


def _results(session: "InferenceSession", feeds: dict[str, Any]) -> dict[str, "np.ndarray"]:
    values = session.run_batches(None, feeds)
    return dict(zip((arg.name for arg in session.get_outputs()), values, strict=True))


def _print(
    session: "InferenceSession",
    results: dict[str, "np.ndarray"],
    seconds: float,
    output: Path | None,
) -> None:
    from hpu.runtime.cli_tables import outputs_table

    print_fallbacks(session.placements, session.device)
    console().print(outputs_table(results))
    where = f", written to [bold]{output}[/]" if output else ""
    console().print(
        f"{session.device} device, {session.config.name}: {seconds:.2f} s including compilation"
        f"{where}"
    )
