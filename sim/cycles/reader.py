"""A reader of DRAM: runs cut into bursts, asked for as far ahead as its queue has room."""

from collections import deque
from collections.abc import Iterator

from hpu.hw.config import Config
from hpu.sim.cycles.kernel import Clock, Event, Process
from hpu.sim.cycles.memory import Arrival, ReadPort

__all__ = ["Job", "Reader", "bursts", "runs_of"]

#: First beat and number of beats of a contiguous run.
Run = tuple[int, int]


def bursts(run: Run, config: Config) -> Iterator[int]:
    """Beats of each burst of ``run``: cut at multiples of the longest burst."""
    first, left = run
    while left:
        count = min(left, config.burst_beats - first % config.burst_beats)
        yield count
        first, left = first + count, left - count


def runs_of(values: dict[str, int], config: Config) -> list[Run]:
    """The run of every (n, y) of a LOAD or STORE, in order."""
    row = config.pitch_chunks(values["width"]) * config.group * values["x_count"]
    runs = []
    for n in range(values["n_count"]):
        for y in range(values["y_count"]):
            start = values["dram"] + n * values["dram_n"] + y * values["dram_y"]
            runs.append(_run(start, row, config.axi_bytes))
    return runs


def _run(start: int, size: int, beat: int) -> Run:
    first = start // beat
    return first, -(-(start + size) // beat) - first


class Job:
    """The runs of one instruction; ``taken`` fires when the last is on its way to be cut."""

    __slots__ = ("all_taken", "bursts", "runs", "taken")

    def __init__(self, clock: Clock, runs: list[Run], config: Config):
        self.runs = [list(bursts(run, config)) for run in runs]
        self.bursts = sum(map(len, self.runs))
        self.taken, self.all_taken = Event(clock), False


class Reader:
    """Asks for the bursts of its jobs in order; ``arrivals`` are those that came.

    Who takes a burst's beats calls :meth:`release` when it has the last.
    """

    def __init__(self, clock: Clock, port: ReadPort, index: int, depth: int):
        self._clock, self._port, self._index, self._depth = clock, port, index, depth
        self.arrivals: deque[Arrival] = deque()
        self.arrived = Event(clock)
        self._held = 0
        self._room, self._more = Event(clock), Event(clock)
        self._jobs: deque[tuple[int, Job]] = deque()
        clock.resume(self._ask(), 0)

    def add(self, job: Job, cycle: int) -> None:
        """Ask for the bursts of ``job``, whose first run stands in ``cycle``."""
        self._jobs.append((cycle, job))
        self._more.fire()

    def release(self, beats: int) -> None:
        """Give back the room of ``beats`` beats."""
        self._held -= beats
        self._room.fire()

    def _ask(self) -> Process:
        clock = self._clock
        while True:
            while not self._jobs:
                yield self._more
            cycle, job = self._jobs.popleft()
            yield cycle
            for index, run in enumerate(job.runs):
                if index == len(job.runs) - 1:
                    job.all_taken = True
                    job.taken.fire()
                yield clock.now + 1
                for place, beats in enumerate(run):
                    while self._held + beats > self._depth:
                        yield self._room
                    yield self._port.ask(self._index, beats, self.arrivals, self.arrived)
                    self._held += beats
                    if place + 1 < len(run):
                        yield clock.now + 1
