"""Byte channels to a board: a serial port, and recordings of one and their replay."""

import contextlib
import errno
import json
import termios
import time
from pathlib import Path
from typing import Protocol

import serial
from serial.tools import list_ports

from hpu.runtime.errors import DeviceError

__all__ = ["BAUD", "Channel", "RecordingChannel", "ReplayChannel", "SerialChannel"]

#: Line rate of the boards unless told otherwise.
BAUD = 3_000_000
#: Seconds within which the port must take what is written.
_WRITE_SECONDS = 10.0
_ERRORS = (serial.SerialException, OSError, termios.error, ValueError)


class Channel(Protocol):
    """Bytes to and from a board, some of which may be lost or damaged."""

    #: As messages call it.
    name: str

    def now(self) -> float:
        """Seconds on a clock that only goes forward."""

    def write(self, data: bytes) -> None:
        """Send; ``DeviceError`` when the port is gone."""

    def read(self, timeout: float) -> bytes:
        """What has come, at least one byte unless none came within ``timeout`` seconds."""

    def close(self) -> None:
        """Free the port."""


class SerialChannel:
    """A serial port, locked against other processes.

    Raises
    ------
    DeviceError
        When it does not exist, may not be opened, is in use, or is no serial port.
    """

    def __init__(self, port: str, *, baud: int = BAUD):
        self.name = port
        try:
            self._port = serial.Serial(
                port, baud, timeout=0, write_timeout=_WRITE_SECONDS, exclusive=True
            )
            self._port.reset_input_buffer()
        except _ERRORS as error:
            raise DeviceError(_refusal(port, error)) from None
        with contextlib.suppress(*_ERRORS):  # only some drivers have it
            self._port.set_low_latency_mode(True)

    def now(self) -> float:
        return time.monotonic()

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except serial.SerialTimeoutException:
            raise DeviceError(
                f"the port {self.name} took nothing for {_WRITE_SECONDS:g} s: reset the board "
                "and run again."
            ) from None
        except _ERRORS:
            raise self._gone() from None

    def read(self, timeout: float) -> bytes:
        try:
            self._port.timeout = timeout
            first = self._port.read(1)
            return first + self._port.read(self._port.in_waiting) if first else b""
        except _ERRORS:
            raise self._gone() from None

    def _gone(self) -> DeviceError:
        return DeviceError(f"the port {self.name} went away: check the USB cable and run again.")

    def close(self) -> None:
        self._port.close()


def _refusal(port: str, error: Exception) -> str:
    """One sentence for a port that does not open."""
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        known = ", ".join(sorted(found.device for found in list_ports.comports())) or "none"
        return (
            f"the port {port} does not exist (serial ports here: {known}): check the USB cable "
            "and --port."
        )
    if number in (errno.EACCES, errno.EPERM):
        return f"the port {port} may not be opened by this user: add the user to its group."
    if number in (errno.EAGAIN, errno.EBUSY):
        return f"the port {port} is in use by another program: close that one."
    return f"the port {port} is no serial port that can be used: check --port."


class RecordingChannel:
    """A channel whose traffic is written to a file: a JSON object a line, to be replayed.

    ``{"t": seconds, "sent": hex}``, ``{"t": seconds, "received": hex}`` (empty: nothing came).
    """

    def __init__(self, channel: Channel, path: Path):
        self._channel, self.name = channel, channel.name
        self._file = path.open("w")

    def _note(self, kind: str, data: bytes) -> None:
        entry = {"t": round(self.now(), 6), kind: data.hex()}
        self._file.write(json.dumps(entry) + "\n")

    def now(self) -> float:
        return self._channel.now()

    def write(self, data: bytes) -> None:
        self._note("sent", data)
        self._channel.write(data)

    def read(self, timeout: float) -> bytes:
        data = self._channel.read(timeout)
        self._note("received", data)
        return data

    def close(self) -> None:
        self._file.close()
        self._channel.close()


class ReplayChannel:
    """What :class:`RecordingChannel` wrote, in the place of the port: it answers as that did.

    Its clock is the recording's. Whoever writes anything but what was sent then is refused with
    ``DeviceError``.
    """

    def __init__(self, path: Path):
        self.name = str(path)
        self._entries = [json.loads(line) for line in path.read_text().splitlines()]
        self._place, self._now = 0, 0.0

    def _next(self, kind: str) -> bytes:
        entry = self._entries[self._place] if self._place < len(self._entries) else {}
        if kind not in entry:
            raise DeviceError(f"{self.name} has something else at line {self._place + 1}.")
        self._place, self._now = self._place + 1, entry["t"]
        return bytes.fromhex(entry[kind])

    def now(self) -> float:
        return self._now

    def write(self, data: bytes) -> None:
        if data != self._next("sent"):
            raise DeviceError(f"{self.name} was sent something else at line {self._place}.")

    def read(self, timeout: float) -> bytes:
        return self._next("received")

    @property
    def done(self) -> bool:
        """Whether all of it has been replayed."""
        return self._place == len(self._entries)

    def close(self) -> None:
        pass
