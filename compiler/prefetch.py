"""Weight fetches ahead of their use.

Instructions are dispatched in order into queues of finite depth, so a fetch that stands behind many
others in the program begins late. A fetch touches nothing that another instruction writes, and so
may stand as early as the weight FIFO has room for its tile.
"""

from collections import deque
from collections.abc import Sequence

from hpu.compiler.emit import Emitted, Memory, Span
from hpu.hw.config import Config
from hpu.hw.isa import BY_NAME, Unit

__all__ = ["hoist_constants", "hoist_weights", "spread"]

_NEW_WEIGHTS = next(f for f in BY_NAME["MATMUL"].fields if f.name == "new_weights")


def hoist_weights(instructions: Sequence[Emitted], config: Config) -> list[Emitted]:
    """``instructions`` with every WEIGHTS as early as the FIFO allows, and their order kept.

    Before the k-th MATMUL that takes a tile stand at most the fetches of tiles up to
    k + ``weight_tiles`` - 1: they all fit, so that dispatch never stops before that MATMUL.
    """
    waiting = deque(i for i in instructions if i.unit == Unit.WEIGHTS)
    result: list[Emitted] = []
    fetched = passed = taken = 0

    def fetch(until: int) -> None:
        nonlocal fetched
        while waiting and fetched < until:
            result.append(waiting.popleft())
            fetched += 1

    for instruction in instructions:
        if instruction.unit == Unit.WEIGHTS:
            passed += 1
            fetch(passed)
            continue
        if _takes_tile(instruction):
            fetch(taken + config.weight_tiles)
            taken += 1
        result.append(instruction)
    return result


def hoist_constants(instructions: Sequence[Emitted]) -> list[Emitted]:
    """``instructions`` with loads of parameters and tables as early as their places are free.

    The load unit works in order: behind large loads they would keep the vector unit waiting.
    """
    result: list[Emitted] = []
    for instruction in instructions:
        place = len(result)
        if _loads_constants(instruction):
            while place and not _touches(result[place - 1], instruction.writes):
                place -= 1
            while place < len(result) and _loads_constants(result[place]):
                place += 1
        result.insert(place, instruction)
    return result


def _loads_constants(instruction: Emitted) -> bool:
    small = {Memory.PARAM, Memory.TABLE}
    return instruction.unit == Unit.LOAD and {s.memory for s in instruction.writes} <= small


def _touches(instruction: Emitted, spans: Sequence[Span]) -> bool:
    """Whether an instruction reads or writes words of ``spans``."""
    return any(
        own.memory == span.memory and own.low < span.high and span.low < own.high
        for own in (*instruction.reads, *instruction.writes)
        for span in spans
    )


def spread(loads: Sequence[Emitted], instructions: Sequence[Emitted]) -> list[Emitted]:
    """``instructions`` with ``loads``, which they do not depend on, evenly between them.

    The load unit works in order: many loads in a row would keep it from what is wanted at once.
    """
    result: list[Emitted] = []
    done = 0
    for index, instruction in enumerate(instructions):
        due = len(loads) * index // max(len(instructions), 1)
        result += loads[done:due]
        done = due
        result.append(instruction)
    return [*result, *loads[done:]]


def _takes_tile(instruction: Emitted) -> bool:
    return instruction.unit == Unit.MATRIX and bool(instruction.data[_NEW_WEIGHTS.offset])
