"""LOAD and WEIGHTS: rows from DRAM."""

from collections import deque
from collections.abc import Callable

from hpu.hw.config import Config
from hpu.hw.isa import TileSource
from hpu.hw.ports import UB_READ_LATENCY
from hpu.sim.access import count_of
from hpu.sim.cycles.conflicts import Conflicts
from hpu.sim.cycles.constants import (
    BEAT,
    LOAD_AHEAD,
    QUEUE,
    WEIGHTS_AHEAD,
    Times,
)
from hpu.sim.cycles.frontend import Queue
from hpu.sim.cycles.kernel import Clock, Event, Process
from hpu.sim.cycles.memory import ReadPort
from hpu.sim.cycles.reader import Job, Reader, runs_of

__all__ = ["Load", "Weights"]

_LOAD, _WEIGHTS = 1, 2
#: From a row, the cycle of its write and a number of rows to the last one's write.
Written = Callable[[int, int, int], int]


class _Rows:
    """Takes a reader's beats in order and makes rows of them."""

    def __init__(self, clock: Clock, reader: Reader):
        self._clock, self._reader = clock, reader

    def take(
        self, first: int, job: Job, beats: int, takes: int, written: Written | None = None
    ) -> Process:
        """Take all of ``job``'s ``beats`` from cycle ``first`` on, in at least ``takes`` cycles.

        Goes on in the cycle in which the last row is taken. ``written``: the last cycle of some
        writes, two cycles after their beats are taken, or more when they are held.
        """
        clock, reader, cost = self._clock, self._reader, takes / beats
        pop, end, done = float(first), first, 0.0
        hold = written or (lambda _row, cycle, rows: cycle + rows - 1)
        for _ in range(job.bursts):
            while not reader.arrivals:
                yield reader.arrived
            come, last, count = reader.arrivals.popleft()
            pop = max(pop, come + BEAT)
            rows = round(done + count * cost) - round(done)

            def ends(begin: float, rows: int = rows, row: float = done) -> float:
                return hold(int(row), round(begin) + 2, rows) - 1 - cost

            while clock.now < (end := max(round(ends(pop)), last + BEAT)):
                yield end
            done += count * cost
            pop = end + cost
            reader.release(count)
        final = max(round(pop), end + 1)
        yield hold(max(round(done) - 1, 0), final + 1, 1) - 1


class Load:
    """The load unit."""

    def __init__(
        self, clock: Clock, config: Config, port: ReadPort, queue: Queue, conflicts: Conflicts
    ):
        self._clock, self._config, self._queue = clock, config, queue
        self._times, self._conflicts = Times.of(config), conflicts
        self._reader = Reader(clock, port, _LOAD, self._times.read_depth)
        self._jobs: deque[tuple[int, Job, dict[str, int]]] = deque()
        self._plans: deque[tuple[int, Job, dict[str, int]]] = deque()
        self._more, self._ready = Event(clock), Event(clock)
        self._planned, self._left = Event(clock), Event(clock)
        self._pending = 0
        for process in (self._accept(), self._plan(), self._write()):
            clock.resume(process, 0)

    def _accept(self) -> Process:
        clock = self._clock
        while True:
            yield from self._queue.head()
            while self._pending >= LOAD_AHEAD:
                yield self._left
            values = dict(self._queue.start().values)
            job = Job(clock, runs_of(values, self._config), self._config)
            self._pending += 1
            self._jobs.append((clock.now, job, values))
            self._reader.add(job, clock.now + 1)
            self._more.fire()
            while not job.all_taken:
                yield job.taken
            yield clock.now + 1

    def _plan(self) -> Process:
        clock = self._clock
        while True:
            while not self._jobs:
                yield self._more
            yield self._jobs[0][0] + QUEUE
            _, job, values = self._jobs.popleft()
            clock.call(clock.now + 1, self._leave)
            self._plans.append((clock.now + self._times.plan, job, values))
            self._ready.fire()
            while self._plans:
                yield self._planned

    def _leave(self) -> None:
        self._pending -= 1
        self._left.fire()

    def _write(self) -> Process:
        clock, rows, end = self._clock, _Rows(self._clock, self._reader), 0
        while True:
            while not self._plans:
                yield self._ready
            yield max(self._plans[0][0], end)
            _, job, values = self._plans.popleft()
            self._planned.fire()
            takes, beats = count_of(values), sum(map(sum, job.runs))
            written = self._conflicts.load(values) if takes >= beats else None
            yield from rows.take(clock.now + 1, job, beats, max(takes, beats), written)
            end = clock.now
            self._queue.done(end + 2)


class Weights:
    """The weights unit and the weight FIFO's places; ``tiles`` are when each is whole."""

    def __init__(
        self, clock: Clock, config: Config, port: ReadPort, queue: Queue, conflicts: Conflicts
    ):
        self._clock, self._config, self._queue = clock, config, queue
        self._conflicts = conflicts
        self._reader = Reader(clock, port, _WEIGHTS, Times.of(config).read_depth)
        self._jobs: deque[tuple[int, Job | None, dict[str, int]]] = deque()
        self._places, self._waiting = config.weight_tiles, 0
        self._more, self._freed, self._begun = Event(clock), Event(clock), Event(clock)
        self.tiles: deque[int] = deque()
        self.whole = Event(clock)
        clock.resume(self._accept(), 0)
        clock.resume(self._write(), 0)

    def free(self) -> None:
        """A place is free in the present cycle."""
        self._places += 1
        self._freed.fire()

    def _accept(self) -> Process:
        clock = self._clock
        while True:
            yield from self._queue.head()
            while not self._places:
                yield self._freed
            while self._waiting >= WEIGHTS_AHEAD:
                yield self._begun
            values = dict(self._queue.start().values)
            job = self._job(values) if values["source"] == TileSource.DRAM else None
            self._places -= 1
            self._waiting += 1
            self._jobs.append((clock.now, job, values))
            if job:
                self._reader.add(job, clock.now + 1)
            self._more.fire()
            while job and not job.all_taken:
                yield job.taken
            yield clock.now + 1

    def _job(self, values: dict[str, int]) -> Job:
        config = self._config
        row = config.pitch_chunks(values["width"]) * config.group * values["rows"]
        first = values["dram"] // config.axi_bytes
        last = -(-(values["dram"] + row) // config.axi_bytes)
        return Job(self._clock, [(first, last - first)], config)

    def _write(self) -> Process:
        clock, rows = self._clock, _Rows(self._clock, self._reader)
        end = come = 0  # last row of the tile before: taken or read, and there
        while True:
            while not self._jobs:
                yield self._more
            accepted, job, values = self._jobs.popleft()
            walk = max(accepted + 1, end)
            yield walk + 1
            self._waiting -= 1
            self._begun.fire()
            if job:
                beats = sum(map(sum, job.runs))
                first = max(walk, come) + 1
                yield from rows.take(first, job, beats, max(values["rows"], beats))
                end = come = clock.now
            else:
                finish = self._conflicts.tile(values)
                while clock.now < (last := finish(walk + 1)):
                    yield last
                end, come = clock.now, clock.now + UB_READ_LATENCY
            self._queue.done(come + 1)
            self.tiles.append(come + 2)
            self.whole.fire()
