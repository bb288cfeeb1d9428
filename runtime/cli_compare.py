"""``hpu compare``."""

import dataclasses
import json
import math
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
)

if TYPE_CHECKING:
    from rich.table import Table

    from hpu.runtime.compare_layers import Comparison, Layer, Noise

__all__ = ["compare"]


@click.command()
@click.argument("model", type=FILE)
@click.option(
    "--input", "source", type=FILE, required=True, metavar="X.npz", help="Inputs by name."
)
@device_option()
@config_option("hai-v1")
@batch_option()
@dim_option()
@calibrate_option()
@click.option(
    "--float",
    "float_model",
    type=FILE,
    metavar="F.onnx",
    help="The float model that MODEL was quantised from.",
)
@click.option(
    "--threshold",
    type=float,
    default=10.0,
    show_default=True,
    metavar="DB",
    help="A layer whose SQNR is below this counts as wrong.",
)
@click.option("--json", "target", type=FILE, metavar="C.json", help="Write every number.")
def compare(model: Path, source: Path, target: Path | None, **options: Any) -> None:
    """Compare MODEL layer by layer: float, quantised in onnxruntime, functional, RTL.

    Everything that the HPU can run is run on it, with every intermediate result kept. SQNR is the
    power of the float result over that of the difference from it, in dB. Float is the model itself
    when it is float (with --calibrate), the one given with --float, or else the quantised model
    without rounding: weights dequantised, results clipped to their ranges but not rounded.

    A layer goes wrong when RTL and functional differ in a byte; when the layer alone, fed the same
    bytes, differs from onnxruntime's operator by more than is promised (nothing; 1 LSB for
    additions and averages); or when its SQNR is below the threshold. The first one is named, and
    the exit status is 1 then.

    \b
    Examples:
      hpu compare model.onnx --input x.npz
      hpu compare float.onnx --input x.npz --calibrate samples.npz
      hpu compare int8.onnx --float float.onnx --input x.npz --device rtl --config lab-16
    """
    from hpu.compiler.importer.load import model_inputs, read_model
    from hpu.runtime.arrays import read_feeds
    from hpu.runtime.compare import compare as run
    from hpu.runtime.errors import InputError
    from hpu.runtime.files import write_atomically
    from hpu.runtime.program_file import is_program
    from hpu.runtime.progress import Progress

    if is_program(model):
        raise InputError(f"{model} is a program; give the ONNX model that it was compiled from.")
    network = read_model(model)
    feeds = read_feeds(source, [value.name for value in model_inputs(network)])
    with Progress() as progress:
        found = run(network, feeds, progress=progress, **options)
    if target:
        write_atomically(target, json.dumps(_described(found), indent=1).encode())
    _print(found)
    if found.first_wrong:
        raise SystemExit(1)


def _print(found: "Comparison") -> None:
    console().print(_table(found))
    console().print(f"\n{found.samples} samples on {found.config}; float: {found.reference}")
    if found.first_wrong:
        layer, reason = found.first_wrong
        console().print(f"[bold red]first layer that goes wrong:[/] {_named(layer)}: {reason}")
    else:
        console().print(f"no layer goes wrong: all agree, none below {found.threshold:g} dB")


def _table(found: "Comparison") -> "Table":
    from rich.markup import escape

    from hpu.runtime.cli_tables import table

    rtl = found.device == "rtl"
    columns = ["layer", "operation", ">onnxruntime dB", ">functional dB"]
    columns += [">RTL dB"] if rtl else []
    columns += [">LSB", ">LSB alone"] + ([">RTL differs"] if rtl else [])
    result = table(*columns)
    first = found.first_wrong[0] if found.first_wrong else None
    for layer in found.layers:
        cells = [escape(_named(layer)), layer.operation]
        cells += [_decibel(layer.onnxruntime), _decibel(layer.functional)]
        cells += [_decibel(layer.rtl)] if rtl else []
        cells += [_count(layer.lsb), _count(layer.lsb_alone)]
        cells += [_count(layer.rtl_different)] if rtl else []
        result.add_row(*cells, style="red" if layer is first else None)
    return result


def _named(layer: "Layer") -> str:
    return "+".join(layer.nodes) or layer.name


def _decibel(noise: "Noise") -> str:
    value = noise.sqnr
    if value is None:
        return "–"
    return "exact" if value == math.inf else f"{value:.1f}"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _described(found: "Comparison") -> dict[str, Any]:
    wrong = found.first_wrong
    return {
        "config": found.config,
        "device": found.device,
        "samples": found.samples,
        "threshold_db": found.threshold,
        "float": found.reference,
        "layers": [_layer(layer, found.threshold) for layer in found.layers],
        "first_wrong": wrong and {"name": wrong[0].name, "reason": wrong[1]},
    }


def _layer(layer: "Layer", threshold: float) -> dict[str, Any]:
    described = dataclasses.asdict(layer)
    for key in ("onnxruntime", "functional", "rtl"):
        noise = getattr(layer, key)
        value = noise.sqnr
        finite = value is not None and math.isfinite(value)
        described[key] = (
            {"signal": noise.signal, "noise": noise.noise, "sqnr_db": value if finite else None}
            if noise.seen
            else None
        )
    return described | {"wrong": layer.wrong(threshold)}
