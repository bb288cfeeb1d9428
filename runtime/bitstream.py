"""Which FPGA a bitstream is for, from the bitstream itself."""

import re
from pathlib import Path

from hpu.hw.boards.board import Board
from hpu.runtime.errors import HpuError

__all__ = ["check_bitstream", "part_of"]

#: Identification codes of the parts on the boards, which a bitstream makes the FPGA check.
_PARTS = {
    0x41111043: "LFE5U-25F",
    0x41112043: "LFE5U-45F",
    0x41113043: "LFE5U-85F",
    0x01111043: "LFE5UM-25F",
    0x01112043: "LFE5UM-45F",
    0x01113043: "LFE5UM-85F",
    0x81111043: "LFE5UM5G-25F",
    0x81112043: "LFE5UM5G-45F",
    0x81113043: "LFE5UM5G-85F",
    0x0000081B: "GW2A-18C",
    0x1100481B: "GW1NR-9C",
}
#: Start of a Lattice bitstream's commands, and the command that checks the code.
_ECP5 = re.compile(rb"\xff\xff\xbd\xb3.{0,64}?\xe2\x00\x00\x00(....)", re.DOTALL)
#: The same command in the first lines of a Gowin bitstream, in digits.
_GOWIN = re.compile(rb"^0000011000000000[01]{16}([01]{32})\s*$", re.MULTILINE)
_HEAD = 1 << 16


def part_of(data: bytes) -> str | None:
    """The part that a bitstream is for; ``None`` when it is no bitstream of a known part."""
    head = data[:_HEAD]
    if found := _ECP5.search(head):
        return _PARTS.get(int.from_bytes(found[1], "big"))
    if found := _GOWIN.search(head):
        return _PARTS.get(int(found[1], 2))
    return None


def check_bitstream(board: Board, path: Path) -> None:
    """Refuse a file that is no bitstream for the board's FPGA.

    Raises
    ------
    HpuError
        Saying what it is.
    """
    try:
        part = part_of(path.read_bytes())
    except OSError as error:
        raise HpuError(f"{path} cannot be read: {error.strerror}.") from None
    if part is None:
        raise HpuError(f"{path} is no bitstream: build one with hpu fpga build.")
    platform = board.platform()
    fpga = getattr(platform, "device", None) or getattr(platform, "family", None)
    if part != fpga:
        raise HpuError(
            f"{path} is for the FPGA {part}, not for the {fpga} of {board.name}: build it with "
            f"hpu fpga build --board {board.name}."
        )
