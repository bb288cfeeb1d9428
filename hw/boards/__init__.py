"""FPGA boards. A board is one file with a ``BOARD``, and its line here."""

from hpu.hw.boards import ecpix5, orangecrab, tang_primer_20k, ulx3s
from hpu.hw.boards.board import Board

__all__ = ["BOARDS", "by_name"]

_ALL = (ulx3s.BOARD, ulx3s.SDRAM_BOARD, ecpix5.BOARD, orangecrab.BOARD, tang_primer_20k.BOARD)

BOARDS: dict[str, Board] = {board.name: board for board in _ALL}


def by_name(name: str) -> Board:
    """The named board.

    Raises
    ------
    ValueError
        When there is none of that name; the message lists the names there are.
    """
    if name not in BOARDS:
        raise ValueError(f"board must be one of {', '.join(BOARDS)}, not {name!r}")
    return BOARDS[name]
