"""Putting a bitstream into a board, with openFPGALoader."""

import shutil
import subprocess
import time
from pathlib import Path

from hpu.hw.boards.board import Board
from hpu.runtime.bitstream import check_bitstream
from hpu.runtime.errors import DeviceError, HpuError

__all__ = ["flash"]

_PROGRAM = "openFPGALoader"
#: Seconds after which the tool is taken to hang: SPI flash is erased and written at some 100 kB/s.
_TIMEOUT = 300


def flash(board: Board, bitstream: Path, *, spi: bool = False, verbose: bool = False) -> float:
    """Put ``bitstream`` into the FPGA's RAM, or into the SPI flash; return the seconds it took.

    Raises
    ------
    HpuError
        When the bitstream is none of this board, or openFPGALoader is missing.
    DeviceError
        When there is no board on the cable, or it does not take the bitstream.
    """
    check_bitstream(board, bitstream)
    if board.loader is None:
        raise HpuError(f"{board.name} cannot be flashed by {_PROGRAM}: use the maker's own tool.")
    if shutil.which(_PROGRAM) is None:
        raise HpuError(f"{_PROGRAM} must be installed: run apt-get install openfpgaloader")
    where = "--write-flash" if spi else "--write-sram"
    started = time.monotonic()
    _run([_PROGRAM, "--board", board.loader, where, str(bitstream)], board, verbose)
    return time.monotonic() - started


def _run(command: list[str], board: Board, verbose: bool) -> None:
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(
            f"{_PROGRAM} did not end within {_TIMEOUT} s: unplug {board.name} and plug it in again."
        ) from None
    if verbose:
        print(done.stdout, end="")
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        said = lines[-1].strip() if lines else f"exit status {done.returncode}"
        raise DeviceError(
            f"{board.name} was not flashed ({_PROGRAM}: {said}): check that its USB cable is "
            "plugged in and that this user may use it."
        )
