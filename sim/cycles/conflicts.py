"""Who keeps whom from a segment of the unified buffer."""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

from hpu.hw.config import Config
from hpu.hw.isa import Operand, Source, Space
from hpu.hw.matrix_control import ADDRESS_STAGES
from hpu.sim.access import Tap, count_of, loop, matmul_taps, tile_words, window_taps
from hpu.sim.cycles.constants import Times
from hpu.sim.cycles.streams import stream_length, stream_steps, stream_words

__all__ = ["Conflicts", "Reads", "walk"]

#: First and last cycle in which something is taken.
Block = tuple[int, int]
#: Consecutive accesses, and the segments that they touch as a mask.
Runs = list[tuple[int, int]]
#: From a row, the earliest cycle of its read and a number of rows to the last one's read.
Reads = Callable[[int, int, int], int]


def walk(cycle: int, steps: int, blocks: Iterable[Block], pace: int = 1) -> int:
    """Cycle after ``steps`` steps of ``pace`` cycles each, from ``cycle`` on.

    No step begins in one of the ``blocks``.
    """
    for first, last in blocks:
        if first > cycle + (steps - 1) * pace:
            break
        if last >= cycle:
            begun = max(0, -(-(first - cycle) // pace))
            steps -= begun
            cycle = max(cycle + begun * pace, last + 1)
    return cycle + steps * pace


@dataclasses.dataclass
class _Reading:
    """Accesses ``runs``, one a cycle from ``first`` on, the last of them until ``last``."""

    first: int
    last: int
    runs: Runs

    _found: dict[int, list[Block]] = dataclasses.field(default_factory=dict)

    def blocks(self, mask: int) -> list[Block]:
        """When it reads a segment of ``mask``, from its first access on."""
        if mask not in self._found:
            found, place = self._found.setdefault(mask, []), 0
            for count, touched in self.runs:
                if touched & mask:
                    found.append((place, place + count - 1))
                place += count
        return self._found[mask]


def _blocks(readings: list[_Reading], mask: int, cycle: int) -> list[Block]:
    """When ``readings``, one after another, read a segment of ``mask``, from ``cycle`` on."""
    found: list[list[Block]] = []
    for reading in reversed(readings) if mask else ():
        if reading.last < cycle:
            break
        begin = reading.first
        found.append([(begin + first, begin + last) for first, last in reading.blocks(mask)])
    return [block for blocks in reversed(found) for block in blocks]


class Conflicts:
    """What the matrix unit takes, as far as it is known, and what the others must wait for."""

    def __init__(self, config: Config):
        self._times, self._pace = Times.of(config), config.vector_cycles
        self._words = config.ub_depth // config.ub_segments
        self._matrix: list[_Reading] = []
        self._vector: list[_Reading] = []
        self._writes: list[_Reading] = []

    def stream(self, values: dict[str, int], first: int, last: int) -> None:
        """The matrix unit issues the rows of MATMUL ``values`` from ``first`` to ``last``."""
        begin, end = first + ADDRESS_STAGES, last + ADDRESS_STAGES
        self._matrix.append(_Reading(begin, end, self._matmul(values)))

    def vector(self, values: dict[str, int]) -> Callable[[int], tuple[int, int]]:
        """From the earliest cycle of VECTOR's first step to its cycle, and the one after the last.

        The answers may grow as the matrix unit goes on.
        """
        runs = self._reads(values)
        reading = _Reading(0, 0, self._paced(runs))
        self._vector.append(reading)

        def finish(cycle: int) -> tuple[int, int]:
            begin, first = cycle, -1
            for steps, mask in runs:
                blocks = _blocks(self._matrix, mask, begin)
                first = walk(cycle, 1, blocks) - 1 if first < 0 else first
                cycle = walk(cycle, steps, blocks, self._pace)
            after = cycle - self._pace + 1
            reading.first, reading.last = begin, after - 1
            return first, after

        return finish

    def written(
        self, before: dict[str, int], after: int, values: dict[str, int], first: int
    ) -> int:
        """When VECTOR ``values`` on accumulators begins, that would in cycle ``first``.

        It follows ``before``, whose last accumulator was read just before cycle ``after``. A read
        of a word that is still to be written waits until nothing is under way: told as if the
        instruction had begun later.
        """
        if values["operand"] == Operand.NONE:
            return first
        write = self._times.vector_write
        late = min(count_of(before), -(-(write + 2 - (first - after)) // self._pace))
        if late <= 0:
            return first
        targets = loop(before, "d").words().ravel()[-late:]
        places = loop(values, "b").words().ravel()[: late + 1]
        for step, word in enumerate(places.tolist()):
            # An element is under way until ``write`` cycles after its own read.
            due = after - 1 + write - self._pace * np.arange(late - 1, -1, -1)
            if (due[targets == word] >= first - 2 + step * self._pace).any():
                done = max(after - 1, first + (step - 1) * self._pace if step else 0) + write
                return done + 2 - step * self._pace
        return first

    def writes(self, values: dict[str, int], first: int) -> None:
        """VECTOR ``values`` writes its elements, were it never held, from step ``first`` on."""
        steps = _steps(values)
        box, words = loop(values, "d"), self._words
        low, high = box.extent()
        if values["stream"]:
            steps = stream_length(values)
            masks = np.zeros(steps, np.int64)
            masks[stream_steps(values)] = np.left_shift(1, box.words().ravel() // words)
            self._written(first, _encoded(masks))
            return
        if low // words == high // words and steps == 1:
            runs = [(box.size, 1 << low // words)]
        else:
            masks = np.zeros((box.size, steps), np.int64)
            masks[:, -1] = np.left_shift(1, box.words().ravel() // words)
            runs = _encoded(masks.ravel())
        self._written(first, runs)

    def _written(self, first: int, steps: Runs) -> None:
        runs = self._paced(steps)
        self._writes.append(_Reading(first, first + sum(count for count, _ in runs) - 1, runs))

    def _paced(self, steps: Runs) -> Runs:
        """Runs of the vector unit's cycles, of those of its steps."""
        idle = self._pace - 1
        if not idle:
            return steps
        runs: Runs = []
        for count, mask in steps:
            runs += [(1, mask), (idle, 0)] * count if mask else [(count * self._pace, 0)]
        return runs

    def load(self, values: dict[str, int]) -> Callable[[int, int, int], int]:
        """From a row of LOAD, the cycle of its write and a number of rows to the last's write."""
        box, words = loop(values, "d"), self._words
        low, high = box.extent()
        one = 1 << low // words if low // words == high // words else 0
        flat = None if one else (box.words() // words).ravel()

        def written(row: int, cycle: int, rows: int) -> int:
            if values["space"] != Space.UB:
                return cycle + rows - 1
            mask = one or 1 << int(flat[min(row, box.size - 1)])  # type: ignore[index]
            return walk(cycle, rows, _blocks(self._writes, mask, cycle)) - 1

        return written

    def store(self, values: dict[str, int]) -> Reads:
        """When rows of STORE are read."""
        box, words = loop(values, "a"), self._words
        low, high = box.extent()
        one = 1 << low // words if low // words == high // words else 0
        readings = (self._matrix, self._vector)
        flat = None if one else (box.words() // words).ravel()

        def accepted(row: int, cycle: int, rows: int) -> int:
            mask = one or 1 << int(flat[row])  # type: ignore[index]
            blocks = [block for r in readings for block in _blocks(r, mask, cycle)]
            return walk(cycle, rows, sorted(blocks)) - 1

        return accepted

    def tile(self, values: dict[str, int]) -> Callable[[int], int]:
        """From the first read of a WEIGHTS in the unified buffer to the cycle of its last.

        The answer may grow as the matrix unit and the vector unit go on.
        """
        segments = tile_words(values).words() // self._words
        runs = _encoded(np.left_shift(1, segments))

        def finish(cycle: int) -> int:
            for rows, mask in runs:
                readings = (self._matrix, self._vector)
                blocks = [block for r in readings for block in _blocks(r, mask, cycle)]
                cycle = walk(cycle, rows, sorted(blocks))
            return cycle - 1

        return finish

    def _reads(self, values: dict[str, int]) -> Runs:
        """The steps of a VECTOR and what they read of the unified buffer."""
        if values["stream"]:
            segments = stream_words(values).words().ravel() // self._words
            masks = np.zeros(stream_length(values), np.int64)
            masks[: segments.size] = np.left_shift(1, segments)
            return _encoded(masks)
        taps = list(window_taps(values)) if values["source"] == Source.UB else []
        steps = _steps(values)
        if values["operand"] != Operand.NONE:
            whole = (0, values["y_count"]), (0, values["x_count"])
            taps.append(Tap(steps - 1, loop(values, "b"), *whole))
        return self._runs(taps, values, steps)

    def _matmul(self, values: dict[str, int]) -> Runs:
        taps = [dataclasses.replace(tap, index=0) for tap in matmul_taps(values)]
        return self._runs(taps, values, 1, several=True)

    def _runs(
        self, taps: list[Tap], values: dict[str, int], steps: int, several: bool = False
    ) -> Runs:
        """Runs of steps that touch the same segments; a tap's index is its step in an element.

        ``several``: the taps belong to one step, so that one of them is enough to touch a segment.
        """
        count = count_of(values)
        if not taps:
            return [(count * steps, 0)]
        extents = [tap.box.extent() for tap in taps]
        low = min(low for low, _ in extents) // self._words
        high = max(high for _, high in extents) // self._words
        whole = sum(tap.whole(values) for tap in taps)
        if low == high and whole >= (1 if several else steps):
            return [(count * steps, 1 << low)]
        masks = np.zeros((values["n_count"], values["y_count"], values["x_count"], steps), np.int64)
        for tap in taps:
            segments = tap.box.words() // self._words
            masks[:, slice(*tap.ys), slice(*tap.xs), tap.index] |= np.left_shift(1, segments)
        return _encoded(masks.ravel())


def _steps(values: dict[str, int]) -> int:
    """Steps of one element of a VECTOR."""
    if values["source"] == Source.ACC:
        return 1
    return values["ky_count"] * values["kx_count"] + (values["operand"] != Operand.NONE)


def _encoded(masks: np.ndarray) -> Runs:
    """``masks`` as runs of equal ones."""
    ends = np.flatnonzero(np.diff(masks, append=-1)) + 1
    counts = np.diff(ends, prepend=0)
    return list(zip(counts.tolist(), masks[ends - 1].tolist(), strict=True))
