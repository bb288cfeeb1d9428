"""The device's end of the serial link, as simply as can be, on registers and a memory."""

import contextlib
import os
import pty
import select
import threading
import tty
import zlib

from hpu.hw.link_protocol import HEADER, WINDOW_FRAMES, Command, Identity, Status
from hpu.runtime.errors import DeviceError


def cobs(data: bytes) -> bytes:
    """Consistent overhead byte stuffing, a block at a time."""
    out, data = b"", data + b"\0"
    while data:
        block = data[:254].split(b"\0")[0]
        out += bytes([len(block) + 1]) + block
        data = data[len(block) + (len(block) < 254) :]
    return out


def uncobs(data: bytes) -> bytes | None:
    """The opposite; None when a block is cut short or there is a zero."""
    out = b""
    while data:
        code, block, data = data[0], data[1 : data[0]], data[data[0] :]
        if code == 0 or len(block) != code - 1 or 0 in block:
            return None
        out += block + (b"\0" if code < 255 and data else b"")
    return out


def frame(body: bytes) -> bytes:
    """A frame with its zero."""
    return cobs(body + zlib.crc32(body).to_bytes(4, "little")) + b"\0"


def body_of(text: bytes) -> bytes | None:
    """A frame's body; None when it is damaged."""
    data = uncobs(text)
    if data is None or zlib.crc32(data[:-4]).to_bytes(4, "little") != data[-4:]:
        return None
    return data[:-4]


def request(session: int, sequence: int, command: int, count: int, address: int, data=b"") -> bytes:
    """A request's body."""
    return HEADER.pack(session, sequence, command, count - 1, address) + data


class LinkTwin:
    """Answers requests on a device as :class:`hpu.runtime.devices.Device` has it."""

    def __init__(
        self, device, *, board: str = "twin", clock_hz: int = 1_000_000, window: int = 4096
    ):
        self.device = device
        self.identity = Identity(
            window=window,
            memory_bytes=device.dram_bytes,
            clock_hz=clock_hz,
            digest=device.config.digest()[:8],
            board=board,
        )
        self.resets = 0
        self._text = b""
        self.power_on()

    def power_on(self) -> None:
        """Forget the session, as the FPGA does when it is reset."""
        self._session, self._expected, self._told = None, 0, False
        self._statuses: dict[int, int] = {}

    def take(self, data: bytes) -> bytes:
        """The bytes that answer ``data``."""
        *frames, self._text = (self._text + data).split(b"\0")
        bodies = [body_of(text) for text in frames if text]
        answers = [self.answer(body) for body in bodies if body is not None]
        return b"".join(frame(answer) for answer in answers if answer is not None)

    def answer(self, body: bytes) -> bytes | None:
        """The response to a request, None when there is none."""
        session, sequence, command, count, address = HEADER.unpack(body[: HEADER.size])
        if command == Command.HELLO:
            if session != self._session:
                self._session, self._expected, self._told = session, (sequence + 1) % 256, False
            number = (self._expected - 1) % 256
            return bytes([session, number]) + self.identity.pack() + bytes([Status.OKAY])
        if session != self._session:
            return bytes([session, sequence, Status.STRANGER])
        ahead = (sequence - self._expected) % 256
        if 0 < ahead < 128:
            told, self._told = self._told, True
            return None if told else bytes([session, self._expected, Status.GAP])
        reads = command in (Command.READ_MEMORY, Command.READ_REGISTERS)
        if ahead and not reads:
            return bytes([session, sequence, self._statuses.get(sequence % WINDOW_FRAMES, 0)])
        if not ahead:
            self._expected, self._told = (self._expected + 1) % 256, False
        payload, status = self._do(command, address, count + 1, body[HEADER.size :])
        self._statuses[sequence % WINDOW_FRAMES] = status
        return bytes([session, sequence]) + payload + bytes([status])

    def _do(self, command: int, address: int, count: int, data: bytes) -> tuple[bytes, int]:
        if command == Command.READ_MEMORY:
            return self.device.read_memory(address, count), Status.OKAY
        if command == Command.WRITE_MEMORY:
            self.device.write_memory(address, data[:count])
            return b"", Status.OKAY
        if command == Command.READ_REGISTERS:
            words = [self._register(at) for at in range(address, address + count, 4)]
            failed = any(word is None for word in words)
            payload = b"".join((word or 0).to_bytes(4, "little") for word in words)
            return payload, Status.SLVERR if failed else Status.OKAY
        if command == Command.WRITE_REGISTERS:
            try:
                self.device.write_register(address, int.from_bytes(data[:4], "little"))
            except DeviceError:
                return b"", Status.SLVERR
            return b"", Status.OKAY
        if command == Command.RESET:
            self.resets += 1
            return b"", Status.OKAY
        return b"", Status.MALFORMED

    def _register(self, address: int) -> int | None:
        try:
            return self.device.read_register(address)
        except DeviceError:
            return None


class TwinChannel:
    """A channel to a twin, whose clock goes on by a millisecond with every read."""

    name = "the twin's line"

    def __init__(self, twin: LinkTwin):
        self._twin, self._out, self._now = twin, b"", 0.0

    def now(self) -> float:
        return self._now

    def write(self, data: bytes) -> None:
        self._out += self._twin.take(data)

    def read(self, timeout: float) -> bytes:
        self._now += min(timeout, 0.001) if self._out else timeout
        out, self._out = self._out[:100], self._out[100:]
        return out

    def close(self) -> None:
        pass


class TwinPort:
    """A twin behind a pseudo-terminal; ``cut`` takes the terminal away after some more bytes."""

    def __init__(self, twin: LinkTwin):
        self.twin = twin
        self._host, self._terminal = pty.openpty()
        tty.setraw(self._terminal)
        self.path = os.ttyname(self._terminal)
        self._left: int | None = None
        self.reset_after: int | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def cut(self, after: int) -> None:
        """Take the terminal away when this many bytes more have come from the host."""
        self._left = after

    def _serve(self) -> None:
        while not self._stopped:
            if not select.select([self._host], [], [], 0.02)[0]:
                continue
            data = os.read(self._host, 4096)
            if self._left is not None:
                self._left -= len(data)
                if self._left < 0:
                    return self._close()
            if self.reset_after is not None:
                self.reset_after -= len(data)
                if self.reset_after < 0:
                    self.reset_after = None
                    self.twin.power_on()
            answer = self.twin.take(data)
            while answer:
                answer = answer[os.write(self._host, answer) :]

    def _close(self) -> None:
        for handle in (self._host, self._terminal):
            with contextlib.suppress(OSError):
                os.close(handle)

    def __enter__(self) -> "TwinPort":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopped = True
        self._thread.join()
        if self._left is None or self._left >= 0:
            self._close()
