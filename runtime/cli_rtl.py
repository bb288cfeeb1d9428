"""``hpu rtl``: building the Verilated machine, and looking into it."""

import time
from pathlib import Path

import click

from hpu.runtime.cli_common import FILE, config_option, console

__all__ = ["rtl"]


@click.group()
def rtl() -> None:
    """Build the simulated machine, and look into it."""


@rtl.command()
@config_option("hai-v1")
@click.option("--trace", is_flag=True, help="Build for FST waveforms (hpu rtl wave).")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes.  [default: all processors]")
def build(config: str, trace: bool, jobs: int | None) -> None:
    """Build the machine of a configuration with Verilator, or find it in the cache.

    \b
    Examples:
      hpu rtl build --config hai-v1
      hpu rtl build --config lab-16 --trace
    """
    from hpu.runtime.progress import Progress
    from hpu.runtime.source import configuration
    from hpu.sim import rtl as simulation

    started = time.monotonic()
    with Progress() as progress:
        made = simulation.build(configuration(config), trace=trace, jobs=jobs, progress=progress)
    console().print(
        f"{config}: {made.library}\n"
        f"{time.monotonic() - started:.1f} s (Verilog {made.verilog_seconds:.1f} s, "
        f"Verilator {made.verilator_seconds:.1f} s)",
        soft_wrap=True,
    )


@rtl.command()
@click.argument("model", type=FILE)
@click.option(
    "--input", "source", type=FILE, required=True, metavar="X.npz", help="Inputs by name."
)
@click.option("--from", "first", type=click.IntRange(min=0), default=0, help="First cycle.")
@click.option("--cycles", type=click.IntRange(min=1), default=1000, help="Cycles to record.")
@click.option(
    "-o", "--output", type=FILE, required=True, metavar="OUT.fst", help="Waveform file to write."
)
@config_option(None)
def wave(
    model: Path, source: Path, first: int, cycles: int, output: Path, config: str | None
) -> None:
    """Run MODEL and write the waveforms of some of its cycles, counted from its start.

    Machines of more than 32×32 elements show the signals outside their replicated blocks; smaller
    ones show all.

    \b
    Example:
      hpu rtl wave m.hpu --input x.npz --from 1000 --cycles 500 -o out.fst
    """
    from hpu.runtime.progress import Progress
    from hpu.runtime.wave import record

    with Progress() as progress:
        written = record(
            model,
            source,
            first=first,
            cycles=cycles,
            output=output,
            config=config,
            progress=progress,
        )
    console().print(f"{output}: {written} cycles from cycle {first}", soft_wrap=True)
