"""The order in which the units run a program: dispatch, queues, tokens, weight FIFO, faults.

Instructions are dispatched in program order into queues of ``queue_depth``. Whenever several units
could start, the oldest instruction starts first, and it is done before anything else happens: so
the order is program order wherever the tokens allow it, and every fault has one cause and place.
"""

from collections import deque
from collections.abc import Callable

from hpu.hw.config import Config
from hpu.hw.csr import FaultCause
from hpu.hw.isa import Unit
from hpu.sim.decode import Decoded

__all__ = ["MAX_TOKENS", "Schedule"]

#: Tokens that a channel counts.
MAX_TOKENS = 255


class Schedule:
    """The legal order of ``program`` that the functional simulator takes.

    ``fault_of`` says why an instruction faults when it runs, NONE if it does not. ``order`` holds
    the instructions done, ``cause`` and ``pc`` the fault that ended the program (``pc`` 0 without).
    """

    def __init__(
        self,
        program: list[Decoded],
        config: Config,
        fault_of: Callable[[Decoded], FaultCause] = lambda _: FaultCause.NONE,
    ):
        self.order: list[Decoded] = []
        self.cause = FaultCause.NONE
        self.pc = 0
        self._config, self._fault_of = config, fault_of
        self._queues: dict[Unit, deque[Decoded]] = {unit: deque() for unit in Unit}
        self._tokens = {(giver, taker): 0 for giver in Unit for taker in Unit}
        self._tiles = 0
        self._run(program)

    def _run(self, program: list[Decoded]) -> None:
        for instruction in program:
            self._dispatch(instruction)
            self._advance()
            if self.cause:
                return
        if any(self._queues.values()):
            self._deadlock()

    def _dispatch(self, instruction: Decoded) -> None:
        if instruction.entry is None:
            self._fail(FaultCause.ILLEGAL_INSTRUCTION, instruction.index)
            return
        queue = self._queues[instruction.entry.unit]
        if len(queue) == self._config.queue_depth:
            self._deadlock()
        queue.append(instruction)

    def _deadlock(self) -> None:
        heads = (queue[0].index for queue in self._queues.values() if queue)
        self._fail(FaultCause.DEADLOCK, min(heads))

    def _fail(self, cause: FaultCause, pc: int) -> None:
        self.cause, self.pc = cause, pc

    def _advance(self) -> None:
        """Run whatever can run."""
        while not self.cause:
            heads = [queue[0] for queue in self._queues.values() if queue]
            ready = [head for head in heads if self._ready(head)]
            if not ready:
                return
            self._execute(min(ready, key=lambda head: head.index))

    def _ready(self, head: Decoded) -> bool:
        assert head.entry is not None
        taker = head.entry.unit
        waits = (unit for unit in Unit if head.values["wait"] >> unit & 1)
        if not all(self._tokens[unit, taker] for unit in waits):
            return False
        if taker == Unit.WEIGHTS:
            return self._tiles <= self._config.weight_tiles  # one more waits in the array
        return not head.values.get("new_weights") or self._tiles > 0

    def _execute(self, head: Decoded) -> None:
        assert head.entry is not None
        cause = self._fault_of(head)
        if cause:
            self._fail(cause, head.index)
            return
        unit = head.entry.unit
        self._queues[unit].popleft()
        self.order.append(head)
        self._tiles += (unit == Unit.WEIGHTS) - head.values.get("new_weights", 0)
        for other in Unit:
            self._tokens[other, unit] -= head.values["wait"] >> other & 1
        self._give(head, unit)

    def _give(self, head: Decoded, unit: Unit) -> None:
        for other in Unit:
            if head.values["signal"] >> other & 1:
                if self._tokens[unit, other] == MAX_TOKENS:
                    self._fail(FaultCause.TOKEN_OVERFLOW, head.index)
                    return
                self._tokens[unit, other] += 1
