"""DRAM traffic of a program's instructions, read from their fields."""

import numpy as np

from hpu.hw.config import Config
from hpu.hw.isa import BY_NAME, INSTRUCTION_BYTES, Instruction
from hpu.runtime.program import Program

__all__ = ["read_bytes", "written_bytes"]


def read_bytes(program: Program, config: Config) -> np.ndarray:
    """Bytes that each instruction reads from DRAM (int64 [instructions]), without the fetch."""
    words = _words(program)
    loads = _rows(words, BY_NAME["LOAD"], ("n_count", "y_count", "x_count"))
    weights = _rows(words, BY_NAME["WEIGHTS"], ("rows",))
    return (loads + weights) * config.group


def written_bytes(program: Program, config: Config) -> np.ndarray:
    """Bytes that each instruction writes to DRAM (int64 [instructions])."""
    stores = _rows(_words(program), BY_NAME["STORE"], ("n_count", "y_count", "x_count"))
    return stores * config.group


def _words(program: Program) -> np.ndarray:
    return np.frombuffer(program.instructions, np.uint8).reshape(-1, INSTRUCTION_BYTES)


def _rows(words: np.ndarray, entry: Instruction, counts: tuple[str, ...]) -> np.ndarray:
    """Chunks that instructions of one kind move; 0 for the others."""
    result = np.where(words[:, 0] == entry.opcode, _field(words, entry, "width"), 0)
    for name in counts:
        result = result * _field(words, entry, name)
    return result


def _field(words: np.ndarray, entry: Instruction, name: str) -> np.ndarray:
    """An unsigned field of every instruction, as if all were of this kind."""
    field = next(field for field in entry.fields if field.name == name)
    data = words[:, field.offset : field.offset + field.size].astype(np.int64)
    return data @ (1 << (8 * np.arange(field.size, dtype=np.int64)))
