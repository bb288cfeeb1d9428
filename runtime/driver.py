"""The driver: loads a program into a device, runs it, and tells how it went."""

import dataclasses

import numpy as np

from hpu.hw import csr
from hpu.hw.assembler import disassemble
from hpu.hw.csr import FaultCause
from hpu.hw.isa import INSTRUCTION_BYTES
from hpu.runtime.devices import CycleProgress, Device
from hpu.runtime.errors import DeviceError
from hpu.runtime.program import Program

__all__ = ["DeviceFault", "Driver", "Result"]

#: Cycles after which the machine stops a program: days of simulation, seconds of hardware.
_WATCHDOG_CYCLES = 1 << 34
_WATCHDOG_UNIT = 1024


class DeviceFault(DeviceError):  # noqa: N818 (the architecture's own word for it)
    """The machine stopped: ``cause``, and the index ``pc`` of the instruction at fault."""

    def __init__(self, cause: FaultCause, pc: int, text: str):
        super().__init__(f"the machine stopped with {cause.name} at instruction {pc}: {text}")
        self.cause = cause
        self.pc = pc


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run added to every counter; those that depend on time are zero on ``functional``."""

    counters: dict[str, int]

    @property
    def cycles(self) -> int:
        """Clock cycles from the start of the program to its end."""
        return self.counters["CYCLES"] - self.counters["MATRIX_HOST"]


class Driver:
    """A device with at most one loaded program.

    Parameters
    ----------
    device
        The device to drive.

    Raises
    ------
    DeviceError
        When it is no HPU, of another version, or not of the configuration it is said to be.
    """

    def __init__(self, device: Device):
        self.device = device
        self._program: Program | None = None
        self._identify()
        self._write("IRQ_ENABLE", csr.pack("IRQ_ENABLE", end=1))

    def _identify(self) -> None:
        digest = self.device.config.digest()
        self._expect("MAGIC", csr.MAGIC, "is not an HPU")
        self._expect("VERSION", csr.VERSION, "is of another version")
        for name, part in (("DIGEST_LOW", digest[:4]), ("DIGEST_HIGH", digest[4:8])):
            problem = f"is not of configuration {self.device.config.name!r}"
            self._expect(name, int.from_bytes(part, "little"), problem)

    def _expect(self, name: str, value: int, problem: str) -> None:
        found = self._read(name)
        if found != value:
            raise DeviceError(f"the device {problem}: {name} is {found:#x}, not {value:#x}.")

    def _read(self, name: str) -> int:
        return self.device.read_register(csr.address(name))

    def _write(self, name: str, value: int) -> None:
        self.device.write_register(csr.address(name), value)

    def load(self, program: Program) -> None:
        """Put the program's image and instructions into the device's memory.

        Raises
        ------
        ProgramError
            When the program is for another configuration.
        DeviceError
            When the device's memory is too small.
        """
        program.check(self.device.config)
        if program.dram_bytes > self.device.dram_bytes:
            raise DeviceError(
                f"the program needs {program.dram_bytes} bytes of memory and the device has "
                f"{self.device.dram_bytes}; give the device more."
            )
        for segment in program.image:
            self.device.write_memory(segment.address, segment.data)
        self.device.write_memory(program.program_address, program.instructions)
        self._write("PROGRAM_LOW", program.program_address & 0xFFFFFFFF)
        self._write("PROGRAM_HIGH", program.program_address >> 32)
        self._write("PROGRAM_COUNT", program.instruction_count)
        self._program = program

    def start(self, *, watchdog_cycles: int = _WATCHDOG_CYCLES) -> None:
        """Start the loaded program, without waiting for its end.

        ``watchdog_cycles``: cycles after which it is stopped, rounded up to 1024; 0: no limit.

        Raises
        ------
        DeviceError
            When no program is loaded.
        """
        if self._program is None:
            raise DeviceError("a program must be loaded before it can run.")
        self._write("WATCHDOG", -(-watchdog_cycles // _WATCHDOG_UNIT))
        # The counters before the run are copied at the very start, to be read while it runs.
        self._write("CONTROL", csr.pack("CONTROL", start=1, snapshot=1))

    def run(
        self,
        *,
        watchdog_cycles: int = _WATCHDOG_CYCLES,
        timeout: float | None = None,
        progress: CycleProgress | None = None,
    ) -> Result:
        """Run the loaded program once and return what it added to the counters.

        Parameters
        ----------
        watchdog_cycles
            As of :meth:`start`.
        timeout
            Seconds to wait for the end; without it, for ever.
        progress
            Called now and then with the cycles since the start.

        Raises
        ------
        DeviceFault
            When the machine stops with a fault.
        DeviceError
            When no program is loaded, or the end does not come in time.
        """
        self.start(watchdog_cycles=watchdog_cycles)
        before = self._counters()
        if not self.device.wait(timeout, progress):
            raise DeviceError(f"the program did not end within {timeout:g} seconds.")
        self._write("CONTROL", csr.pack("CONTROL", snapshot=1, clear_irq=1))
        self._check()
        return Result({name: value - before[name] for name, value in self._counters().items()})

    def _counters(self) -> dict[str, int]:
        """Of every counter the snapshot: low word and high word, side by side."""
        names = [counter.name for counter in csr.COUNTERS]
        words = self.device.read_registers(csr.counter_address(names[0]), 2 * len(names))
        values = (high << 32 | low for low, high in zip(words[::2], words[1::2], strict=True))
        return dict(zip(names, values, strict=True))

    def _check(self) -> None:
        status = csr.bits("STATUS", self._read("STATUS"))
        if status["fault"]:
            pc = self._read("FAULT_PC")
            raise DeviceFault(FaultCause(self._read("FAULT_CAUSE")), pc, self._text(pc))
        if not status["done"]:
            raise DeviceError("the interrupt came, but the program has not ended.")

    def read(self, address: int, size: int) -> np.ndarray:
        """``size`` bytes of the device's memory as uint8."""
        return np.frombuffer(self.device.read_memory(address, size), np.uint8)

    def _text(self, pc: int) -> str:
        assert self._program is not None
        data = self._program.instructions[pc * INSTRUCTION_BYTES :][:INSTRUCTION_BYTES]
        if len(data) < INSTRUCTION_BYTES:
            return "(beyond the program's end)"
        try:
            return disassemble(data).strip()
        except ValueError:
            return f"(not an instruction: {data[:16].hex()}…)"
