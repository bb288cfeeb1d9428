"""Devices: what a driver needs of one, the functional machine and the Verilated machine.

The machine on an FPGA board is in :mod:`hpu.runtime.fpga`.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from hpu.hw import csr
from hpu.hw.config import Config
from hpu.runtime.errors import DeviceError, HpuError
from hpu.runtime.threads import one_blas_thread
from hpu.sim import rtl
from hpu.sim.functional import Machine
from hpu.sim.model import Progress

__all__ = ["Device", "FunctionalDevice", "RtlDevice", "as_bytes", "check_inside"]

#: Called now and then while a program runs, with the cycles since its start.
CycleProgress = Callable[[int], None]

#: Seconds between two reports of a running simulation.
_REPORT_SECONDS = 0.2
#: DRAM of a device unless told otherwise; pages that nobody touches take no room.
_DRAM_BYTES = 1 << 30


class Device(Protocol):
    """An HPU behind its registers, its interrupt and its memory."""

    config: Config
    dram_bytes: int

    def read_register(self, address: int) -> int:
        """The 32-bit register at byte ``address``; ``DeviceError`` when it cannot be read."""

    def read_registers(self, address: int, count: int) -> list[int]:
        """``count`` registers from byte ``address`` on; as :meth:`read_register`."""

    def write_register(self, address: int, value: int) -> None:
        """Write the 32-bit register at byte ``address``; ``DeviceError`` when it cannot be."""

    def read_memory(self, address: int, size: int) -> bytes:
        """``size`` bytes of DRAM from ``address`` on; ``HpuError`` when some are beyond it."""

    def write_memory(self, address: int, data: bytes | np.ndarray) -> None:
        """Write ``data``'s bytes to DRAM at ``address``; ``HpuError`` when some are beyond it."""

    def wait(self, timeout: float | None = None, progress: CycleProgress | None = None) -> bool:
        """Wait for the interrupt, at most ``timeout`` seconds; return whether it came."""

    def close(self) -> None:
        """Free what the device holds."""


def check_inside(address: int, size: int, dram_bytes: int) -> None:
    """Refuse bytes beyond a device's memory with an ``HpuError``."""
    if address < 0 or size < 0 or address + size > dram_bytes:
        raise HpuError(
            f"bytes {address:#x} … {address + size - 1:#x} must be inside the device's memory "
            f"of {dram_bytes} bytes."
        )


def _window(memory: np.ndarray, address: int, size: int) -> np.ndarray:
    check_inside(address, size, len(memory))
    return memory[address : address + size]


def as_bytes(data: bytes | np.ndarray) -> np.ndarray:
    """The bytes of ``data`` as uint8."""
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    return np.frombuffer(data, np.uint8)


class FunctionalDevice:
    """The functional machine behind the registers of the real one.

    A program runs to its end within the write that starts it; counters of time stay zero.

    Parameters
    ----------
    config
        Shape of the machine.
    dram_bytes
        Bytes of memory.
    """

    def __init__(self, config: Config, *, dram_bytes: int = _DRAM_BYTES):
        self.config, self.dram_bytes = config, dram_bytes
        self._machine = Machine(config, dram_bytes)
        self._registers = {register.address: 0 for register in csr.REGISTERS}
        del self._registers[csr.address("CONTROL")]
        self._identify()
        self._counters = dict.fromkeys((counter.name for counter in csr.COUNTERS), 0)
        self._snapshot()
        self._irq = False

    def _identify(self) -> None:
        digest = self.config.digest()
        self._set("MAGIC", csr.MAGIC)
        self._set("VERSION", csr.VERSION)
        self._set("DIGEST_LOW", int.from_bytes(digest[:4], "little"))
        self._set("DIGEST_HIGH", int.from_bytes(digest[4:8], "little"))

    def _get(self, name: str) -> int:
        return self._registers[csr.address(name)]

    def _set(self, name: str, value: int) -> None:
        self._registers[csr.address(name)] = value

    def read_register(self, address: int) -> int:
        if address not in self._registers:
            raise _refused(address)
        return self._registers[address]

    def read_registers(self, address: int, count: int) -> list[int]:
        return [self.read_register(address + 4 * k) for k in range(count)]

    def write_register(self, address: int, value: int) -> None:
        if address == csr.address("CONTROL"):
            self._control(csr.bits("CONTROL", value))
        elif address in _WRITABLE:
            self._registers[address] = value & _WRITABLE[address]
        else:
            raise _refused(address)

    def _control(self, bits: dict[str, int]) -> None:
        if bits["snapshot"]:
            self._snapshot()
        if bits["clear_irq"]:
            self._irq = False
        if bits["start"]:
            self._run()
        status = csr.bits("STATUS", self._get("STATUS")) | {"irq": int(self._irq)}
        self._set("STATUS", csr.pack("STATUS", **status))

    def _snapshot(self) -> None:
        for name, value in self._counters.items():
            address = csr.counter_address(name)
            self._registers[address] = value & 0xFFFFFFFF
            self._registers[address + 4] = value >> 32

    def _run(self) -> None:
        address = self._get("PROGRAM_HIGH") << 32 | self._get("PROGRAM_LOW")
        with one_blas_thread():
            outcome = self._machine.run(address, self._get("PROGRAM_COUNT"))
        for name, value in outcome.counters.items():
            self._counters[name] += value
        self._set("FAULT_CAUSE", int(outcome.cause))
        self._set("FAULT_PC", outcome.pc)
        failed = int(outcome.cause != csr.FaultCause.NONE)
        self._set("STATUS", csr.pack("STATUS", done=1 - failed, fault=failed))
        self._irq = bool(self._get("IRQ_ENABLE"))

    def read_memory(self, address: int, size: int) -> bytes:
        return _window(self._machine.dram, address, size).tobytes()

    def write_memory(self, address: int, data: bytes | np.ndarray) -> None:
        values = as_bytes(data)
        _window(self._machine.dram, address, len(values))[:] = values

    def wait(self, timeout: float | None = None, progress: CycleProgress | None = None) -> bool:
        return self._irq

    def close(self) -> None:
        pass


def _refused(address: int) -> DeviceError:
    return DeviceError(f"the device answered register {address:#x} with SLVERR.")


def _mask(register: csr.Register) -> int:
    """Bits that the register has."""
    masks = (((1 << bit.width) - 1) << bit.low for bit in register.bits)
    return sum(masks) if register.bits else 0xFFFFFFFF


#: Address of every register that keeps what is written → its bits.
_WRITABLE = {
    register.address: _mask(register)
    for register in csr.REGISTERS
    if register.access is csr.Access.READ_WRITE
}


class RtlDevice:
    """The Verilated machine with its memory model.

    Parameters
    ----------
    config
        Shape of the machine, and latency and bandwidth of its memory.
    dram_bytes
        Bytes of memory; addresses beyond are answered with DECERR.
    trace
        Use a machine built so that :meth:`trace_window` works.
    library
        The machine, such as :func:`hpu.sim.netlist.build` makes; without it, the one in RTL.
    jobs, progress
        As of :func:`hpu.sim.rtl.build`, for a machine that is not built yet.

    Raises
    ------
    hpu.sim.verilator.BuildError
        When the machine cannot be built.
    """

    def __init__(
        self,
        config: Config,
        *,
        dram_bytes: int = _DRAM_BYTES,
        trace: bool = False,
        library: Path | None = None,
        jobs: int | None = None,
        progress: Progress | None = None,
    ):
        self.config, self.dram_bytes = config, dram_bytes
        if library is None:
            library = rtl.build(config, trace=trace, jobs=jobs, progress=progress).library
        self._simulation = rtl.Simulation(
            library,
            dram_bytes=dram_bytes,
            bytes_per_cycle=config.dram_bytes_per_cycle,
            latency=config.dram_latency,
        )
        self._started = 0

    @property
    def cycle(self) -> int:
        """Clock cycles since power-on."""
        return self._simulation.cycle

    def read_register(self, address: int) -> int:
        return self._simulation.read_register(address)

    def read_registers(self, address: int, count: int) -> list[int]:
        return [self.read_register(address + 4 * k) for k in range(count)]

    def write_register(self, address: int, value: int) -> None:
        if address == csr.address("CONTROL") and csr.bits("CONTROL", value)["start"]:
            self._started = self.cycle
        self._simulation.write_register(address, value)

    def read_memory(self, address: int, size: int) -> bytes:
        return _window(self._simulation.memory, address, size).tobytes()

    def write_memory(self, address: int, data: bytes | np.ndarray) -> None:
        values = as_bytes(data)
        _window(self._simulation.memory, address, len(values))[:] = values

    def wait(self, timeout: float | None = None, progress: CycleProgress | None = None) -> bool:
        begin = time.monotonic()
        chunk = 100
        while True:
            before = time.monotonic()
            done = self._simulation.run(chunk)
            after = time.monotonic()
            if progress is not None:
                progress(self.cycle - self._started)
            if done < chunk:
                return True
            if timeout is not None and after - begin > timeout:
                return False
            if after - before < _REPORT_SECONDS / 2:
                chunk *= 2

    def trace_window(self, path: Path, first: int, count: int) -> int:
        """Write an FST file of the cycles ``first`` … ``first + count - 1`` of a running program.

        Returns the cycles written: fewer when the program ends earlier, 0 when before ``first``.
        """
        ahead = max(0, first - (self.cycle - self._started))
        if self._simulation.run(ahead) < ahead:
            return 0
        self._simulation.start_trace(path)
        done = self._simulation.run(count)
        self._simulation.stop_trace()
        return done

    def record_events(self, on: bool) -> None:
        """Keep an event for every start and end of an instruction from now on, or stop doing so."""
        self._simulation.record(on)

    def take_events(self) -> np.ndarray:
        """Events since the last call: dtype ``rtl.EVENT``, cycles counted from the last start."""
        events = self._simulation.take_events()
        events["cycle"] -= np.uint64(self._started)
        return events

    def inject_errors(self, start: int, end: int) -> None:
        """Answer accesses to the bytes ``start`` … ``end - 1`` with SLVERR from now on."""
        self._simulation.inject_errors(start, end)

    def close(self) -> None:
        self._simulation.close()
