"""A clock that jumps from event to event, and processes that wait on it."""

import heapq
from collections.abc import Callable, Generator

__all__ = ["Clock", "Event", "Process"]


class Event:
    """Something that processes wait for; whoever makes it true calls :meth:`fire`."""

    __slots__ = ("_clock", "_waiting")

    def __init__(self, clock: "Clock"):
        self._clock = clock
        self._waiting: list[Process] = []

    def add(self, process: "Process") -> None:
        """Let ``process`` go on at the next :meth:`fire`."""
        self._waiting.append(process)

    def fire(self) -> None:
        """Let every waiting process go on in the present cycle; each looks again for itself."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for process in waiting:
                self._clock.resume(process, self._clock.now)


#: Yields the cycle in which it wants to go on, or the event that it waits for.
Process = Generator[int | Event, None, None]


class Clock:
    """Runs processes and calls in the order of their cycles; ``now`` is the present one."""

    def __init__(self) -> None:
        self.now = 0
        self._heap: list[tuple[int, int, Process | Callable[[], None]]] = []
        self._count = 0

    def resume(self, process: Process, cycle: int) -> None:
        """Let ``process`` go on in ``cycle``."""
        self._push(cycle, process)

    def call(self, cycle: int, function: Callable[[], None]) -> None:
        """Call ``function`` in ``cycle``."""
        self._push(cycle, function)

    def _push(self, cycle: int, what: "Process | Callable[[], None]") -> None:
        self._count += 1
        heapq.heappush(self._heap, (cycle, self._count, what))

    def run(self) -> None:
        """Run until nothing is left that a cycle would bring."""
        heap = self._heap
        while heap:
            self.now, _, what = heapq.heappop(heap)
            if callable(what):
                what()
            else:
                self._step(what)

    def _step(self, process: Process) -> None:
        wanted = next(process, None)
        if isinstance(wanted, Event):
            wanted.add(process)
        elif wanted is not None:
            self._push(max(wanted, self.now), process)
