"""The matrix unit with its weight loader, and the vector unit."""

import dataclasses
from collections import deque

import numpy as np

from hpu.hw.config import Config
from hpu.hw.isa import Reduce, Source
from hpu.hw.matrix_address import SETUP_STAGES
from hpu.sim.access import count_of, matmul_taps
from hpu.sim.cycles.conflicts import Conflicts
from hpu.sim.cycles.constants import Times
from hpu.sim.cycles.dma import Weights
from hpu.sim.cycles.frontend import Queue
from hpu.sim.cycles.kernel import Clock, Event, Process

__all__ = ["Matrix", "Stream", "Vector"]


@dataclasses.dataclass(frozen=True)
class Stream:
    """One MATMUL: cycles in which it was accepted and began to stream, and of its rows."""

    accepted: int
    switched: int
    first: int
    last: int
    padding: int


class Matrix:
    """The matrix unit: one instruction streams, one is prepared, one tile waits in the array."""

    def __init__(
        self, clock: Clock, config: Config, queue: Queue, weights: Weights, conflicts: Conflicts
    ):
        self._clock, self._rows, self._queue = clock, config.rows, queue
        self._weights, self._conflicts, self._times = weights, conflicts, Times.of(config)
        self._held: deque[tuple[int, dict[str, int]]] = deque()
        self._accepted, self._free = Event(clock), Event(clock)
        self._loaded, self._loading, self._swapped = -1, Event(clock), Event(clock)
        self._swap: int | None = 0
        self.streams: list[Stream] = []
        for process in (self._accept(), self._stream(), self._load()):
            clock.resume(process, 0)

    def _accept(self) -> Process:
        while True:
            yield from self._queue.head()
            while self._held:
                yield self._free
            self._held.append((self._clock.now, dict(self._queue.start().values)))
            self._accepted.fire()

    def _stream(self) -> Process:
        clock, last = self._clock, -1
        while True:
            while not self._held:
                yield self._accepted
            accepted, values = self._held[0]
            yield max(accepted + 2 + SETUP_STAGES + values["taps"], last)
            switched = clock.now
            clock.call(switched + 1, self._leave)
            yield switched + 1
            if values["new_weights"]:
                while self._loaded < 0:
                    yield self._loading
                yield self._loaded
                self._loaded, self._swap = -1, clock.now
                self._swapped.fire()
            first, rows = clock.now, count_of(values)
            last = first + rows - 1
            self._conflicts.stream(values, first, last)
            self.streams.append(Stream(accepted, switched, first, last, padding_rows(values)))
            self._queue.done(last + self._times.drain)

    def _leave(self) -> None:
        self._held.popleft()
        self._free.fire()

    def _load(self) -> Process:
        """The weight loader: the next tile into the array as soon as it may."""
        clock, times, start = self._clock, self._times, -self._rows
        while True:
            while not self._weights.tiles:
                yield self._weights.whole
            whole = self._weights.tiles.popleft()
            while self._swap is None:
                yield self._swapped
            after = self._swap + times.before_start if self._swap else 0
            yield max(whole, after, start + self._rows)
            start = clock.now
            clock.call(start + times.place, self._weights.free)
            self._loaded, self._swap = start + times.before_swap, None
            self._loading.fire()


def padding_rows(values: dict[str, int]) -> int:
    """Rows of a MATMUL of which no tap is inside the image."""
    y, x = values["y_count"], values["x_count"]
    inside = np.zeros((y, x), bool)
    for tap in matmul_taps(values):
        if tap.whole(values):
            return 0
        inside[slice(*tap.ys), slice(*tap.xs)] = True
    return values["n_count"] * (y * x - int(inside.sum()))


class Vector:
    """The vector unit: one instruction after another."""

    def __init__(self, clock: Clock, config: Config, queue: Queue, conflicts: Conflicts):
        self._clock, self._times, self._queue = clock, Times.of(config), queue
        self._conflicts = conflicts
        clock.resume(self._run(), 0)

    def _run(self) -> Process:
        clock, times = self._clock, self._times
        while True:
            yield from self._queue.head()
            values = dict(self._queue.start().values)
            first = clock.now + times.vector_first + (values["source"] == Source.ACC)
            write = times.vector_write
            if values["stream"] or values["reduce"] == Reduce.DOT:
                first, write = clock.now + times.window_first, times.window_write
            finish = self._conflicts.vector(values)
            self._conflicts.writes(values, first + write)
            after = finish(first)
            yield after
            while (later := finish(first)) != after:
                after = later
                yield after
            done = after - 1 + write
            self._queue.done(done)
            yield done + 1
