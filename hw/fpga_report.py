"""What a build came to: cells used, clocks closed, and what the bitstream really has."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from hpu.hw.boards.board import Board

__all__ = ["SECONDS", "Report", "Usage", "count_unpacked", "read_report"]

#: The file in a build's folder that has the seconds of each step.
SECONDS = "seconds.json"

#: Cells of the ECP5 by what an unpacked bitstream says of them.
_UNPACKED = {
    "MULT18X18D": re.compile(r"^enum: MULT18_\d\.MODE MULT18X18D$", re.M),
    "DP16KD": re.compile(r"^enum: EBR\d\.MODE (?:DP16KD|PDPW16KD)$", re.M),
    "EHXPLLL": re.compile(r"^enum: MODE EHXPLLL$", re.M),
}


@dataclasses.dataclass(frozen=True)
class Usage:
    """Cells of one kind: used, and those the FPGA has."""

    used: int
    available: int


@dataclasses.dataclass(frozen=True)
class Report:
    """Utilisation and timing of a build.

    Attributes
    ----------
    cells
        By the place-and-route tool's names.
    clock_mhz, closed_mhz
        The clock that the machine has, and the fastest that every path keeps up with.
    critical_path
        The slowest path's cells, from its start on, with what each adds in nanoseconds.
    bitstream
        Cells that the unpacked bitstream configures (ECP5).
    seconds
        What each step of the build took.
    """

    board: str
    config: str
    digest: str
    cells: dict[str, Usage]
    clock_mhz: float
    closed_mhz: float
    critical_path: list[str]
    bitstream: dict[str, int]
    seconds: dict[str, float]

    @property
    def closes(self) -> bool:
        """Whether no path is slower than the clock, nor the bitstream other than the placement."""
        return self.closed_mhz >= self.clock_mhz and not self.different

    @property
    def different(self) -> list[str]:
        """Cells whose count in the bitstream is not that of the placement."""
        return [
            f"{name}: {count} in the bitstream, {self.cells[name].used} placed"
            for name, count in self.bitstream.items()
            if count != self.cells[name].used
        ]

    def to_json(self) -> str:
        """As text."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def lines(self) -> list[str]:
        """As the command prints it."""
        rows = [f"{name:14}{use.used:7} of {use.available:6}" for name, use in self.cells.items()]
        clock = f"clock {self.clock_mhz:.1f} MHz, every path closes at {self.closed_mhz:.1f} MHz"
        steps = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in self.seconds.items())
        return [*rows, clock, *([steps] if steps else []), *self.different]


def count_unpacked(config: str) -> dict[str, int]:
    """Configured cells of an unpacked ECP5 bitstream, by kind."""
    return {name: len(pattern.findall(config)) for name, pattern in _UNPACKED.items()}


def read_report(board: Board, folder: Path) -> Report:
    """The report on the finished build in ``folder``."""
    timing = json.loads((folder / "timing.json").read_text())
    unpacked, seconds = folder / "unpacked.config", folder / SECONDS
    config = board.config
    used = {
        name: Usage(entry["used"], entry["available"])
        for name, entry in timing["utilization"].items()
        if entry["used"]
    }
    return Report(
        board=board.name,
        config=config.name,
        digest=config.digest().hex(),
        cells=used,
        clock_mhz=config.clock_hz / 1e6,
        closed_mhz=min(clock["achieved"] for clock in timing["fmax"].values()),
        critical_path=_critical(timing),
        bitstream=count_unpacked(unpacked.read_text()) if unpacked.exists() else {},
        seconds=json.loads(seconds.read_text()) if seconds.exists() else {},
    )


def _critical(timing: dict[str, Any]) -> list[str]:
    """The slowest path of the slowest clock."""
    paths = [path["path"] for path in timing["critical_paths"] if path["from"] == path["to"]]
    if not paths:
        return []
    slowest = max(paths, key=lambda path: sum(step["delay"] for step in path))
    return [f"{step['delay']:.2f} {step['type']} {step['to']['cell']}" for step in slowest]
