"""A program's bytes as decoded instructions, all of one opcode at a time.

What is legal is defined by :func:`hpu.hw.isa.violations`; this says the same of thousands of
instructions at once.
"""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from hpu.hw import isa
from hpu.hw.config import Config

__all__ = ["Decoded", "decode", "field_arrays"]


@dataclasses.dataclass(frozen=True)
class Decoded:
    """One instruction of a program; ``entry`` is None, and ``values`` empty, when it is illegal."""

    index: int
    entry: isa.Instruction | None
    values: Mapping[str, int]
    data: bytes

    @property
    def name(self) -> str:
        """Mnemonic."""
        return "illegal" if self.entry is None else self.entry.name


def decode(program: bytes, config: Config) -> list[Decoded]:
    """Every instruction of ``program``, in order.

    Raises
    ------
    ValueError
        When the length is not a multiple of 128.
    """
    if len(program) % isa.INSTRUCTION_BYTES:
        raise ValueError(f"program must be a multiple of 128 bytes, not {len(program)!r}")
    words = np.frombuffer(program, np.uint8).reshape(-1, isa.INSTRUCTION_BYTES)
    decoded = [_illegal(words, index) for index in range(len(words))]
    for entry in isa.INSTRUCTIONS:
        places = np.flatnonzero(words[:, 0] == int(entry.opcode))
        if places.size:
            _decode_entry(words, places, entry, config, decoded)
    return decoded


def _illegal(words: np.ndarray, index: int) -> Decoded:
    return Decoded(index, None, {}, words[index].tobytes())


def _decode_entry(
    words: np.ndarray,
    places: np.ndarray,
    entry: isa.Instruction,
    config: Config,
    decoded: list[Decoded],
) -> None:
    own = np.ascontiguousarray(words[places])
    legal = _legal(own, entry, config)
    names = [field.name for field in entry.fields]
    columns = [own.view(_dtype(entry.opcode))[name][:, 0].tolist() for name in names]
    for place, good, *row in zip(places.tolist(), legal.tolist(), *columns, strict=True):
        if good:
            values = dict(zip(names, row, strict=True))
            decoded[place] = dataclasses.replace(decoded[place], entry=entry, values=values)


@functools.cache
def _dtype(opcode: isa.Opcode) -> np.dtype:
    fields = isa.BY_OPCODE[opcode].fields
    return np.dtype(
        {
            "names": [field.name for field in fields],
            "formats": [f"<{'i' if field.signed else 'u'}{field.size}" for field in fields],
            "offsets": [field.offset for field in fields],
            "itemsize": isa.INSTRUCTION_BYTES,
        }
    )


def field_arrays(words: np.ndarray, entry: isa.Instruction) -> dict[str, np.ndarray]:
    """Every field of instructions (uint8 [count, 128]) of one opcode.

    int64 each; fields of 64 bits are uint64.
    """
    table = np.ascontiguousarray(words).view(_dtype(entry.opcode))
    return {
        field.name: table[field.name][:, 0].astype(np.uint64 if field.size == 8 else np.int64)
        for field in entry.fields
    }


def _legal(words: np.ndarray, entry: isa.Instruction, config: Config) -> np.ndarray:
    values = field_arrays(words, entry)
    legal: np.ndarray = np.logical_not(words[:, _unused(entry.opcode)].any(axis=1))
    for field in entry.fields[1:]:
        low, high = field.bounds(config)
        legal &= (values[field.name] >= low) & (values[field.name] <= high)
    for rule in entry.rules:
        legal &= ~np.asarray(rule.broken(values, config), bool)
    return legal


@functools.cache
def _unused(opcode: isa.Opcode) -> np.ndarray:
    """Indices of the bytes that belong to no field."""
    used = np.zeros(isa.INSTRUCTION_BYTES, bool)
    for field in isa.BY_OPCODE[opcode].fields:
        used[field.offset : field.offset + field.size] = True
    return np.flatnonzero(~used)
