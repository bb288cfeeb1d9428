"""Which words of each memory an instruction reads and writes.

Words are what the ordering rules speak of: unified-buffer and accumulator words, parameter sets,
tables, DRAM chunks. The weight FIFO is not a memory here: it orders its two units by itself.
"""

import dataclasses
import enum
from collections.abc import Callable, Mapping

import numpy as np

from hpu.hw.config import Config
from hpu.hw.isa import Opcode, Operand, Reduce, Source, Space, TileSource
from hpu.sim.access import (
    Box,
    count_of,
    dram_rows,
    loop,
    matmul_taps,
    tile_words,
    weight_rows,
    window_taps,
)

__all__ = ["Footprint", "Memory", "footprint"]

Values = Mapping[str, int]
#: Widest range of words that is marked word by word rather than sorted.
_DENSE = 1 << 24


class Memory(enum.Enum):
    """Memories that more than one unit accesses, by the unit of their words."""

    UB = "unified-buffer word"
    ACC = "accumulator word"
    PARAM = "parameter set"
    TABLE = "table"
    DRAM = "DRAM chunk"


@dataclasses.dataclass(frozen=True)
class Footprint:
    """Unique words in ascending order, int64, by memory; memories not accessed are absent."""

    reads: dict[Memory, np.ndarray]
    writes: dict[Memory, np.ndarray]


def footprint(values: Values, config: Config) -> Footprint:
    """The words that an instruction, decoded as ``values``, reads and writes.

    On-chip addresses are taken modulo 2²⁴, and those beyond the memory are left out: the machine
    faults rather than access them. DRAM chunks are not bounded here.
    """
    reads, writes = _OPERANDS[Opcode(values["opcode"])](values, config)
    return Footprint(_words(reads, config), _words(writes, config))


Operands = list[tuple[Memory, list[Box]]]


def _load(values: Values, config: Config) -> tuple[Operands, Operands]:
    target = {Space.UB: Memory.UB, Space.PARAM: Memory.PARAM, Space.TABLE: Memory.TABLE}
    writes = [(target[Space(values["space"])], [loop(values, "d")])]
    return [(Memory.DRAM, [_dram(dram_rows(values, config), values["width"], config)])], writes


def _weights(values: Values, config: Config) -> tuple[Operands, Operands]:
    if values["source"] == TileSource.UB:
        return [(Memory.UB, [tile_words(values)])], []
    return [(Memory.DRAM, [_dram(weight_rows(values, config), values["width"], config)])], []


def _store(values: Values, config: Config) -> tuple[Operands, Operands]:
    reads = [(Memory.UB, [loop(values, "a")])]
    return reads, [(Memory.DRAM, [_dram(dram_rows(values, config), values["width"], config)])]


def _matmul(values: Values, config: Config) -> tuple[Operands, Operands]:
    written = [(Memory.ACC, [Box(values["acc"], (count_of(values),), (1,))])]
    reads: Operands = [(Memory.UB, [tap.box for tap in matmul_taps(values)])]
    return reads + (written if values["accumulate"] else []), written


def _vector(values: Values, config: Config) -> tuple[Operands, Operands]:
    reads: Operands = []
    ub: list[Box] = []
    if values["source"] == Source.ACC:
        reads.append((Memory.ACC, [Box(values["a_base"], (count_of(values),), (1,))]))
    else:
        ub += [tap.box for tap in window_taps(values)]
    if values["operand"] != Operand.NONE:
        ub.append(loop(values, "b"))
    reads.append((Memory.PARAM, _parameters(values)))
    if values["use_table"]:
        reads.append((Memory.TABLE, [Box(256 * values["table"], (1,), (1,))]))
    return [*reads, (Memory.UB, ub)], [(Memory.UB, [loop(values, "d")])]


def _parameters(values: Values) -> list[Box]:
    """Rows of the parameter sets that a VECTOR reads."""
    rows = []
    if values["reduce"] == Reduce.DOT:
        taps = values["ky_count"] * values["kx_count"]
        rows.append(Box(8 * values["weights"], (taps,), (1,)))
    if values["requantise"]:
        rows.append(Box(8 * values["params"], (1,), (1,)))
    return rows


_OPERANDS = {
    Opcode.LOAD: _load,
    Opcode.WEIGHTS: _weights,
    Opcode.MATMUL: _matmul,
    Opcode.VECTOR: _vector,
    Opcode.STORE: _store,
}


def _dram(rows: Box, width: int, config: Config) -> Box:
    """Chunk addresses of ``width`` chunks of every row; rows begin at whole chunks."""
    strides = tuple(stride // config.group for stride in rows.strides)
    return Box(rows.base // config.group, (*rows.counts, width), (*strides, 1))


def _words(operands: Operands, config: Config) -> dict[Memory, np.ndarray]:
    found = {}
    for memory, boxes in operands:
        words = _unique(memory, boxes, config)
        if words.size:
            found[memory] = words
    return found


_DEPTH: dict[Memory, Callable[[Config], int]] = {
    Memory.UB: lambda config: config.ub_depth,
    Memory.ACC: lambda config: config.acc_depth,
    Memory.PARAM: lambda config: 8 * config.param_sets,
    Memory.TABLE: lambda config: 256 * config.tables,
}
#: Addresses in one word, where a word is more than one address.
_ROWS = {Memory.PARAM: 8, Memory.TABLE: 256}


def _unique(memory: Memory, boxes: list[Box], config: Config) -> np.ndarray:
    """Words of ``memory`` in ``boxes``, ascending and unique."""
    if memory is Memory.DRAM or all(box.inside(_DEPTH[memory](config)) for box in boxes):
        words = _union(boxes)
    else:
        words = np.unique(np.concatenate([box.words().ravel() for box in boxes]))
        words = words[words < _DEPTH[memory](config)]
    rows = _ROWS.get(memory, 1)
    return words if rows == 1 else np.unique(words // rows)


def _union(boxes: list[Box]) -> np.ndarray:
    """Addresses of ``boxes``, ascending and unique; nothing is reduced."""
    extents = [box.extent() for box in boxes]
    if not extents:
        return np.zeros(0, np.int64)
    low, high = min(low for low, _ in extents), max(high for _, high in extents)
    if high - low >= _DENSE:
        return np.unique(np.concatenate([box.addresses().ravel() for box in boxes]))
    if any(box.size == high - low + 1 and box.distinct() for box in boxes):
        return np.arange(low, high + 1, dtype=np.int64)
    marks = np.zeros(high - low + 1, bool)
    for box in boxes:
        dataclasses.replace(box, base=box.base - low).view(marks)[...] = True
    return np.flatnonzero(marks) + low
