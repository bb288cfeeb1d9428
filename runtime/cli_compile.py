"""``hpu check`` and ``hpu compile``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpu.runtime.cli_common import (
    FILE,
    batch_option,
    calibrate_option,
    config_option,
    console,
)

if TYPE_CHECKING:
    from hpu.runtime.program import Program

__all__ = ["check", "compile_command"]


@click.command()
@click.argument("model", type=FILE)
@config_option("hai-v1")
@batch_option()
def check(model: Path, config: str, batch: int | None) -> None:
    """Show what of MODEL (ONNX) runs on the HPU, and why not.

    Exit status 0 when all of it does, 2 otherwise.

    \b
    Example:
      hpu check model.onnx
    """
    from hpu.runtime.cli_tables import placement_table
    from hpu.runtime.errors import HpuError
    from hpu.runtime.placement import placements
    from hpu.runtime.source import configuration

    placed = placements(model, configuration(config), batch)
    console().print(placement_table(placed))
    refused = [entry for entry in placed if entry.reason]
    if refused:
        raise HpuError(f"{model}: {len(refused)} of {len(placed)} nodes do not run on the HPU.")
    console().print(f"[bold]{model}[/]: all {len(placed)} nodes run on {config}")


@click.command("compile")
@click.argument("model", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Program file to write.")
@config_option("hai-v1")
@batch_option()
@calibrate_option()
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
    calibration: Path | None,
    report: Path | None,
    export_qoperator: Path | None,
) -> None:
    """Compile MODEL (ONNX) into a program file.

    \b
    Examples:
      hpu compile model.onnx -o model.hpu
      hpu compile float.onnx -o model.hpu --calibrate samples.npz --batch 8
    """
    from hpu.compiler.backend import compile_graph
    from hpu.compiler.qoperator import export
    from hpu.runtime.files import write_atomically
    from hpu.runtime.profile import describe_program
    from hpu.runtime.source import configuration, import_graph, read_quantised

    machine = configuration(config)
    graph = import_graph(read_quantised(model, calibration), batch)
    program = compile_graph(graph, machine)
    if export_qoperator:
        write_atomically(export_qoperator, export(graph).SerializeToString())
    if report:
        write_atomically(report, describe_program(program, machine))
    program.save(output)
    _summary(program, output)


def _summary(program: "Program", output: Path) -> None:
    from hpu.runtime.cli_tables import program_table

    console().print(program_table(program))
    console().print(
        f"[bold]{output}[/]: {program.instruction_count:,} instructions, "
        f"{sum(len(segment.data) for segment in program.image):,} bytes of weights and tables, "
        f"{program.macs:,} MACs, for {program.config_name}"
    )
