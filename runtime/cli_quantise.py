"""``hpu quantise``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpu.runtime.cli_common import FILE, calibrate_option, console, dim_option

if TYPE_CHECKING:
    from hpu.compiler.calibration import CalibrationSet

__all__ = ["quantise"]


@click.command()
@click.argument("model", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Quantised model to write.")
@dim_option()
@calibrate_option()
def quantise(
    model: Path, output: Path, dims: dict[str, int], calibration: "CalibrationSet | None"
) -> None:
    """Quantise MODEL (float ONNX) and write it in QDQ form: int8, weights per channel.

    The other verbs quantise a float model too when they are given --calibrate; this keeps the
    result.

    \b
    Examples:
      hpu quantise float.onnx -o int8.onnx --calibrate samples.npz
      hpu quantise float.onnx -o int8.onnx --calibrate images --image-mean 0.5 --image-std 0.5
    """
    from hpu.compiler.importer.load import bind_dims, load_model, read_model
    from hpu.compiler.quantise import is_float
    from hpu.compiler.quantise import quantise as run
    from hpu.runtime.errors import InputError
    from hpu.runtime.files import write_atomically

    proto = bind_dims(read_model(model), dims)
    if not is_float(proto):
        raise InputError(f"{model} is quantised already.")
    load_model(proto)  # what is wrong with the model itself is said before anything else
    made = run(proto, calibration)
    write_atomically(output, made.SerializeToString())
    method = calibration.method if calibration else ""
    console().print(f"[bold]{output}[/]: quantised, ranges by {method}")
