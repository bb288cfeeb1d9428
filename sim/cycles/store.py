"""STORE: rows from the unified buffer to DRAM."""

import dataclasses
import math
from collections import deque
from collections.abc import Generator

from hpu.hw.config import Config
from hpu.sim.access import count_of
from hpu.sim.cycles.conflicts import Conflicts, Reads
from hpu.sim.cycles.constants import STORE_AHEAD, STORE_PATH, STORE_ROWS, WRITE_BURSTS
from hpu.sim.cycles.frontend import Queue
from hpu.sim.cycles.kernel import Clock, Event, Process
from hpu.sim.cycles.memory import Bandwidth
from hpu.sim.cycles.reader import Job, runs_of

__all__ = ["Store"]


@dataclasses.dataclass(frozen=True)
class _Writing:
    """One STORE: when it was accepted, its bursts, its rows and when they may be read."""

    accepted: int
    job: Job
    rows: int
    reads: Reads


@dataclasses.dataclass(frozen=True)
class _Taken:
    """Rows ``begin`` to ``end`` of all left the queue of rows from cycle ``first`` to ``last``."""

    begin: float
    end: float
    first: int
    last: int

    def cycle_of(self, row: float) -> int:
        """The cycle in which ``row`` left."""
        part = (row + 1 - self.begin) / max(self.end - self.begin, 1)
        return self.first + round((self.last - self.first) * min(max(part, 0.0), 1.0))


class Store:
    """The store unit and the write side of the DRAM. Rows are read up to eight ahead."""

    def __init__(
        self,
        clock: Clock,
        config: Config,
        bandwidth: Bandwidth,
        queue: Queue,
        conflicts: Conflicts,
    ):
        self._clock, self._config, self._queue = clock, config, queue
        self._bandwidth, self._conflicts = bandwidth, conflicts
        self.beats = 0
        self._flying, self._accepted = 0, 0  # instructions, rows
        self._written = 0.0  # rows
        self._work: deque[_Writing] = deque()
        self._more, self._landed, self._moved = Event(clock), Event(clock), Event(clock)
        self._answers: deque[int] = deque([0] * WRITE_BURSTS)
        self._asked = 0  # cycle of the last burst asked for
        self._read, self._fetched = 0, 0.0  # cycle of the next row's read; rows read
        self._taken: deque[_Taken] = deque([_Taken(0, 0, 0, 0)])
        self._free = 0  # cycle from which the bus takes another beat
        clock.resume(self._accept(), 0)
        clock.resume(self._write(), 0)

    def _accept(self) -> Process:
        clock, config = self._clock, self._config
        while True:
            yield from self._queue.head()
            while self._flying >= STORE_AHEAD:
                yield self._landed
            values = dict(self._queue.start().values)
            rows, job = count_of(values), Job(clock, runs_of(values, config), config)
            self._work.append(_Writing(clock.now, job, rows, self._conflicts.store(values)))
            self._flying += 1
            self._accepted += rows
            self._more.fire()
            yield clock.now + rows
            while self._written + STORE_ROWS < self._accepted:
                yield self._moved

    def _write(self) -> Process:
        clock, latency = self._clock, self._config.dram_latency
        while True:
            while not self._work:
                yield self._more
            work = self._work.popleft()
            beats = sum(map(sum, work.job.runs))
            self._asked = max(self._asked, work.accepted + 1)
            self._read, row = max(self._read, work.accepted + 1), 0.0
            for count in (count for run in work.job.runs for count in run):
                self._asked = max(self._asked, self._answers.popleft()) + 1
                end = row + count * work.rows / beats
                due = yield from self._fetch(work, row, end, max(work.rows / beats, 1.0))
                yield max(due, self._asked + 2, self._free)
                first, last = self._bandwidth.claim(clock.now, count)
                last = yield from self._end(work, row, end, last)
                self.beats += count
                self._free = last + 1
                self._answers.append(last + latency)
                self._take(end - row, first - 1, last - 1)
                row = end
            self._queue.done(self._answers[-1])
            clock.call(self._answers[-1] + 1, self._land)

    def _fetch(
        self, work: _Writing, row: float, end: float, cost: float
    ) -> Generator[int | Event, None, int]:
        """Read the rows of a burst; gives the cycle in which its first beat may be written."""
        clock, index = self._clock, min(int(row), work.rows - 1)
        wanted = max(self._read, self._room(end - row))
        while clock.now < (read := work.reads(index, wanted, 1)):
            yield read
        self._read = read
        return work.reads(index, read, math.ceil(cost)) + STORE_PATH

    def _end(
        self, work: _Writing, row: float, end: float, last: int
    ) -> Generator[int | Event, None, int]:
        """Wait for the burst's end, which is ``last`` or, when its rows are held, later."""
        clock, index, rows = self._clock, min(int(row), work.rows - 1), max(1, round(end - row))
        while clock.now < (later := max(last, work.reads(index, self._read, rows) + STORE_PATH)):
            yield later
        self._read = work.reads(index, self._read, rows) + 1
        return later

    def _room(self, rows: float) -> int:
        """The cycle in which the queue of rows has room for the first of ``rows`` more."""
        wanted = self._fetched - STORE_ROWS  # rows that must have left
        self._fetched += rows
        while len(self._taken) > 1 and self._taken[0].end <= wanted:
            self._taken.popleft()
        return self._taken[0].cycle_of(wanted)

    def _take(self, rows: float, first: int, last: int) -> None:
        """``rows`` rows leave the queue of rows from ``first`` to ``last``."""
        begin = self._taken[-1].end
        self._taken.append(_Taken(begin, begin + rows, first, last))

        def move() -> None:
            self._written += rows
            self._moved.fire()

        self._clock.call(max(last, self._clock.now), move)

    def _land(self) -> None:
        self._flying -= 1
        self._landed.fire()
