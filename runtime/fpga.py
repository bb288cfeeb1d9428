"""An HPU on an FPGA board, behind its serial link."""

from collections.abc import Callable

import numpy as np

from hpu.hw import csr
from hpu.hw.boards import BOARDS
from hpu.hw.config import CONFIGS, Config
from hpu.hw.link_protocol import Identity
from hpu.runtime.channel import Channel, SerialChannel
from hpu.runtime.devices import CycleProgress, as_bytes, check_inside
from hpu.runtime.errors import DeviceError
from hpu.runtime.link import TIMEOUT, Link

__all__ = ["FpgaDevice", "config_of", "configuration_on", "connect", "open_fpga"]

#: Seconds for the first answer at one line rate, where there are others to try.
_TRY_SECONDS = 1.5


def connect(port: str | None, through: Callable[[Channel], Channel] = lambda c: c) -> Link:
    """A session with whatever board is on ``port``, at the line rate of one of the known boards.

    ``through`` may wrap the channel.

    Raises
    ------
    DeviceError
        When no port is given, it cannot be opened, or no HPU answers.
    """
    if port is None:
        raise DeviceError("the device fpga needs a serial port: give --port.")
    rates = sorted({board.baud for board in BOARDS.values()}, reverse=True)
    for rate in rates:
        channel = through(SerialChannel(port, baud=rate))
        try:
            return Link(channel, timeout=TIMEOUT if rate == rates[-1] else _TRY_SECONDS)
        except DeviceError:
            channel.close()
            if rate == rates[-1]:
                raise
    raise AssertionError("there are no boards")


def config_of(identity: Identity) -> Config:
    """The configuration that a board says it has.

    Raises
    ------
    DeviceError
        When none that is known here has this digest.
    """
    for config in CONFIGS.values():
        if config.digest()[:8] == identity.digest:
            return config
    raise DeviceError(
        f"the board ({identity.board}) has a configuration unknown here, of digest "
        f"{identity.digest.hex()}: flash it with this version."
    )


def open_fpga(config: Config, port: str | None) -> "FpgaDevice":
    """The board on ``port`` as a device.

    Raises
    ------
    DeviceError
        As of :func:`connect` and :class:`FpgaDevice`.
    """
    link = connect(port)
    try:
        return FpgaDevice(config, link)
    except DeviceError:
        link.close()
        raise


def configuration_on(port: str | None) -> Config:
    """The configuration of the board on ``port``; raises as :func:`connect`."""
    link = connect(port)
    try:
        return config_of(link.identity)
    finally:
        link.close()


class FpgaDevice:
    """An HPU at the other end of a link; reset when it is opened.

    Parameters
    ----------
    config
        Configuration that the HPU must have.
    link
        To the board; closed with the device.

    Raises
    ------
    DeviceError
        When the board's configuration is another, or the link is lost.
    """

    def __init__(self, config: Config, link: Link):
        self.config, self._link = config, link
        self.dram_bytes = link.identity.memory_bytes
        self._check(link.identity)
        link.reset()

    @property
    def link(self) -> Link:
        """To the board."""
        return self._link

    def _check(self, identity: Identity) -> None:
        if identity.digest == self.config.digest()[:8]:
            return
        raise DeviceError(
            f"the board on {self._link.name} ({identity.board}) has configuration "
            f"{config_of(identity).name!r}, not {self.config.name!r}: compile for the board's, or "
            "flash the other bitstream."
        )

    def read_register(self, address: int) -> int:
        return self._link.read_registers(address, 1)[0]

    def read_registers(self, address: int, count: int) -> list[int]:
        return self._link.read_registers(address, count)

    def write_register(self, address: int, value: int) -> None:
        self._link.write_register(address, value)

    def read_memory(self, address: int, size: int) -> bytes:
        check_inside(address, size, self.dram_bytes)
        return self._link.read_memory(address, size)

    def write_memory(self, address: int, data: bytes | np.ndarray) -> None:
        values = as_bytes(data).tobytes()
        check_inside(address, len(values), self.dram_bytes)
        self._link.write_memory(address, values)

    def wait(self, timeout: float | None = None, progress: CycleProgress | None = None) -> bool:
        """As of :class:`~hpu.runtime.devices.Device`; the interrupt's bit is polled."""
        begin = self._link.now()
        while not csr.bits("STATUS", self.read_register(csr.address("STATUS")))["irq"]:
            if timeout is not None and self._link.now() - begin > timeout:
                return False
        return True

    def close(self) -> None:
        self._link.close()
