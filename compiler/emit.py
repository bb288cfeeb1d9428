"""Instruction builder: encodes instructions in program order, with what each reads and writes."""

import dataclasses
import enum
from collections.abc import Iterable

from hpu.hw.config import Config
from hpu.hw.isa import BY_NAME, INSTRUCTION_BYTES, Unit

__all__ = ["Emitted", "Emitter", "Memory", "Span"]


class Memory(enum.IntEnum):
    """Memories in which instructions of different units may meet."""

    UB = 0
    ACC = 1
    PARAM = 2  # in sets
    TABLE = 3  # in tables
    DRAM = 4  # in beats


@dataclasses.dataclass(frozen=True)
class Span:
    """Words ``low`` … ``high - 1`` of a memory."""

    memory: Memory
    low: int
    high: int


@dataclasses.dataclass(frozen=True)
class Emitted:
    """One encoded instruction, without tokens, and the words it may read and write.

    The spans cover every access; they may cover more.
    """

    unit: Unit
    data: bytes
    reads: tuple[Span, ...]
    writes: tuple[Span, ...]

    def with_tokens(self, wait: int, signal: int) -> bytes:
        """The instruction's 128 bytes with these token masks."""
        return bytes((self.data[0], wait, signal)) + self.data[3:]


class Emitter:
    """Collects a program's instructions in the order in which they mean something.

    Read one after another they are the program; :mod:`hpu.compiler.sync` adds the tokens that let
    the units overlap.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.instructions: list[Emitted] = []

    def __len__(self) -> int:
        return len(self.instructions)

    def emit(
        self,
        name: str,
        reads: Iterable[Span] = (),
        writes: Iterable[Span] = (),
        **values: int,
    ) -> None:
        """Append the instruction ``name`` with these field values; others are zero.

        Raises
        ------
        ValueError
            When a value is outside its field's domain.
        """
        entry = BY_NAME[name]
        fields = entry.fields
        for field in fields:
            if field.name in values:
                low, high = field.bounds(self.config)
                if not low <= values[field.name] <= high:
                    raise ValueError(
                        f"{name}.{field.name} must be {low} … {high}, not {values[field.name]}"
                    )
        data = entry.encode(values)
        assert len(data) == INSTRUCTION_BYTES
        self.instructions.append(Emitted(entry.unit, data, tuple(reads), tuple(writes)))
