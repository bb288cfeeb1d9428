"""The matrix unit with its weight loader, and the vector unit."""

import dataclasses
from collections import deque

import numpy as np

from hpu.hw.config import Config
from hpu.hw.isa import Reduce, Source
from hpu.hw.matrix_address import SETUP_STAGES
from hpu.hw.vector_window import TAPS
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


@dataclasses.dataclass(frozen=True)
class _Vectored:
    """A VECTOR and its cycles: of the first step, after the last one, of its being done."""

    values: dict[str, int]
    first: int
    after: int
    done: int


class Vector:
    """The vector unit: one instruction streams, one is prepared when both are on accumulators."""

    def __init__(self, clock: Clock, config: Config, queue: Queue, conflicts: Conflicts):
        self._clock, self._times, self._queue = clock, Times.of(config), queue
        self._conflicts, self._pace = conflicts, config.vector_cycles
        self._offered: deque[tuple[int, dict[str, int]]] = deque()
        self._taken = False
        self._accepted, self._free = Event(clock), Event(clock)
        for process in (self._accept(), self._run()):
            clock.resume(process, 0)

    def _accept(self) -> Process:
        while True:
            yield from self._queue.head()
            while self._taken:
                yield self._free
            self._taken = True
            self._offered.append((self._clock.now, dict(self._queue.start().values)))
            self._accepted.fire()

    def _run(self) -> Process:
        clock, last = self._clock, _Vectored({}, -1, -1, -1)
        while True:
            while not self._offered:
                yield self._accepted
            accepted, values = self._offered.popleft()
            begin, first = self._begin(accepted, values, last)
            clock.call(max(clock.now, self._leaves(begin, first, values) + 1), self._leave)
            write = self._write(values)
            finish = self._conflicts.vector(values)
            self._conflicts.writes(values, first + write)
            begun, after = finish(first)
            yield max(clock.now, after)
            while (later := finish(first)) != (begun, after):
                begun, after = later
                yield max(clock.now, after)
            last = _Vectored(values, begun, after, after - 1 + write)
            self._queue.done(last.done)

    def _begin(self, accepted: int, values: dict[str, int], last: _Vectored) -> tuple[int, int]:
        """Cycles in which the preparation begins and the first step is read."""
        times, acc = self._times, values["source"] == Source.ACC
        begin, lead = accepted + 1, times.vector_first - 1
        flows = acc and last.values.get("source") == Source.ACC
        if flows:
            begin = max(begin, min(last.done + 1, last.first + times.vector_write))
        if not flows or begin > last.done:
            begin = max(begin, last.done + 1)
            return begin, begin + acc + (times.window_first - 1 if _windowed(values) else lead)
        # The last step may still wait for its turn when the instruction takes over.
        turn = max(last.after + 3 - self._pace, last.after - 1 + self._pace)
        first = max(begin + lead + times.vector_switch, turn)
        return begin, self._conflicts.written(last.values, last.after, values, first)

    def _leaves(self, begin: int, first: int, values: dict[str, int]) -> int:
        """The last cycle in which the instruction is in the next one's way."""
        rows = self._times.record + (TAPS if values["stream"] and _dot(values) else 0)
        groups = values["d_width"] * values["d_copies"] + 1
        return begin + max(rows, groups, first - self._times.vector_switch - begin + 1)

    def _write(self, values: dict[str, int]) -> int:
        return self._times.window_write if _windowed(values) else self._times.vector_write

    def _leave(self) -> None:
        self._taken = False
        self._free.fire()


def _dot(values: dict[str, int]) -> bool:
    return values["reduce"] == Reduce.DOT


def _windowed(values: dict[str, int]) -> bool:
    return bool(values["stream"]) or _dot(values)
