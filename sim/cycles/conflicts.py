"""Who keeps whom from a segment of the unified buffer or from a half of the accumulators."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from hpu.hw.config import Config
from hpu.hw.isa import Operand, Source
from hpu.hw.matrix_control import ADDRESS_STAGES
from hpu.sim.access import Box, count_of, loop, matmul_taps, window_taps
from hpu.sim.cycles.constants import Times

__all__ = ["Conflicts", "Reads", "walk"]

#: First and last cycle in which something is taken.
Block = tuple[int, int]
#: Consecutive accesses, and the segments that they touch as a mask.
Runs = list[tuple[int, int]]
#: From a row and the cycle in which it is read at the earliest to when it is accepted.
Reads = Callable[[int, int], int]


def walk(cycle: int, steps: int, blocks: Iterable[Block]) -> int:
    """Cycle after ``steps`` steps, one a cycle from ``cycle`` on, none in the ``blocks``."""
    for first, last in blocks:
        if first >= cycle + steps:
            break
        if last >= cycle:
            steps -= max(0, first - cycle)
            cycle = last + 1
    return cycle + steps


class Conflicts:
    """What the matrix unit takes, as far as it is known, and what the others must wait for."""

    def __init__(self, config: Config):
        self._config, self._times = config, Times.of(config)
        self._words = config.ub_depth // config.ub_segments
        self._streams: list[tuple[int, int, Runs]] = []
        self._adds: tuple[list[Block], list[Block]] = ([], [])

    def stream(self, values: dict[str, int], first: int, last: int) -> None:
        """The matrix unit issues the rows of MATMUL ``values`` from ``first`` to ``last``."""
        self._streams.append((first, last, self._matmul(values)))
        if values["accumulate"]:
            half, times = values["acc"] // (self._config.acc_depth // 2), self._times
            self._adds[half].append((first + times.add_first, last + times.add_last))

    def vector(self, values: dict[str, int]) -> Callable[[int], int]:
        """From the cycle of VECTOR's first read to the cycle after its last.

        The answer may grow as the matrix unit goes on.
        """
        runs = self._reads(values)
        adds: Sequence[Block] = ()
        if values["source"] == Source.ACC:
            adds = self._adds[values["a_base"] // (self._config.acc_depth // 2)]

        def finish(cycle: int) -> int:
            begin = cycle
            for steps, mask in runs:
                blocks = self._blocks(mask, begin)
                late = [block for block in adds if block[1] >= begin]
                cycle = walk(cycle, steps, sorted(blocks + late))
            return cycle

        return finish

    def store(self, values: dict[str, int]) -> Reads:
        """When rows of STORE are read."""
        box, words = loop(values, "a"), self._words
        low, high = box.extent()
        one = 1 << low // words if low // words == high // words else 0
        flat = None if one else (box.words() // words).ravel()

        def accepted(row: int, cycle: int) -> int:
            mask = one or 1 << int(flat[row])  # type: ignore[index]
            return walk(cycle, 1, self._blocks(mask, cycle)) - 1

        return accepted

    def _blocks(self, mask: int, cycle: int) -> list[Block]:
        """When the matrix unit reads a segment of ``mask``, from ``cycle`` on."""
        blocks: list[Block] = []
        if not mask:
            return blocks
        for first, last, runs in reversed(self._streams):
            if last + ADDRESS_STAGES < cycle:
                break
            row, found = first + ADDRESS_STAGES, []
            for count, touched in runs:
                if touched & mask:
                    found.append((row, row + count - 1))
                row += count
            blocks = found + blocks
        return blocks

    def _reads(self, values: dict[str, int]) -> Runs:
        """The steps of a VECTOR and what they read of the unified buffer."""
        count, boxes = count_of(values), []
        steps = count
        if values["source"] == Source.UB:
            boxes += [tap.box for tap in window_taps(values)]
            steps *= values["ky_count"] * values["kx_count"]
        if values["operand"] == Operand.ADD:
            boxes.append(loop(values, "b"))
            steps += count if values["source"] == Source.UB else 0
        return self._runs(boxes, count, steps)

    def _matmul(self, values: dict[str, int]) -> Runs:
        count = count_of(values)
        return self._runs([tap.box for tap in matmul_taps(values)], count, count)

    def _runs(self, boxes: list[Box], count: int, steps: int) -> Runs:
        """``steps`` steps over ``count`` elements, in runs that touch the same segments.

        Boxes cut by padding count as if they were spread over all elements.
        """
        extents = [box.extent() for box in boxes]
        low = min((low for low, _ in extents), default=0) // self._words
        high = max((high for _, high in extents), default=0) // self._words
        if low == high or not boxes:
            return [(steps, 1 << low if boxes else 0)]
        masks = np.zeros(count, np.int64)
        for box in boxes:
            if box.size:
                segments = (box.words() // self._words).ravel()
                place = np.arange(count) * box.size // count
                masks |= np.left_shift(1, segments[place])
        ends = np.flatnonzero(np.diff(masks, append=-1)) + 1
        return [
            (int(end - begin) * (steps // count), int(masks[end - 1]))
            for begin, end in zip([0, *ends[:-1]], ends, strict=True)
        ]
