"""The DRAM and the AXI4 read side in front of it: bursts in turn, beats by bandwidth."""

import math
from collections import deque

from hpu.hw.config import Config
from hpu.sim.cycles.constants import BUDGET, OUTSTANDING
from hpu.sim.cycles.kernel import Clock, Event, Process

__all__ = ["Arrival", "Bandwidth", "ReadPort"]

#: Beats of one burst on the bus: cycle of the first, of the last, and how many.
Arrival = tuple[int, int, int]


class Bandwidth:
    """The budget that reads and writes share, in beats: it grows by ``rate`` a cycle, up to two.

    A burst claims all its beats at its first; so a claim of the other side waits behind it.
    """

    def __init__(self, config: Config):
        self._rate = config.dram_bytes_per_cycle / config.axi_bytes
        self._level, self._at = BUDGET, 0

    def claim(self, cycle: int, beats: int) -> tuple[int, int]:
        """Cycles of the first and the last of ``beats`` beats, one a cycle at most."""
        level = min(BUDGET, self._level + self._rate * (cycle - self._at))
        first = cycle + self._wait(-level)
        last = max(first + beats - 1, cycle + self._wait(beats - 1 - level))
        self._level, self._at = level + self._rate * (last - cycle) - beats, last
        return first, last

    def _wait(self, missing: float) -> int:
        """Cycles until the budget has grown by more than ``missing``."""
        return 0 if missing < 0 else math.floor(missing / self._rate + 1e-9) + 1


class ReadPort:
    """Takes the readers' bursts in turn, one a cycle; the DRAM answers them in order."""

    def __init__(self, clock: Clock, config: Config, bandwidth: Bandwidth, readers: int):
        self._clock, self._latency, self._bandwidth = clock, config.dram_latency, bandwidth
        self.beats = 0
        self._asking: list[tuple[int, deque[Arrival], Event, Event] | None] = [None] * readers
        self._asked, self._room, self._sent = Event(clock), Event(clock), Event(clock)
        self._turn, self._outstanding = 0, 0
        self._bursts: deque[tuple[int, int, deque[Arrival], Event]] = deque()
        clock.resume(self._grant(), 0)
        clock.resume(self._serve(), 0)

    def ask(self, reader: int, beats: int, into: deque[Arrival], arrived: Event) -> Event:
        """Ask for a burst; the event fires in the cycle in which it is granted."""
        granted = Event(self._clock)
        self._asking[reader] = (beats, into, arrived, granted)
        self._asked.fire()
        return granted

    def _grant(self) -> Process:
        clock, asking = self._clock, self._asking
        while True:
            if not any(asking):
                yield self._asked
                continue
            if self._outstanding >= OUTSTANDING:
                yield self._room
                continue
            order = [(self._turn + k) % len(asking) for k in range(len(asking))]
            reader = next(index for index in order if asking[index])
            request = asking[reader]
            assert request is not None
            beats, into, arrived, granted = request
            asking[reader] = None
            self._turn = (reader + 1) % len(asking)
            self._outstanding += 1
            self._bursts.append((clock.now + 1 + self._latency, beats, into, arrived))
            self._sent.fire()
            granted.fire()
            yield clock.now + 1

    def _serve(self) -> Process:
        clock = self._clock
        while True:
            while not self._bursts:
                yield self._sent
            due, beats, into, arrived = self._bursts.popleft()
            yield due
            first, last = self._bandwidth.claim(clock.now, beats)
            self.beats += beats
            into.append((first, last, beats))
            arrived.fire()
            yield last + 1
            self._outstanding -= 1
            self._room.fire()
