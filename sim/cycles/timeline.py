"""What the model tells of a run: spans of the instructions, and every cycle of the matrix unit."""

import dataclasses

import numpy as np

from hpu.hw import csr
from hpu.sim.cycles.compute import Stream
from hpu.sim.cycles.frontend import Queue

__all__ = ["EVENT", "Timeline", "attribution", "busy"]

#: As ``hpu.sim.rtl.EVENT``, which is not imported: the model needs no simulator.
EVENT = np.dtype(
    [("cycle", "<u8"), ("pc", "<u4"), ("unit", "u1"), ("end", "u1"), ("unused", "<u2")]
)


@dataclasses.dataclass(frozen=True)
class Timeline:
    """A predicted run. Cycle 0 is the first in which the machine is busy.

    Instruction ``pc`` ran on ``unit`` from cycle ``start``, when the unit took it, to ``end``, when
    it was done: int64 arrays of equal length, unit by unit. ``causes`` charges every cycle of the
    matrix unit as ``csr.MATRIX_CAUSES`` does; ``busy`` are the cycles in which each unit had an
    instruction; ``read_beats`` and ``write_beats`` are beats of the memory port. ``charges`` are
    the causes by instruction of the matrix unit, as :func:`attribution` gives them.
    """

    unit: np.ndarray
    pc: np.ndarray
    start: np.ndarray
    end: np.ndarray
    cycles: int
    charges: np.ndarray
    busy: dict[str, int]
    read_beats: int
    write_beats: int

    @property
    def causes(self) -> dict[str, int]:
        """Cycles of the matrix unit by cause."""
        totals = self.charges.sum(0).tolist()
        return {cause.name: n for cause, n in zip(csr.MATRIX_CAUSES, totals, strict=True)}

    def events(self) -> np.ndarray:
        """Starts and ends as a device's log has them, in order of cycles."""
        log = np.zeros(2 * len(self.pc), EVENT)
        for end, cycle in enumerate((self.start, self.end)):
            part = log[end * len(self.pc) : (end + 1) * len(self.pc)]
            part["cycle"], part["pc"], part["unit"], part["end"] = cycle, self.pc, self.unit, end
        return log[np.lexsort((1 - log["end"], log["cycle"]))]

    def counters(self) -> dict[str, int]:
        """The counters that depend on time, as far as they are modelled."""
        units = {f"{name.upper()}_BUSY": cycles for name, cycles in self.busy.items()}
        del units["MATRIX_BUSY"]
        beats = {"READ_BEATS": self.read_beats, "WRITE_BEATS": self.write_beats}
        return {"CYCLES": self.cycles, **self.causes, **units, **beats}


def busy(starts: list[int], ends: list[int]) -> int:
    """Cycles from a start's next to its end, overlaps once."""
    total, before = 0, -1
    for start, end in zip(starts, ends, strict=True):
        total += max(0, end - max(start, before))
        before = max(before, end)
    return total


def attribution(queue: Queue, streams: list[Stream], finished: int, cycles: int) -> np.ndarray:
    """Every cycle of the matrix unit by cause: int64 [instructions of the unit + 1, causes].

    A row are the cycles from the row before to the end of streaming, in the order of
    ``csr.MATRIX_CAUSES``; the last one is what comes after the last instruction. ``finished``: the
    cycle in which the last instruction of the program has been handed out.
    """
    charges = np.zeros((len(streams) + 1, len(csr.MATRIX_CAUSES)), np.int64)
    at = 0  # first cycle that is not charged yet

    def charge(row: int, name: str, until: int) -> None:
        nonlocal at
        charges[row, _COLUMN[name]] += max(0, until - at)
        at = max(at, until)

    for row, (stream, head, granted) in enumerate(
        zip(streams, queue.heads, queue.granted, strict=True)
    ):
        charge(row, "FETCH", head)
        for name, cycle in zip(("INPUT", "ACCUMULATOR", "TOKEN"), granted, strict=True):
            charge(row, name, cycle)
        charge(row, "SETUP", stream.switched + 1)
        charge(row, "WEIGHTS", stream.first)
        charge(row, "PADDING", min(cycles, at + stream.padding))
        charge(row, "USEFUL", stream.last + 1)
    charge(-1, "FETCH", min(finished, cycles))
    charge(-1, "DRAINED", cycles)
    return charges


_COLUMN = {
    cause.name.removeprefix("MATRIX_"): column for column, cause in enumerate(csr.MATRIX_CAUSES)
}
