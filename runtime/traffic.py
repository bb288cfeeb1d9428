"""Work of a program's instructions, read from their fields: DRAM traffic, rows of the array."""

import numpy as np

from hpu.hw.config import Config
from hpu.hw.isa import BY_NAME, INSTRUCTION_BYTES, Instruction, Space
from hpu.runtime.program import Program

__all__ = [
    "buffer_reads",
    "buffer_writes",
    "bus_bytes",
    "instruction_units",
    "matrix_rows",
    "moved_rows",
    "new_tiles",
    "read_bytes",
    "written_bytes",
]

_COUNTS = ("n_count", "y_count", "x_count")
#: Instructions that move rows of DRAM, and the fields whose product is how many.
_TRANSFERS = {"LOAD": _COUNTS, "WEIGHTS": ("rows",), "STORE": _COUNTS}


def read_bytes(program: Program, config: Config) -> np.ndarray:
    """Bytes that each instruction reads from DRAM (int64 [instructions]), without the fetch."""
    words = _words(program)
    loads = _rows(words, BY_NAME["LOAD"], _COUNTS)
    weights = _rows(words, BY_NAME["WEIGHTS"], ("rows",))
    return (loads + weights) * config.group


def written_bytes(program: Program, config: Config) -> np.ndarray:
    """Bytes that each instruction writes to DRAM (int64 [instructions])."""
    stores = _rows(_words(program), BY_NAME["STORE"], _COUNTS)
    return stores * config.group


def bus_bytes(program: Program, config: Config) -> np.ndarray:
    """Bytes of DRAM bandwidth that each instruction takes: rows at their pitch (int64)."""
    words = _words(program)
    pitch = np.array([0, *map(config.pitch_chunks, range(1, config.groups + 1))])
    total = np.zeros(len(words), np.int64)
    for name, counts in _TRANSFERS.items():
        width = np.minimum(_field(words, BY_NAME[name], "width"), config.groups)
        total += _elements(words, BY_NAME[name], counts) * pitch[width] * config.group
    return total


def moved_rows(program: Program) -> np.ndarray:
    """Rows that each instruction moves from or to DRAM (int64)."""
    words = _words(program)
    counts = (_elements(words, BY_NAME[name], fields) for name, fields in _TRANSFERS.items())
    return np.sum(list(counts), axis=0)


def matrix_rows(program: Program) -> np.ndarray:
    """Rows that each instruction streams through the array, one a cycle (int64)."""
    return _elements(_words(program), BY_NAME["MATMUL"], _COUNTS)


def new_tiles(program: Program) -> np.ndarray:
    """Weight tiles that each instruction moves on to: 1 or 0 (int64)."""
    return _elements(_words(program), BY_NAME["MATMUL"], ("new_weights",))


def buffer_writes(program: Program) -> np.ndarray:
    """Whether each instruction writes the unified buffer (bool)."""
    words, load = _words(program), BY_NAME["LOAD"]
    to_buffer = (words[:, 0] == load.opcode) & (_field(words, load, "space") == Space.UB)
    return to_buffer | (words[:, 0] == BY_NAME["VECTOR"].opcode)


def buffer_reads(program: Program) -> np.ndarray:
    """Whether each instruction may read the unified buffer (bool)."""
    readers = [BY_NAME[name].opcode for name in ("MATMUL", "VECTOR", "STORE")]
    return np.isin(_words(program)[:, 0], readers)


def instruction_units(program: Program) -> np.ndarray:
    """The unit of every instruction (int64)."""
    table = np.full(256, -1)
    for entry in BY_NAME.values():
        table[entry.opcode] = entry.unit
    return table[_words(program)[:, 0]]


def _words(program: Program) -> np.ndarray:
    return np.frombuffer(program.instructions, np.uint8).reshape(-1, INSTRUCTION_BYTES)


def _rows(words: np.ndarray, entry: Instruction, counts: tuple[str, ...]) -> np.ndarray:
    """Chunks that instructions of one kind move; 0 for the others."""
    return _field(words, entry, "width") * _elements(words, entry, counts)


def _elements(words: np.ndarray, entry: Instruction, names: tuple[str, ...]) -> np.ndarray:
    """Product of the named fields of instructions of one kind; 0 for the others."""
    result = (words[:, 0] == entry.opcode).astype(np.int64)
    for name in names:
        result = result * _field(words, entry, name)
    return result


def _field(words: np.ndarray, entry: Instruction, name: str) -> np.ndarray:
    """An unsigned field of every instruction, as if all were of this kind."""
    field = next(field for field in entry.fields if field.name == name)
    data = words[:, field.offset : field.offset + field.size].astype(np.int64)
    return data @ (1 << (8 * np.arange(field.size, dtype=np.int64)))
