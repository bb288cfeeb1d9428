"""What an instruction is made of: fields that encode and decode themselves, rules, the header."""

import dataclasses
import enum
import functools
from collections.abc import Callable, Mapping

from hpu.hw.config import Config

__all__ = [
    "HEADER",
    "INSTRUCTION_BYTES",
    "Field",
    "Instruction",
    "Opcode",
    "Rule",
    "Unit",
    "choice",
    "i8",
    "i16",
    "i32",
    "u8",
    "u16",
    "u32",
    "u64",
]

INSTRUCTION_BYTES = 128


class Unit(enum.IntEnum):
    """Units with a queue of their own; the value is the unit's bit in ``wait`` and ``signal``."""

    LOAD = 0
    WEIGHTS = 1
    MATRIX = 2
    VECTOR = 3
    STORE = 4


class Opcode(enum.IntEnum):
    """Instruction codes. 0 is illegal, so that empty memory never runs."""

    LOAD = 1
    WEIGHTS = 2
    MATMUL = 3
    VECTOR = 4
    STORE = 5


Bound = int | Callable[[Config], int]


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of an instruction: place, type, domain and meaning.

    ``low`` and ``high`` are inclusive bounds, numbers or functions of the configuration; a value
    outside them is an illegal instruction. ``choices`` names the values of an enumeration.
    ``offset`` is in bytes.
    """

    name: str
    size: int
    doc: str
    signed: bool = False
    low: Bound | None = None
    high: Bound | None = None
    choices: type[enum.IntEnum] | None = None
    offset: int = 0

    def bounds(self, config: Config) -> tuple[int, int]:
        """Smallest and largest legal value for ``config``."""
        bits = 8 * self.size
        low = -(1 << (bits - 1)) if self.signed else 0
        high = (1 << (bits - self.signed)) - 1
        if self.choices is not None:
            high = max(self.choices)
        return _bound(self.low, config, low), _bound(self.high, config, high)

    def encode(self, value: int) -> int:
        """``value`` as an unsigned integer shifted to the field's place.

        Raises
        ------
        ValueError
            When the value does not fit the field's type.
        """
        bits = 8 * self.size
        low = -(1 << (bits - 1)) if self.signed else 0
        if not low <= value < low + (1 << bits):
            kind = "signed" if self.signed else "unsigned"
            raise ValueError(f"{self.name} must fit {bits} bits {kind}, not {value!r}")
        return (value & ((1 << bits) - 1)) << (8 * self.offset)

    def decode(self, word: int) -> int:
        """The field's value in an instruction taken as a little-endian integer."""
        bits = 8 * self.size
        value = (word >> (8 * self.offset)) & ((1 << bits) - 1)
        return value - (1 << bits) if self.signed and value >> (bits - 1) else value


def _bound(bound: Bound | None, config: Config, default: int) -> int:
    if bound is None:
        return default
    return bound(config) if callable(bound) else bound


def u8(name: str, doc: str, low: Bound | None = None, high: Bound | None = None) -> Field:
    return Field(name, 1, doc, low=low, high=high)


def i8(name: str, doc: str) -> Field:
    return Field(name, 1, doc, signed=True)


def u16(name: str, doc: str, low: Bound | None = None, high: Bound | None = None) -> Field:
    return Field(name, 2, doc, low=low, high=high)


def i16(name: str, doc: str) -> Field:
    return Field(name, 2, doc, signed=True)


def u32(name: str, doc: str, low: Bound | None = None, high: Bound | None = None) -> Field:
    return Field(name, 4, doc, low=low, high=high)


def i32(name: str, doc: str, low: Bound | None = None, high: Bound | None = None) -> Field:
    return Field(name, 4, doc, signed=True, low=low, high=high)


def u64(name: str, doc: str, low: Bound | None = None, high: Bound | None = None) -> Field:
    return Field(name, 8, doc, low=low, high=high)


def choice(name: str, kind: type[enum.IntEnum], doc: str) -> Field:
    return Field(name, 1, doc, choices=kind)


def _place(fields: tuple[Field, ...], start: int = 0) -> tuple[Field, ...]:
    placed = []
    for field in fields:
        start = -(-start // field.size) * field.size
        placed.append(dataclasses.replace(field, offset=start))
        start += field.size
    return tuple(placed)


_UNIT_MASK = (1 << len(Unit)) - 1

HEADER = _place(
    (
        choice("opcode", Opcode, "instruction code"),
        u8("wait", "bit u: take one token from unit u before starting", high=_UNIT_MASK),
        u8("signal", "bit u: give one token to unit u when done", high=_UNIT_MASK),
    )
)
_HEADER_END = 4


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction of the table.

    ``rules`` are conditions over several fields; each gives a sentence when broken, else ``None``.
    """

    opcode: Opcode
    unit: Unit
    doc: str
    own: tuple[Field, ...]
    rules: tuple["Rule", ...] = ()

    @property
    def name(self) -> str:
        """Mnemonic."""
        return self.opcode.name

    @functools.cached_property
    def fields(self) -> tuple[Field, ...]:
        """Header and own fields, each with its offset."""
        return HEADER + _place(self.own, _HEADER_END)

    def encode(self, values: Mapping[str, int]) -> bytes:
        """128 bytes of this instruction; fields that ``values`` leaves out are zero.

        Raises
        ------
        ValueError
            When a name is no field of this instruction, or a value does not fit its field.
        """
        unknown = set(values) - {field.name for field in self.fields}
        if unknown:
            raise ValueError(f"{self.name} has no field {sorted(unknown)[0]!r}")
        word = int(self.opcode)
        for field in self.fields[1:]:
            word |= field.encode(int(values.get(field.name, 0)))
        return word.to_bytes(INSTRUCTION_BYTES, "little")

    def decode(self, data: bytes) -> dict[str, int]:
        """Every field's value in 128 bytes of this instruction."""
        word = int.from_bytes(data, "little")
        return {field.name: field.decode(word) for field in self.fields}


@dataclasses.dataclass(frozen=True)
class Rule:
    """A condition over several fields, in words that hardware and software both evaluate.

    ``broken(values, config)`` works on Python integers and on Amaranth values alike: it uses only
    ``+ - * & | ==  != < >`` and never branches on a field.
    """

    doc: str
    broken: Callable[[Mapping, Config], object]
