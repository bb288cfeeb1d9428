"""``hpu hw``: what the machine would be as a chip."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpu.runtime.cli_common import FILE, config_option, console

if TYPE_CHECKING:
    from hpu.hw.asic_estimate import Estimate

__all__ = ["hw"]


@click.group()
def hw() -> None:
    """Look at the machine as hardware."""


@hw.command()
@config_option("hai-v1")
@click.option("--json", "target", type=FILE, metavar="FILE", help="Also write everything as JSON.")
def report(config: str, target: Path | None) -> None:
    """Estimate the machine as a chip: gates, levels of logic, shares of area and power.

    Synthesises the machine's blocks to generic gates, which takes about two minutes once, and adds
    assumptions that it lists. TPU v1's published floor plan stands beside.

    \b
    Example:
      hpu hw report --config hai-v1 --json report.json
    """
    from hpu.hw import asic, asic_estimate
    from hpu.runtime.errors import HpuError
    from hpu.runtime.progress import Progress
    from hpu.runtime.source import configuration

    if target is not None and not target.absolute().parent.is_dir():
        raise HpuError(f"the folder of {target} does not exist: make it, or change --json.")
    machine = configuration(config)
    with Progress() as progress:
        made = asic_estimate.estimate(machine, asic.measure(machine, progress=progress))
    if target is not None:
        _write(target, made)
    out = console()
    out.print(f"{config}: {asic_estimate.NOTE}\n", soft_wrap=True)
    for table in (_blocks(made), _parts(made), _assumptions()):
        out.print(table)
    out.print(_remarks(made), soft_wrap=True)


def _write(target: Path, made: "Estimate") -> None:
    from hpu.runtime.errors import HpuError

    try:
        target.write_text(json.dumps(made.as_json(), indent=2) + "\n")
    except OSError as error:
        raise HpuError(f"{target} must be a file that can be written: {error.strerror}.") from None


def _table(title: str, *columns: str) -> Any:
    from rich.table import Table

    made = Table(title=title, title_justify="left")
    for place, name in enumerate(columns):
        made.add_column(name, justify="right" if place and name not in _TEXTS else "left")
    return made


_TEXTS = ("what", "source")


def _blocks(made: "Estimate") -> Any:
    from hpu.hw.asic_estimate import ASSUMPTIONS

    table = _table(
        "Blocks (synthesised)", "block", "gates", "gate equivalents", "flip-flops", "levels", "ns"
    )
    delay = ASSUMPTIONS["level_delay"].value / 1000
    names = ("pe", "tile", "lane", "lane_group", "buffer_bank", "acc_bank", "weight_bank", "skew")
    for name in (*names, "control"):
        block = getattr(made.machine, name)
        sizes = (f"{x:,.0f}" for x in (block.cells, block.gates, block.flip_flops, block.depth))
        table.add_row(
            _SHOWN.get(name, name.replace("_", " ")), *sizes, f"{block.depth * delay:.2f}"
        )
    return table


_SHOWN = {"pe": "PE", "lane": "vector lane", "acc_bank": "accumulator bank"}


def _parts(made: "Estimate") -> Any:
    table = _table(
        f"Machine (estimated): {made.area:.3g} mm², {made.power:.3g} W at full load",
        *("part", "gate equivalents", "flip-flops", "memory KiB", "mm²", "area", "W", "power"),
        *("TPU v1, of die", "of these parts"),
    )
    for part in made.parts:
        published = [f"{x:.0f} %" if x else "–" for x in (part.published, part.comparable)]
        table.add_row(
            part.name,
            *(f"{x:,.0f}" for x in (part.gates, part.flip_flops, part.memory_bits / 8192)),
            f"{part.area:.3g}",
            f"{part.area_share:.1%}",
            f"{part.power:.3g}",
            f"{part.power_share:.1%}",
            *published,
        )
    return table


def _assumptions() -> Any:
    from hpu.hw.asic_estimate import ASSUMPTIONS

    table = _table("Assumptions", "assumption", "value", "what", "source")
    for entry in ASSUMPTIONS.values():
        table.add_row(
            entry.name, f"{entry.value:,g} {entry.unit}".strip(), entry.what, entry.source
        )
    return table


def _remarks(made: "Estimate") -> str:
    from hpu.hw.asic_estimate import PUBLISHED

    percent = ", ".join(f"{name} {share} %" for name, share in PUBLISHED.items())
    lines = [f"TPU v1's floor plan (Jouppi et al., ISCA 2017, figure 2), of the die: {percent}."]
    if made.machine.control_config != made.config:
        lines.append(
            f"Control is measured on {made.machine.control_config} and assumed to grow with the "
            "lane groups."
        )
    if made.slow:
        clock = f"{made.clock_hz / 1e6:,.0f} MHz"
        lines.append(f"More levels than {clock} leave time for: {', '.join(made.slow)}.")
    return "\n".join(lines)
