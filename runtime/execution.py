"""A device with programs: inputs in, outputs and measurements out."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from hpu.hw.config import Config
from hpu.runtime.devices import Device, FunctionalDevice, RtlDevice
from hpu.runtime.driver import DeviceFault, Driver
from hpu.runtime.errors import DeviceError, InputError, ProgramError
from hpu.runtime.layout import from_device, pack, port_bytes, to_device, unpack
from hpu.runtime.profile import Run
from hpu.runtime.program import Port, Program
from hpu.sim.races import RaceError, check

__all__ = ["DEVICES", "Executor", "Stage", "open_device"]

DEVICES = ("functional", "rtl", "fpga")
#: Memory of a device; pages that nobody touches take no room.
_DRAM_BYTES = 1 << 30
#: Called while something lasts: what is done, steps done, steps in all (0 when not known).
Stage = Callable[[str, float, float], None]


def open_device(
    name: str,
    config: Config,
    dram_bytes: int,
    stage: Stage | None = None,
    port: str | None = None,
) -> Device:
    """The named device; the Verilated machine is built when it is not in the cache.

    ``dram_bytes`` is for the simulated ones; the FPGA's memory is what it is. ``port`` is the
    serial port of the board.

    Raises
    ------
    InputError
        When there is no such device.
    HpuError
        When the machine cannot be built, or the board not be used.
    """
    if name not in DEVICES:
        raise InputError(f"device must be one of {', '.join(DEVICES)}, not {name!r}.")
    if name == "functional":
        return FunctionalDevice(config, dram_bytes=dram_bytes)
    if name == "fpga":
        from hpu.runtime.fpga import open_fpga  # the boards take a while to import

        return open_fpga(config, port)
    return RtlDevice(config, dram_bytes=dram_bytes, progress=stage)


class Executor:
    """One device that runs any program of its configuration.

    Parameters
    ----------
    device:
        ``"functional"``, ``"rtl"`` or ``"fpga"``, opened when the first program runs; or one that
        is open.
    stage:
        Called while the machine is built and while programs run.
    port:
        Serial port of the FPGA.
    """

    def __init__(
        self,
        config: Config,
        device: str | Device,
        stage: Stage | None = None,
        port: str | None = None,
    ):
        self.config, self.stage, self._port = config, stage, port
        self.device_name = device if isinstance(device, str) else type(device).__name__
        self._driver = None if isinstance(device, str) else Driver(device)
        self._loaded: Program | None = None
        self._checked: Program | None = None

    def run(self, program: Program, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of ``program`` on ``arrays``, by name.

        Raises
        ------
        DeviceError
            When the machine stops with a fault.
        ProgramError
            When the program has a race (found by the functional device).
        """
        with self._closing():
            self._start(program, arrays)
            return self.read(program.outputs)

    @contextlib.contextmanager
    def _closing(self) -> Iterator[None]:
        """Free a device that no longer does what it is told; the next run opens it again."""
        try:
            yield
        except DeviceFault:
            raise
        except DeviceError:
            self.close()
            raise

    def measure(
        self, program: Program, arrays: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], Run]:
        """As :meth:`run`, and what the device measured."""
        with self._closing():
            counters, cycles, events = self._start(program, arrays, record=True)
            return self.read(program.outputs), Run(counters, events, cycles)

    def read(self, ports: Iterable[Port]) -> dict[str, np.ndarray]:
        """Tensors as they stand in the device's memory, by name, as the user sees them."""
        return {port.name: from_device(self.read_device(port), port) for port in ports}

    def read_device(self, port: Port) -> np.ndarray:
        """A tensor as it stands in the device's memory: int8 (n, y, x, c)."""
        assert self._driver is not None
        data = self._driver.read(port.address, port_bytes(port, self.config))
        return unpack(data, port.shape4, self.config, port.cell)

    def _start(
        self, program: Program, arrays: Mapping[str, np.ndarray], *, record: bool = False
    ) -> tuple[dict[str, int], int | None, np.ndarray | None]:
        driver = self._ready(program)
        for port in program.inputs:
            data = pack(to_device(arrays[port.name], port), self.config, port.cell)
            driver.device.write_memory(port.address, data)
        device = driver.device
        if not isinstance(device, RtlDevice):
            result = driver.run()
            timed = not isinstance(device, FunctionalDevice)
            return result.counters, result.cycles if timed else None, None
        device.record_events(record)
        result = driver.run(progress=self._cycles())
        return result.counters, result.cycles, device.take_events() if record else None

    def _cycles(self) -> Callable[[int], None] | None:
        stage = self.stage
        return None if stage is None else lambda cycles: stage("simulating cycles", cycles, 0)

    def _ready(self, program: Program) -> Driver:
        if self._driver is None or self._driver.device.dram_bytes < program.dram_bytes:
            self.close()
            size = max(_DRAM_BYTES, program.dram_bytes)
            device = open_device(self.device_name, self.config, size, self.stage, self._port)
            self._driver = Driver(device)
        if self._loaded is not program:
            self._check_order(program)
            self._driver.load(program)
            self._loaded = program
        return self._driver

    def _check_order(self, program: Program) -> None:
        """On the functional device, which runs in one order only: does any other give the same?"""
        if self.device_name == "functional" and program is not self._checked:
            try:
                check(program.instructions, self.config)
            except RaceError as error:
                raise ProgramError(f"the program has a race: {error}.") from None
            self._checked = program

    def close(self) -> None:
        """Free the device."""
        if self._driver is not None:
            self._driver.device.close()
        self._driver = self._loaded = None
