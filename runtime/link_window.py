"""Requests under way on the serial link: sent in windows, repeated until they are answered."""

import dataclasses
import zlib
from collections.abc import Sequence

from cobs import cobs

from hpu.hw.link_protocol import (
    CRC_BYTES,
    HEADER,
    MAGIC,
    REQUEST_BYTES,
    WINDOW_FRAMES,
    Command,
    Status,
)
from hpu.runtime.channel import Channel
from hpu.runtime.errors import DeviceError

__all__ = ["LinkError", "Request", "Traffic", "Window", "decode_frame", "encode_frame"]

#: Shortest and longest wait before a request is repeated, in seconds.
_SHORTEST, _LONGEST = 0.05, 1.0
#: Bytes without the end of a frame that are kept.
_MOST_GARBAGE = 4 * REQUEST_BYTES
#: Bytes of a response before its payload, and after it.
_BEFORE, _AFTER = 2, 1


class LinkError(DeviceError):
    """The link does not answer, or what answers is not what it was."""


@dataclasses.dataclass
class Traffic:
    """Frames sent for the first time, sent again, received, and received but not readable."""

    sent: int = 0
    repeated: int = 0
    received: int = 0
    damaged: int = 0


def encode_frame(body: bytes) -> bytes:
    """``body`` with its CRC in COBS, and the zero that ends it."""
    return cobs.encode(body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")) + b"\0"


def decode_frame(frame: bytes) -> bytes | None:
    """The body of a frame without its zero; ``None`` when it is damaged."""
    try:
        data = cobs.decode(frame)
    except cobs.DecodeError:
        return None
    body, crc = data[:-CRC_BYTES], data[-CRC_BYTES:]
    return body if body and zlib.crc32(body) == int.from_bytes(crc, "little") else None


@dataclasses.dataclass(eq=False)
class Request:
    """One request, and how it goes.

    All frames that are sent, again or not, are numbered: ``first`` is the number when it was sent
    first, ``turn`` when it was sent last, at the time ``at``.
    ``payload`` and ``status`` are those of the response, when it has come.
    """

    command: Command
    address: int = 0
    count: int = 1
    data: bytes = b""
    frame: bytes = b""
    first: int = 0
    turn: int = 0
    at: float = 0.0
    payload: bytes = b""
    status: Status = Status.OKAY
    #: Sequence number of the response.
    answered: int = 0

    @property
    def size(self) -> int:
        """Bytes that it takes in the device."""
        return HEADER.size + len(self.data) + CRC_BYTES

    def answers(self, payload: bytes) -> bool:
        """Whether a response of this payload can be its own."""
        if self.command == Command.HELLO:
            return payload.startswith(MAGIC)
        reads = self.command in (Command.READ_MEMORY, Command.READ_REGISTERS)
        return len(payload) == (self.count if reads else 0)


class _Patience:
    """How long to wait for an answer before a request is repeated, estimated as TCP does.

    The wait doubles with every repetition, until an answer comes that can be of one request only.
    """

    def __init__(self) -> None:
        self._mean: float | None = None
        self._spread, self._tries = 0.0, 0

    def learn(self, seconds: float) -> None:
        """The answer to a request that was sent once came after this time."""
        if self._mean is None:
            self._mean, self._spread = seconds, seconds / 2
        error = seconds - self._mean
        self._mean += error / 8
        self._spread += (abs(error) - self._spread) / 4
        self._tries = 0

    def repeated(self) -> None:
        self._tries += 1

    @property
    def seconds(self) -> float:
        wait = _LONGEST if self._mean is None else self._mean + 4 * self._spread
        return min(max(wait, _SHORTEST) * 2**self._tries, _LONGEST)


class Window:
    """Sends requests, as many at a time as the device holds, and collects their responses.

    Parameters
    ----------
    channel
        To the device.
    timeout
        Seconds without any answer after which it gives up.
    """

    def __init__(self, channel: Channel, timeout: float):
        self.channel, self.timeout = channel, timeout
        self.session = self.sequence = 0
        #: Bytes of requests that the device holds.
        self.room = REQUEST_BYTES
        self.traffic = Traffic()
        self._buffer = bytearray()
        self._patience = _Patience()
        self._turn = 0
        self._base = self._heard = 0.0
        #: Requests that wait for their response, by sequence number, oldest first.
        self._flying: dict[int, Request] = {}

    def run(self, requests: Sequence[Request]) -> None:
        """Carry out all of them, in order, each once; nothing else is under way then.

        Raises
        ------
        LinkError
            When no answer comes in time, or the device has been reset.
        """
        self._flying.clear()
        self._base = self._heard = self.channel.now()
        waiting = list(reversed(requests))
        while waiting or self._flying:
            self._send_new(waiting)
            self._receive()

    def _send_new(self, waiting: list[Request]) -> None:
        used, new = sum(request.size for request in self._flying.values()), []
        while waiting and len(self._flying) < WINDOW_FRAMES:
            used += waiting[-1].size
            if used > self.room and self._flying:
                break
            new.append(waiting.pop())
            self._number(new[-1])
        self.traffic.sent += len(new)
        self._send(new)

    def _number(self, request: Request) -> None:
        head = (self.session, self.sequence, request.command, request.count - 1, request.address)
        request.frame = encode_frame(HEADER.pack(*head) + request.data)
        self._flying[self.sequence] = request
        self.sequence = (self.sequence + 1) % 256

    def _send(self, requests: Sequence[Request]) -> None:
        if not requests:
            return
        for request in requests:
            self._turn += 1
            request.turn, request.at = self._turn, self.channel.now()
            request.first = request.first or self._turn
        self.channel.write(b"".join(request.frame for request in requests))

    def _repeat(self, requests: Sequence[Request]) -> None:
        self.traffic.repeated += len(requests)
        self._send(requests)

    def _receive(self) -> None:
        """Take what comes; when nothing does in time, send the oldest and newest request again."""
        wait = self._base + self._patience.seconds - self.channel.now()
        data = self.channel.read(wait) if wait > 0 else b""
        for body in self._bodies(data):
            self._answer(body)
        if data or not self._flying:
            return
        now = self.channel.now()
        if now - self._heard >= self.timeout:
            raise LinkError(
                f"the device on {self.channel.name} has not answered for {self.timeout:g} s: check "
                "that the board is powered, flashed and on this port, and run again."
            )
        self._base = now
        self._patience.repeated()
        # The newest shows a gap if there is one: the device may have dropped all but the oldest.
        oldest, *_, newest = [*self._flying.values()] * 2
        self._repeat([oldest] if oldest is newest else [oldest, newest])

    def _bodies(self, data: bytes) -> list[bytes]:
        """Good frames that ``data`` completes."""
        self._buffer += data
        *frames, rest = bytes(self._buffer).split(b"\0")
        self._buffer[:] = rest[:_MOST_GARBAGE]
        bodies = [decode_frame(frame) for frame in frames if frame]
        good = [body for body in bodies if body is not None and len(body) >= _BEFORE + _AFTER]
        self.traffic.received += len(good)
        self.traffic.damaged += len(bodies) - len(good)
        return good

    def _answer(self, body: bytes) -> None:
        session, sequence, status = body[0], body[1], body[-1]
        if session != self.session:
            return  # of an earlier session
        oldest = next(iter(self._flying.values()), None)
        if oldest is not None and oldest.command == Command.HELLO:
            self._finish(oldest, body)
        elif status == Status.STRANGER:
            raise LinkError(
                f"the device on {self.channel.name} was reset in the meantime: run again."
            )
        elif status == Status.GAP:
            self._close_gap(sequence)
        elif sequence in self._flying:
            self._finish(self._flying[sequence], body)

    def _close_gap(self, expected: int) -> None:
        """The device dropped all that came after a request that it never saw."""
        if expected in self._flying:
            numbers = list(self._flying)
            self._repeat([self._flying[n] for n in numbers[numbers.index(expected) :]])

    def _finish(self, request: Request, body: bytes) -> None:
        payload, now = body[_BEFORE:-_AFTER], self.channel.now()
        if not request.answers(payload):
            return
        if request.first == request.turn:
            self._patience.learn(now - max(request.at, self._heard))
        request.payload, request.status, request.answered = payload, Status(body[-1]), body[1]
        self._flying = {n: other for n, other in self._flying.items() if other is not request}
        self._heard = self._base = now
        # The device answers in order: what was sent before, for the last time, has been lost.
        self._repeat([other for other in self._flying.values() if other.turn < request.first])
