"""Fetch, decode, queues and tokens: when a unit may start its next instruction."""

from collections import deque

from hpu.hw.config import Config
from hpu.hw.isa import Unit
from hpu.sim.cycles.constants import BEAT, BEGIN, DECODE, IN_FLIGHT, QUEUE, Times
from hpu.sim.cycles.kernel import Clock, Event, Process
from hpu.sim.cycles.memory import ReadPort
from hpu.sim.cycles.reader import Job, Reader
from hpu.sim.decode import Decoded

__all__ = ["Queue", "Sequencer", "Tokens"]

_FETCH = 0


class Tokens:
    """The counters of all channels; a token given is there a cycle later."""

    def __init__(self, clock: Clock):
        self._clock = clock
        self._counts = {(giver, taker): 0 for giver in Unit for taker in Unit}
        self._given = {unit: Event(clock) for unit in Unit}

    def has(self, giver: Unit, taker: Unit) -> bool:
        """Whether there is a token."""
        return self._counts[giver, taker] > 0

    def given(self, taker: Unit) -> Event:
        """Fires when a token for ``taker`` has come."""
        return self._given[taker]

    def take(self, taker: Unit, wait: int) -> None:
        """Take one token of every unit of the mask."""
        for giver in Unit:
            self._counts[giver, taker] -= wait >> giver & 1

    def give(self, giver: Unit, signal: int) -> None:
        """Give one token to every unit of the mask, in the present cycle."""
        for taker in Unit:
            if signal >> taker & 1:
                self._counts[giver, taker] += 1
                self._given[taker].fire()


class Queue:
    """One unit's instructions, from dispatch to done; fills in their starts and ends."""

    def __init__(self, clock: Clock, config: Config, unit: Unit, tokens: Tokens):
        self._clock, self._unit, self._tokens = clock, unit, tokens
        self._depth = config.queue_depth
        self._waiting: deque[tuple[int, Decoded]] = deque()
        self._flight: deque[Decoded] = deque()
        self._level = 0
        self._pushed, self._moved, self._landed = Event(clock), Event(clock), Event(clock)
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.pcs: list[int] = []
        #: Of every instruction: cycle in which it became the head.
        self.heads: list[int] = []
        #: Of every instruction: cycles in which its tokens of load, vector and the rest were there.
        self.granted: list[tuple[int, int, int]] = []

    @property
    def full(self) -> bool:
        """Whether nothing more may be pushed."""
        return self._level >= self._depth

    @property
    def moved(self) -> Event:
        """Fires in the cycle after an instruction left."""
        return self._moved

    def push(self, instruction: Decoded) -> None:
        """Put an instruction into the queue in the present cycle."""
        self._level += 1
        self._waiting.append((self._clock.now + QUEUE, instruction))
        self._pushed.fire()

    def head(self) -> Process:
        """Wait until there is a head whose tokens are there."""
        clock, tokens, unit = self._clock, self._tokens, self._unit
        while not self._waiting:
            yield self._pushed
        valid, instruction = self._waiting[0]
        last = self.starts[-1] + 1 if self.starts else 0
        yield max(valid, last)
        self.heads.append(clock.now)
        wait, times = instruction.values["wait"], []
        for givers in ((Unit.LOAD,), (Unit.VECTOR,), tuple(Unit)):
            for giver in givers:
                while wait >> giver & 1 and not tokens.has(giver, unit):
                    yield tokens.given(unit)
            times.append(clock.now)
        self.granted.append((times[0], times[1], times[2]))
        while len(self._flight) >= IN_FLIGHT:
            yield self._landed

    def start(self) -> Decoded:
        """Start the head in the present cycle."""
        clock = self._clock
        _, instruction = self._waiting.popleft()
        self._tokens.take(self._unit, instruction.values["wait"])
        self.starts.append(clock.now)
        self.pcs.append(instruction.index)
        self._flight.append(instruction)
        clock.call(clock.now + 1, self._leave)
        return instruction

    def _leave(self) -> None:
        self._level -= 1
        self._moved.fire()

    def done(self, cycle: int) -> None:
        """The oldest instruction in flight is done in ``cycle``."""
        self.ends.append(cycle)
        self._clock.call(cycle + 1, self._land)

    def _land(self) -> None:
        instruction = self._flight.popleft()
        self._landed.fire()
        self._tokens.give(self._unit, instruction.values["signal"])


class Sequencer:
    """Fetches the program and hands it out in order; ``finished``: the cycle after its last."""

    def __init__(
        self,
        clock: Clock,
        config: Config,
        port: ReadPort,
        program: list[Decoded],
        address: int,
        queues: dict[Unit, Queue],
    ):
        self._clock, self._times, self._program, self._queues = (
            clock,
            Times.of(config),
            program,
            queues,
        )
        self._reader = Reader(clock, port, _FETCH, self._times.fetch_depth)
        beats = len(program) * self._times.instruction_beats
        job = Job(clock, [(address // config.axi_bytes, beats)], config)
        self._reader.add(job, BEGIN - 1)
        self.finished = BEGIN
        clock.resume(self._run(), 0)

    def _run(self) -> Process:
        clock, reader, beats = self._clock, self._reader, self._times.instruction_beats
        here, first, last = 0, 0, 0  # beats of the present burst not yet taken, and their cycles
        size = 0
        for instruction in self._program:
            need, pop = beats, clock.now - 1
            while need:
                if not here:
                    while not reader.arrivals:
                        yield reader.arrived
                    first, last, size = reader.arrivals.popleft()
                    here = size
                taken = min(here, need)
                here, need = here - taken, need - taken
                come = (
                    first if size == 1 else first + (last - first) * (size - here - 1) // (size - 1)
                )
                pop = max(pop + taken, come + BEAT)
                if not here:
                    yield pop
                    reader.release(size)
            yield pop + DECODE
            assert instruction.entry is not None
            queue = self._queues[instruction.entry.unit]
            while queue.full:
                yield queue.moved
            queue.push(instruction)
            self.finished = clock.now + 1
            yield clock.now + 1
