"""The functional machine: executes programs with numpy, byte for byte as the RTL does.

A program's addresses do not depend on data. So its first run prepares every instruction (legality,
order, faults, one strided view per operand), and later runs of the same program only move data.
"""

import dataclasses
from collections.abc import Callable

from hpu.hw import csr, isa
from hpu.hw.config import Config
from hpu.hw.csr import FaultCause
from hpu.hw.isa import Opcode
from hpu.sim.decode import Decoded, decode
from hpu.sim.functional_matrix import prepare_matmul
from hpu.sim.functional_memory import prepare_load, prepare_store, prepare_weights
from hpu.sim.functional_vector import prepare_vector
from hpu.sim.schedule import Schedule
from hpu.sim.state import FaultError, State, Step

__all__ = ["Machine", "Outcome"]

_PREPARE = {
    Opcode.LOAD: prepare_load,
    Opcode.WEIGHTS: prepare_weights,
    Opcode.MATMUL: prepare_matmul,
    Opcode.VECTOR: prepare_vector,
    Opcode.STORE: prepare_store,
}
#: Programs whose preparation is kept.
_KEPT = 8


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a program ended: ``pc`` is the index of the instruction at fault, 0 without a fault.

    ``counters`` holds what this run added to each of ``csr.FUNCTIONAL_COUNTERS``.
    """

    cause: FaultCause
    pc: int
    counters: dict[str, int]


@dataclasses.dataclass(frozen=True)
class _Plan:
    runs: tuple[Callable[[], None], ...]
    cause: FaultCause
    pc: int
    counters: dict[str, int]


class Machine:
    """One HPU with its memory.

    Parameters
    ----------
    config
        Shape of the machine.
    dram_bytes
        Bytes of DRAM from address 0.

    ``dram`` uint8 [dram_bytes], ``ub`` int8 [ub_depth, lanes], ``acc`` int32 [acc_depth, cols],
    ``params`` uint8 [8·param_sets, cols] and ``tables`` int8 [256·tables, cols] are zero at first
    and keep their contents between programs. Write ``dram`` in place; the others are for reading.
    """

    def __init__(self, config: Config, dram_bytes: int):
        if dram_bytes <= 0:
            raise ValueError(f"dram_bytes must be positive, not {dram_bytes!r}")
        self.config = config
        self._state = State(config, dram_bytes)
        self._plans: dict[bytes, _Plan] = {}
        self.dram = self._state.dram
        self.ub = self._state.ub
        self.acc = self._state.acc
        self.params = self._state.params
        self.tables = self._state.tables

    def run(self, program_address: int, count: int) -> Outcome:
        """Run ``count`` instructions from DRAM at ``program_address``.

        A fault ends the run; what the instruction at fault would have written is left as it was.

        Raises
        ------
        ValueError
            When the address is not a multiple of 128, or an instruction's loop is too long
            to simulate.
        """
        if program_address % isa.INSTRUCTION_BYTES:
            raise ValueError(f"program_address must be a multiple of 128, not {program_address!r}")
        there = max(0, len(self.dram) - program_address) // isa.INSTRUCTION_BYTES
        program = self.dram[program_address:][: isa.INSTRUCTION_BYTES * min(count, there)].tobytes()
        plan = self._plan(program)
        self._state.fifo.clear()
        for run in plan.runs:
            run()
        if count > there and not plan.cause:
            return Outcome(FaultCause.AXI, there, dict(plan.counters))
        return Outcome(plan.cause, plan.pc, dict(plan.counters))

    def _plan(self, program: bytes) -> _Plan:
        if program not in self._plans:
            if len(self._plans) == _KEPT:
                del self._plans[next(iter(self._plans))]
            self._plans[program] = self._prepare(program)
        return self._plans[program]

    def _prepare(self, program: bytes) -> _Plan:
        steps: dict[int, Step] = {}

        def fault_of(instruction: Decoded) -> FaultCause:
            try:
                steps[instruction.index] = self._step(instruction)
            except FaultError as fault:
                return fault.cause
            return FaultCause.NONE

        schedule = Schedule(decode(program, self.config), self.config, fault_of)
        done = [steps[instruction.index] for instruction in schedule.order]
        counters = dict.fromkeys(csr.FUNCTIONAL_COUNTERS, 0)
        for step in done:
            for name, amount in step.counts.items():
                counters[name] += amount
        return _Plan(tuple(step.run for step in done), schedule.cause, schedule.pc, counters)

    def _step(self, instruction: Decoded) -> Step:
        assert instruction.entry is not None
        try:
            return _PREPARE[instruction.entry.opcode](self._state, instruction.values)
        except ValueError as error:
            raise ValueError(
                f"instruction {instruction.index} ({instruction.name}): {error}"
            ) from None
