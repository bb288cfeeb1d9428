"""Weight fetches ahead of their use.

Instructions are dispatched in order into queues of finite depth, so a fetch that stands behind many
others in the program begins late. A fetch touches nothing that another instruction writes, and so
may stand as early as the weight FIFO has room for its tile.
"""

from collections import deque
from collections.abc import Sequence

from hpu.compiler.emit import Emitted
from hpu.hw.config import Config
from hpu.hw.isa import BY_NAME, Unit

__all__ = ["hoist_weights"]

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


def _takes_tile(instruction: Emitted) -> bool:
    return instruction.unit == Unit.MATRIX and bool(instruction.data[_NEW_WEIGHTS.offset])
