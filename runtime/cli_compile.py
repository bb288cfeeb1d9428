"""``hpu check`` and ``hpu compile``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpu.runtime.cli_common import (
    FILE,
    batch_option,
    calibrate_option,
    config_option,
    console,
    dim_option,
    fallback_option,
    force_option,
    print_fallbacks,
)

if TYPE_CHECKING:
    import onnx

    from hpu.compiler.calibration import CalibrationSet
    from hpu.hw.config import Config
    from hpu.runtime.package import Package
    from hpu.runtime.program import Program

__all__ = ["check", "compile_command"]


@click.command()
@click.argument("model", type=FILE)
@config_option("hai-v1")
@batch_option()
@dim_option()
@fallback_option()
@force_option()
def check(
    model: Path,
    config: str,
    batch: int | None,
    dims: dict[str, int],
    no_fallback: bool,
    force_hpu: bool,
) -> None:
    """Show which nodes of MODEL (ONNX) run on the HPU, which on the host, and why.

    A float model is looked at as it is once it is quantised. Exit status 2 with --no-fallback when
    the host runs a node.

    \b
    Examples:
      hpu check model.onnx
      hpu check model.onnx --no-fallback
    """
    from hpu.compiler.placement import refuse_fallback
    from hpu.runtime.cli_tables import placement_table
    from hpu.runtime.placement import look
    from hpu.runtime.source import configuration

    placed, costs = look(model, configuration(config), batch, dims, force_hpu)
    host = sum(entry.on_host for entry in placed)
    console().print(placement_table(placed))
    if no_fallback:
        refuse_fallback(placed)
    text = f"all {len(placed)} nodes run on {config}"
    if host:
        text = f"{len(placed) - host} of {len(placed)} nodes run on {config}, {host} on the host"
    console().print(f"[bold]{model}[/]: {text}")
    for number, cost in enumerate(costs, start=1):
        region = f"region {number} of the HPU" if len(costs) > 1 else "the HPU's region"
        console().print(f"{region}: {cost} on the configuration's host")


@click.command("compile")
@click.argument("model", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Program file to write.")
@config_option("hai-v1")
@batch_option()
@dim_option()
@calibrate_option()
@fallback_option()
@force_option()
@click.option("--report", type=FILE, metavar="R.json", help="Write what was compiled, as JSON.")
@click.option(
    "--export-qoperator",
    type=FILE,
    metavar="Q.onnx",
    help="Write the same network with QLinear operators, for onnxruntime to run.",
)
def compile_command(
    model: Path,
    output: Path,
    config: str,
    batch: int | None,
    dims: dict[str, int],
    calibration: "CalibrationSet | None",
    no_fallback: bool,
    force_hpu: bool,
    report: Path | None,
    export_qoperator: Path | None,
) -> None:
    """Compile MODEL (ONNX) into a program file.

    What the HPU does not run goes into the file as models for onnxruntime.

    \b
    Examples:
      hpu compile model.onnx -o model.hpu
      hpu compile float.onnx -o model.hpu --calibrate samples.npz --batch 8
      hpu compile model.onnx -o model.hpu --dim height=224 --dim width=224
    """
    from hpu.runtime.source import compile_package, configuration

    machine = configuration(config)
    network: Any = model
    if export_qoperator:
        network = _exported(model, dims, calibration, batch, export_qoperator)
        dims, calibration = {}, None
    package = compile_package(
        network,
        config=machine,
        batch=batch,
        dims=dims,
        calibration=calibration,
        no_fallback=no_fallback,
        force_hpu=force_hpu,
    )
    made = package.alone or package
    if report:
        _report(made, machine, report)
    made.save(output)
    print_fallbacks(package.placements)
    _summary(made, machine, output)


def _exported(
    model: Path,
    dims: dict[str, int],
    calibration: "CalibrationSet | None",
    batch: int | None,
    target: Path,
) -> "onnx.ModelProto":
    """Write the network with QLinear operators; gives the quantised model."""
    from hpu.compiler.importer.load import bind_dims, read_model
    from hpu.compiler.qoperator import export
    from hpu.runtime.files import write_atomically
    from hpu.runtime.source import import_graph, read_quantised

    network = read_quantised(bind_dims(read_model(model), dims), calibration)
    write_atomically(target, export(import_graph(network, batch)).SerializeToString())
    return network


def _report(made: "Program | Package", machine: "Config", target: Path) -> None:
    from hpu.runtime.files import write_atomically
    from hpu.runtime.profile import describe_package, describe_program
    from hpu.runtime.program import Program

    if isinstance(made, Program):
        write_atomically(target, describe_program(made, machine))
    else:
        write_atomically(target, describe_package(made, machine))


def _summary(made: "Program | Package", machine: "Config", output: Path) -> None:
    from hpu.runtime.cli_tables import program_table
    from hpu.runtime.profile import memory_of
    from hpu.runtime.program import Program
    from hpu.runtime.report_text import bytes_text

    programs = (made,) if isinstance(made, Program) else made.programs
    for program in programs:
        console().print(program_table(program))
    parts = 0 if isinstance(made, Program) else len(made.parts) - len(programs)
    peak = max(memory_of(program, machine).ub_peak for program in programs)
    console().print(
        f"[bold]{output}[/]: {sum(p.instruction_count for p in programs):,} instructions, "
        f"{sum(len(s.data) for p in programs for s in p.image):,} bytes of weights and tables, "
        f"at most {bytes_text(peak)} of the unified buffer, "
        f"{sum(p.macs for p in programs):,} MACs, for {made.config_name}"
        + (f"; {parts} parts for the host" if parts > 1 else "; 1 part for the host" * parts)
    )
