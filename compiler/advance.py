"""Vector operations among the instructions of the convolution before.

A pool reads what a convolution writes piece by piece, and could begin with the first. But units
take their instructions in order: behind all of the convolution's own it begins only with the last.
Where the array is slower than the drains, the vector unit has time in between: so every instruction
of the later operation moves up to where everything that it depends on stands before it.
"""

from collections.abc import Sequence

import numpy as np

from hpu.compiler.emit import Emitted, Memory, Span
from hpu.hw.isa import BY_NAME, Unit
from hpu.sim.decode import field_arrays

__all__ = ["advanced"]

#: How much longer than its drains a convolution must keep the array.
_SLACK = 1.2


#: An instruction and the number of the operation that it belongs to.
Owned = tuple[Emitted, int]


def advanced(before: Sequence[Owned], own: Sequence[Owned]) -> list[Owned]:
    """Both, ``own`` as early among ``before`` as may be, each in its order.

    Only operations without products move up, and only with results that lie where ``before`` has
    nothing: then both may be said to hold their memory from the first to the last of their
    instructions.
    """
    units = {instruction.unit for instruction, _ in own}
    apart = not units & {Unit.MATRIX, Unit.WEIGHTS} and _lie_apart(before, own)
    if not apart or not _has_slack([i for i, _ in before]):
        return [*before, *own]
    merged, at = list(before[:1]), len(before[:1])  # an operation begins with its own
    for instruction, number in own:
        last = _last_conflict(before, at, instruction)
        merged += [*before[at:last], (instruction, number)]
        at = last
    return [*merged, *before[at:]]


def _last_conflict(before: Sequence[Owned], low: int, instruction: Emitted) -> int:
    """How many of ``before`` must come first, ``low`` at least."""
    for count in range(len(before), low, -1):
        if _conflict(before[count - 1][0], instruction):
            return count
    return low


def _lie_apart(before: Sequence[Owned], own: Sequence[Owned]) -> bool:
    """Whether ``own`` writes no word of the unified buffer that ``before`` uses."""
    used = [span for i, _ in before for span in (*i.reads, *i.writes)]
    written = [span for i, _ in own for span in i.writes]
    return not _overlap(
        [span for span in used if span.memory == Memory.UB],
        [span for span in written if span.memory == Memory.UB],
    )


def _has_slack(before: Sequence[Emitted]) -> bool:
    return _rows(before, "MATMUL") > _SLACK * _rows(before, "VECTOR")


def _rows(instructions: Sequence[Emitted], name: str) -> int:
    entry = BY_NAME[name]
    words = [i.data for i in instructions if i.data[0] == int(entry.opcode)]
    if not words:
        return 0
    fields = field_arrays(np.frombuffer(b"".join(words), np.uint8).reshape(len(words), -1), entry)
    counts = (fields[f"{axis}_count"].astype(np.int64) for axis in "nyx")
    return int(np.prod(list(counts), axis=0).sum())


def _conflict(one: Emitted, other: Emitted) -> bool:
    """Whether the two touch a word that one of them writes."""
    return (
        _overlap(one.writes, other.writes)
        or _overlap(one.writes, other.reads)
        or _overlap(one.reads, other.writes)
    )


def _overlap(some: Sequence[Span], others: Sequence[Span]) -> bool:
    return any(
        a.memory == b.memory and a.low < b.high and b.low < a.high for a in some for b in others
    )
