"""Programs as text: one instruction a line, ``MNEMONIC field=value …``, comments from ``#``.

Fields left out are zero. Values are decimal or 0x numbers; those of an enumeration are its names,
and those of ``wait`` and ``signal`` unit names joined by ``+``::

    LOAD wait=store signal=matrix n_count=1 y_count=8 x_count=8 dram=0x1000 space=UB width=1 …
"""

import enum

from hpu.hw.config import Config
from hpu.hw.isa import (
    BY_NAME,
    BY_OPCODE,
    INSTRUCTION_BYTES,
    Field,
    Instruction,
    Unit,
    violations,
)

__all__ = ["AssemblyError", "assemble", "disassemble", "format_instruction"]

_UNIT_FIELDS = ("wait", "signal")
_HEX_FIELDS = ("dram", "dram_n", "dram_y")


class AssemblyError(ValueError):
    """Text that is no program; the message names the line and the field."""


def assemble(text: str, config: Config) -> bytes:
    """The instructions of ``text``, 128 bytes each, legal for ``config``.

    Raises
    ------
    AssemblyError
        Naming the first line that is wrong, and its field.
    """
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return b"".join(
        _Line(number, words).encode(config) for number, words in enumerate(lines, 1) if words
    )


class _Line:
    """One line's words and its number."""

    def __init__(self, number: int, words: list[str]):
        self._number, self._words = number, words

    def _error(self, sentence: str) -> AssemblyError:
        return AssemblyError(f"line {self._number}: {sentence}")

    def encode(self, config: Config) -> bytes:
        """The line's instruction."""
        entry = BY_NAME.get(self._words[0].upper())
        if entry is None:
            names = ", ".join(BY_NAME)
            raise self._error(f"mnemonic must be one of {names}, not {self._words[0]!r}")
        values = self._values(entry)
        try:
            data = entry.encode(values)
        except ValueError as error:
            raise self._error(f"{entry.name}.{error}") from None
        for sentence in violations(data, config):
            raise self._error(sentence)
        return data

    def _values(self, entry: Instruction) -> dict[str, int]:
        fields = {field.name: field for field in entry.fields[1:]}
        values: dict[str, int] = {}
        for word in self._words[1:]:
            name, equals, value = word.partition("=")
            if not equals or not value:
                raise self._error(f"{entry.name}: must be field=value, not {word!r}")
            if name not in fields:
                raise self._error(f"{entry.name} has no field {name!r}")
            if name in values:
                raise self._error(f"{entry.name}.{name} must be given once")
            values[name] = self._value(entry, fields[name], value)
        return values

    def _value(self, entry: Instruction, field: Field, text: str) -> int:
        names = _names(field)
        words = text.split("+") if field.name in _UNIT_FIELDS else [text]
        if names is not None and not _is_number(text):
            known = {name.lower(): value for name, value in names.items()}
            for word in words:
                if word.lower() not in known or words.count(word) > 1:
                    allowed = ", ".join(names)
                    raise self._error(
                        f"{entry.name}.{field.name} must be of {allowed}, not {text!r}"
                    )
            return sum(known[word.lower()] for word in words)
        if not _is_number(text):
            raise self._error(f"{entry.name}.{field.name} must be a number, not {text!r}")
        return int(text, 0)


def _is_number(text: str) -> bool:
    try:
        int(text, 0)
    except ValueError:
        return False
    return True


def _names(field: Field) -> dict[str, int] | None:
    """Names that the field's values have, with the numbers they stand for."""
    if field.name in _UNIT_FIELDS:
        return {unit.name.lower(): 1 << unit for unit in Unit}
    if field.choices is not None:
        return {choice.name: int(choice) for choice in field.choices}
    return None


def disassemble(instructions: bytes) -> str:
    """Text that assembles to exactly ``instructions``; zero fields are left out.

    Raises
    ------
    ValueError
        When the length is no multiple of 128, an opcode is unknown, or a byte outside the fields is
        set.
    """
    if len(instructions) % INSTRUCTION_BYTES:
        size = len(instructions)
        raise ValueError(f"instructions must be a multiple of 128 bytes, not {size!r}")
    starts = range(0, len(instructions), INSTRUCTION_BYTES)
    lines = []
    for index, start in enumerate(starts):
        try:
            lines.append(format_instruction(instructions[start : start + INSTRUCTION_BYTES]))
        except ValueError as error:
            raise ValueError(f"instruction {index}: {error}") from None
    return "".join(f"{line}\n" for line in lines)


def format_instruction(data: bytes) -> str:
    """The line of one instruction (128 bytes).

    Raises
    ------
    ValueError
        When the opcode is unknown or a byte outside the fields is set.
    """
    entry = BY_OPCODE.get(data[0])
    if entry is None:
        raise ValueError(f"opcode must be one of {', '.join(map(str, BY_OPCODE))}, not {data[0]}")
    values = entry.decode(data)
    if entry.encode(values) != bytes(data):
        raise ValueError(f"{entry.name} has bytes set outside its fields")
    shown = [
        f"{field.name}={_format(field, values[field.name])}"
        for field in entry.fields[1:]
        if values[field.name]
    ]
    return " ".join([entry.name, *shown])


def _format(field: Field, value: int) -> str:
    if field.name in _UNIT_FIELDS:
        known = [unit for unit in Unit if value >> unit & 1]
        if sum(1 << unit for unit in known) == value:
            return "+".join(unit.name.lower() for unit in known)
    elif field.choices is not None and value in {int(choice) for choice in field.choices}:
        return _choice_name(field.choices, value)
    return hex(value) if field.name in _HEX_FIELDS else str(value)


def _choice_name(choices: type[enum.IntEnum], value: int) -> str:
    return choices(value).name
