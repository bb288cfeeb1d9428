"""The whole machine as a model of time."""

import numpy as np

from hpu.hw.config import Config
from hpu.hw.isa import Unit
from hpu.sim.cycles.compute import Matrix, Vector
from hpu.sim.cycles.conflicts import Conflicts
from hpu.sim.cycles.constants import END
from hpu.sim.cycles.dma import Load, Weights
from hpu.sim.cycles.frontend import Queue, Sequencer, Tokens
from hpu.sim.cycles.kernel import Clock
from hpu.sim.cycles.memory import Bandwidth, ReadPort
from hpu.sim.cycles.store import Store
from hpu.sim.cycles.timeline import Timeline, attribution, busy
from hpu.sim.decode import decode

__all__ = ["predict"]

_READERS = 3


def predict(instructions: bytes, config: Config, *, program_address: int = 0) -> Timeline:
    """When every instruction of a program runs on the machine of ``config``.

    ``program_address`` is where the program lies in DRAM. The data do not matter.

    Raises
    ------
    ValueError
        When an instruction is illegal, or the program does not come to its end.
    """
    program = decode(instructions, config)
    for instruction in program:
        if instruction.entry is None:
            raise ValueError(f"instruction {instruction.index} must be legal, and is not")
    machine = _Machine(config, program, program_address)
    machine.clock.run()
    for unit, queue in machine.queues.items():
        expected = sum(i.entry is not None and i.entry.unit == unit for i in program)
        if len(queue.ends) != expected:
            raise ValueError(
                f"the program must come to its end, but unit {unit.name} waits for ever after "
                f"{len(queue.ends)} of {expected} instructions"
            )
    return machine.timeline()


class _Machine:
    def __init__(self, config: Config, program: list, address: int):
        self.clock = clock = Clock()
        bandwidth = Bandwidth(config)
        self._port = port = ReadPort(clock, config, bandwidth, _READERS)
        tokens, conflicts = Tokens(clock), Conflicts(config)
        self.queues = queues = {unit: Queue(clock, config, unit, tokens) for unit in Unit}
        self._sequencer = Sequencer(clock, config, port, program, address, queues)
        Load(clock, config, port, queues[Unit.LOAD], conflicts)
        weights = Weights(clock, config, port, queues[Unit.WEIGHTS], conflicts)
        self._matrix = Matrix(clock, config, queues[Unit.MATRIX], weights, conflicts)
        Vector(clock, config, queues[Unit.VECTOR], conflicts)
        self._store = Store(clock, config, bandwidth, queues[Unit.STORE], conflicts)

    def timeline(self) -> Timeline:
        """What the run gave."""
        queues, finished = self.queues, self._sequencer.finished
        last = max((queue.ends[-1] for queue in queues.values() if queue.ends), default=finished)
        cycles = last + END
        counts = [len(queue.pcs) for queue in queues.values()]
        return Timeline(
            unit=np.repeat([int(unit) for unit in queues], counts),
            pc=_joined([queue.pcs for queue in queues.values()]),
            start=_joined([queue.starts for queue in queues.values()]),
            end=_joined([queue.ends for queue in queues.values()]),
            cycles=cycles,
            charges=attribution(queues[Unit.MATRIX], self._matrix.streams, finished, cycles),
            busy={u.name.lower(): busy(q.starts, q.ends) for u, q in queues.items()},
            read_beats=self._port.beats,
            write_beats=self._store.beats,
        )


def _joined(lists: list[list[int]]) -> np.ndarray:
    return np.concatenate([np.asarray(part, np.int64) for part in lists])
