"""``hpu fpga build``: a board's bitstream, with its report."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpu.runtime.cli_common import console
from hpu.runtime.cli_fpga import board_option, fpga

if TYPE_CHECKING:
    from hpu.hw.boards.board import Board

__all__ = ["build", "fpga"]


@fpga.command()
@board_option()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build") / "fpga",
    show_default=True,
    help="Where builds are kept.",
)
def build(board: "Board", folder: Path) -> None:
    """Make a board's bitstream, or find the one made before from the same sources and tools.

    Writes the bitstream, the report on cells and timing, the exact configuration and all logs to
    a folder of its own. Exit status 1 when a path is slower than the clock.

    \b
    Example:
      hpu fpga build --board ulx3s-85f
    """
    from hpu.hw.fpga_build import build as make
    from hpu.runtime.progress import Progress

    started = time.monotonic()
    with Progress() as progress:
        made = make(board, folder=folder, progress=progress)
    for line in made.report.lines():
        console().print(line, highlight=False, soft_wrap=True)
    how = "found" if made.cached else f"built in {time.monotonic() - started:.0f} s"
    console().print(f"{board.name} ({made.report.config}): {made.folder}, {how}", soft_wrap=True)
    raise SystemExit(0 if made.report.closes else 1)
