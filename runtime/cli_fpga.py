"""``hpu fpga``: boards, on the table or simulated."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpu.runtime.cli_common import FILE, console, port_option

if TYPE_CHECKING:
    from hpu.hw.boards.board import Board

__all__ = ["fpga"]


@click.group()
def fpga() -> None:
    """Run the HPU on an FPGA board, or simulate the whole board."""


def _board(_context: click.Context, _option: click.Parameter, name: str | None) -> "Board | None":
    from hpu.hw.boards import by_name

    try:
        return by_name(name) if name is not None else None
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def board_option(*, required: bool = True):
    """``--board``; the verb gets a :class:`~hpu.hw.boards.board.Board`."""
    return click.option(
        "--board",
        required=required,
        metavar="B",
        callback=_board,
        help="Board, such as ulx3s-85f.",
    )


@fpga.command()
@board_option()
@click.option(
    "--baud",
    type=click.IntRange(min=1),
    help="Line rate of the simulated link.  [default: a bit every 4 cycles, which is quicker to "
    "simulate than the board's own rate]",
)
@click.option("--link", type=FILE, metavar="PATH", help="Also make PATH a link to the terminal.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes.  [default: all processors]")
def sim(board: "Board", baud: int | None, link: Path | None, jobs: int | None) -> None:
    """Simulate a whole board, with its serial port on a pseudo-terminal.

    Everything that takes --port can be given that terminal. Ends with Ctrl-C.

    \b
    Example:
      hpu fpga sim --board ulx3s-85f --link /tmp/hpu &
      hpu run model.onnx --input x.npz --device fpga --port /tmp/hpu
    """
    from hpu.runtime.board_server import BoardServer, open_board
    from hpu.runtime.progress import Progress

    started = time.monotonic()
    with Progress() as progress:
        simulation = open_board(board, baud=baud, jobs=jobs, progress=progress)
    server = BoardServer(simulation)
    built = time.monotonic() - started
    console().print(
        f"{board.name} simulated (ready in {built:.1f} s), serial port: {server.port}",
        soft_wrap=True,
    )
    server.serve_until_interrupted(link)
    console().print(f"{simulation.cycle:,} cycles simulated")
    server.close()


@fpga.command()
@board_option()
@click.argument("bitstream", type=FILE)
@click.option("--spi", is_flag=True, help="Into the board's flash memory, to stay.  [default: RAM]")
@click.option("--verbose", is_flag=True, help="Show openFPGALoader's output.")
def flash(board: "Board", bitstream: Path, spi: bool, verbose: bool) -> None:
    """Put BITSTREAM into the board's FPGA, over the board's USB cable.

    \b
    Examples:
      hpu fpga flash --board ulx3s-85f build/fpga/ulx3s-85f/top.bit
      hpu fpga flash --board ulx3s-85f build/fpga/ulx3s-85f/top.bit --spi
    """
    from hpu.runtime.flash import flash as program

    seconds = program(board, bitstream, spi=spi, verbose=verbose)
    where = "flash memory" if spi else "RAM"
    console().print(f"{bitstream} is in the {where} of {board.name} ({seconds:.1f} s)")


@fpga.command()
@port_option()
@board_option(required=False)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the programs.")
@click.option(
    "--programs", type=click.IntRange(min=1), default=6, show_default=True, help="Random programs."
)
@click.option("--record", type=FILE, metavar="FILE.jsonl", help="Write all traffic of the link.")
def selftest(
    port: str | None, board: "Board | None", seed: int, programs: int, record: Path | None
) -> None:
    """Test a board: its link, memory, registers, every instruction, a network.

    Every result is compared with the functional simulator's, byte for byte. Exit status 1 when a
    test fails.

    \b
    Example:
      hpu fpga selftest --port /dev/ttyUSB0
    """
    from hpu.runtime.progress import Progress
    from hpu.runtime.selftest import Selftest, open_board, results_table

    link = open_board(port, board=board, record=record)
    try:
        with Progress() as progress:
            results = Selftest(link, seed=seed, programs=programs).run(progress)
    finally:
        link.close()
    console().print(results_table(results))
    failed = sum(not result.passed for result in results)
    console().print(f"{link.identity.board} on {link.name}: {failed or 'no'} tests failed")
    raise SystemExit(1 if failed else 0)
