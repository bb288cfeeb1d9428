"""Race checker: do the tokens of a program order every pair of conflicting accesses?

Once done, an instruction is before whatever its unit starts later; whatever takes a token that it
gave (the k-th token given over a channel is the k-th taken); and, for WEIGHTS, the MATMUL that
takes the tile. A clock says for every instruction how many of each unit are surely done when it
starts. An access must come after the last conflicting access of every other unit.
"""

from collections import deque
from collections.abc import Mapping

import numpy as np

from hpu.hw.config import Config
from hpu.hw.isa import Operand, Source, Unit
from hpu.sim.access import Box, loop, window_taps
from hpu.sim.decode import Decoded, decode
from hpu.sim.footprint import Footprint, Memory, footprint
from hpu.sim.schedule import Schedule

__all__ = ["RaceError", "check", "own_race"]

Values = Mapping[str, int]


class RaceError(Exception):
    """Two conflicting accesses that nothing orders."""


def check(instructions: bytes, config: Config) -> None:
    """Refuse a program whose result may depend on timing.

    What comes after an illegal instruction, a deadlock or a token too many is not looked at.

    Raises
    ------
    RaceError
        Naming both instructions and the word.
    """
    program = decode(instructions, config)
    order = Schedule(program, config).order
    footprints = _Footprints(config)
    own = [footprints.of(instruction) for instruction in order]
    history = _History(config, own)
    clocks = _Clocks()
    for instruction, accessed in zip(order, own, strict=True):
        history.check(instruction, accessed, clocks.start(instruction))
        if instruction.name == "VECTOR":
            _check_own_loop(instruction, accessed)
        history.add(instruction, accessed, clocks.done(instruction))


class _Footprints:
    """Footprints, computed once for all instructions that differ in their tokens only."""

    def __init__(self, config: Config):
        self._config = config
        self._known: dict[bytes, Footprint] = {}

    def of(self, instruction: Decoded) -> Footprint:
        key = instruction.data[:1] + instruction.data[3:]
        if key not in self._known:
            self._known[key] = footprint(instruction.values, self._config)
        return self._known[key]


class _Clocks:
    """Vector clocks: ``clock[unit]`` instructions of the unit are done for certain."""

    def __init__(self) -> None:
        self._units = {unit: np.zeros(len(Unit), np.int64) for unit in Unit}
        self._channels: dict[tuple[Unit, Unit], deque[np.ndarray]] = {
            (giver, taker): deque() for giver in Unit for taker in Unit
        }
        self._tiles: deque[np.ndarray] = deque()

    def start(self, instruction: Decoded) -> np.ndarray:
        """The clock at the instruction's start; takes its tokens and its tile."""
        unit = _unit(instruction)
        clock = self._units[unit]
        for giver in Unit:
            if instruction.values["wait"] >> giver & 1:
                np.maximum(clock, self._channels[giver, unit].popleft(), out=clock)
        if instruction.values.get("new_weights"):
            np.maximum(clock, self._tiles.popleft(), out=clock)
        return clock

    def done(self, instruction: Decoded) -> int:
        """The instruction's number in its unit, from 1; gives its tokens and its tile."""
        unit = _unit(instruction)
        clock = self._units[unit]
        clock[unit] += 1
        for taker in Unit:
            if instruction.values["signal"] >> taker & 1:
                self._channels[unit, taker].append(clock.copy())
        if unit == Unit.WEIGHTS:
            self._tiles.append(clock.copy())
        return int(clock[unit])


def _unit(instruction: Decoded) -> Unit:
    assert instruction.entry is not None
    return instruction.entry.unit


class _History:
    """The last write and the last read of every word by every unit, as numbers in the unit."""

    def __init__(self, config: Config, footprints: list[Footprint]):
        written = [f.writes[Memory.DRAM] for f in footprints if Memory.DRAM in f.writes]
        #: Only DRAM chunks that are written can conflict; they are numbered in ascending order.
        self._chunks = np.unique(np.concatenate(written)) if written else np.zeros(0, np.int64)
        sizes = {
            Memory.UB: config.ub_depth,
            Memory.ACC: config.acc_depth,
            Memory.PARAM: config.param_sets,
            Memory.TABLE: config.tables,
            Memory.DRAM: self._chunks.size,
        }
        self._writes = {memory: _numbers(size) for memory, size in sizes.items()}
        self._reads = {memory: _numbers(size) for memory, size in sizes.items()}
        self._index: dict[Unit, list[Decoded]] = {unit: [] for unit in Unit}

    def _rows(self, memory: Memory, words: np.ndarray) -> np.ndarray | slice:
        if memory is Memory.DRAM:
            places = np.searchsorted(self._chunks, words)
            known = places < self._chunks.size
            words = places[known][self._chunks[places[known]] == words[known]]
        if words.size and words[-1] - words[0] + 1 == words.size:
            return slice(int(words[0]), int(words[-1]) + 1)
        return words

    def check(self, instruction: Decoded, accessed: Footprint, clock: np.ndarray) -> None:
        """Refuse an access that does not come after every conflicting one before it."""
        for memory, words in accessed.reads.items():
            self._compare(instruction, "reads", memory, words, self._writes, "written", clock)
        for memory, words in accessed.writes.items():
            self._compare(instruction, "writes", memory, words, self._writes, "written", clock)
            self._compare(instruction, "writes", memory, words, self._reads, "read", clock)

    def _compare(
        self,
        instruction: Decoded,
        does: str,
        memory: Memory,
        words: np.ndarray,
        past: dict[Memory, np.ndarray],
        did: str,
        clock: np.ndarray,
    ) -> None:
        rows = self._rows(memory, words)
        for unit in Unit:
            if unit == _unit(instruction) or not self._index[unit]:
                continue
            numbers = past[memory][unit][rows]
            late = numbers > clock[unit]
            if late.any():
                first = int(np.argmax(late))
                other = self._index[unit][int(numbers[first]) - 1]
                raise RaceError(
                    f"instruction {instruction.index} ({instruction.name}) {does} "
                    f"{memory.value} {self._word(memory, rows, first)}, {did} by instruction "
                    f"{other.index} ({other.name}), and no token orders the two"
                )

    def _word(self, memory: Memory, rows: np.ndarray | slice, place: int) -> int:
        row = rows.start + place if isinstance(rows, slice) else int(rows[place])
        return int(self._chunks[row]) if memory is Memory.DRAM else row

    def add(self, instruction: Decoded, accessed: Footprint, number: int) -> None:
        """Enter the instruction, the ``number``-th of its unit."""
        unit = _unit(instruction)
        self._index[unit].append(instruction)
        for memory, words in accessed.reads.items():
            self._reads[memory][unit][self._rows(memory, words)] = number
        for memory, words in accessed.writes.items():
            self._writes[memory][unit][self._rows(memory, words)] = number


def _numbers(size: int) -> np.ndarray:
    return np.zeros((len(Unit), size), np.int32)


def _check_own_loop(instruction: Decoded, accessed: Footprint) -> None:
    nothing = np.zeros(0, np.int64)
    read, written = (side.get(Memory.UB, nothing) for side in (accessed.reads, accessed.writes))
    if not np.intersect1d(read, written, assume_unique=True).size:
        return
    word = own_race(instruction.values)
    if word is not None:
        raise RaceError(
            f"instruction {instruction.index} (VECTOR) reads unified-buffer word {word}, "
            "which an earlier element of its own loop wrote"
        )


def own_race(values: Values) -> int | None:
    """A word that a VECTOR reads after an earlier element of its own loop wrote it, or None."""
    words, first = np.unique(loop(values, "d").words(), return_index=True)
    for box, elements in _own_reads(values, _elements(values)):
        read = box.words()
        places = np.searchsorted(words, read)
        places[places == words.size] = 0
        late = (words[places] == read) & (first[places] < elements)
        if late.any():
            return int(read[late][0])
    return None


def _elements(values: Values) -> np.ndarray:
    """Each element's number in the loop, [n, y, x]."""
    shape = (values["n_count"], values["y_count"], values["x_count"])
    return np.arange(np.prod(shape)).reshape(shape)


def _own_reads(values: Values, elements: np.ndarray) -> list[tuple[Box, np.ndarray]]:
    """Boxes that a VECTOR reads, each with the elements that do."""
    reads = []
    if values["source"] == Source.UB:
        for tap in window_taps(values):
            reads.append((tap.box, elements[:, slice(*tap.ys), slice(*tap.xs)]))
    if values["operand"] != Operand.NONE:
        reads.append((loop(values, "b"), elements))
    return reads
