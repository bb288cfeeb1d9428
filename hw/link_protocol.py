"""What both ends of the serial link agree on: frames, commands, statuses and identification.

A frame is coded with COBS, so that a zero byte ends it and nothing else does, and its last four
bytes are the CRC-32 (as in zlib, little endian) of those before. A request is

    session, sequence number, command, count - 1, address (4 bytes, little endian), payload

and its response is ``session, sequence number, payload, status``. The payload of a write request
and of a read response has ``count`` bytes; no other frame has one, but the identification.
"""

import dataclasses
import enum
import struct

__all__ = [
    "CRC_BYTES",
    "HEADER",
    "IDENTITY",
    "MAGIC",
    "MAX_PAYLOAD",
    "REQUEST_BYTES",
    "RESPONSE_BYTES",
    "VERSION",
    "WINDOW_FRAMES",
    "Command",
    "Identity",
    "Status",
]

MAGIC = b"HPUL"
#: Version of this protocol.
VERSION = 1
#: Bytes of payload of the longest frame.
MAX_PAYLOAD = 256
#: Requests that may wait for their response at one time.
WINDOW_FRAMES = 32
#: Session, sequence number, command, count - 1, address.
HEADER = struct.Struct("<BBBBI")
CRC_BYTES = 4
#: Bytes of the longest request, as it stands in the device's buffer.
REQUEST_BYTES = HEADER.size + MAX_PAYLOAD + CRC_BYTES
#: Bytes of the longest response before its CRC: session, sequence number, payload, status.
RESPONSE_BYTES = 3 + MAX_PAYLOAD


class Command(enum.IntEnum):
    """What a request asks for. Bit 0: it has a payload; bit 1: of registers, not of memory."""

    READ_MEMORY = 0
    WRITE_MEMORY = 1
    READ_REGISTERS = 2
    WRITE_REGISTERS = 3
    #: Begin a session with this request's sequence number; the response is the identification.
    HELLO = 4
    #: Reset the HPU, but not the link.
    RESET = 5


class Status(enum.IntEnum):
    """How a request went. The lower two bits of the first four are the AXI response."""

    OKAY = 0
    SLVERR = 2
    DECERR = 3
    #: A request before this one was lost: the response's sequence number is the one expected.
    GAP = 4
    #: The request is not of the present session: the device has been reset, or has another host.
    STRANGER = 5
    #: An unknown command, or fewer bytes than the request says.
    MALFORMED = 6


#: Magic, version, window's bytes, memory's bytes, clock in Hz, digest's first 8 bytes, board.
IDENTITY = struct.Struct("<4sHHII8s24s")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identity:
    """What a device says of itself.

    Attributes
    ----------
    window
        Bytes of requests, with their CRC and before COBS, that the device can hold.
    memory_bytes
        Bytes of memory behind the link, from address 0 on.
    clock_hz
        Clock of the HPU.
    digest
        First 8 bytes of the configuration's digest.
    board
        Name of the board, as the tools know it.

    Raises
    ------
    ValueError
        When a number or the name does not fit.
    """

    window: int
    memory_bytes: int
    clock_hz: int
    digest: bytes
    board: str

    def __post_init__(self) -> None:
        for name, bits in (("window", 16), ("memory_bytes", 32), ("clock_hz", 32)):
            value = getattr(self, name)
            if not 0 < value < 1 << bits:
                raise ValueError(f"{name} must be from 1 to {(1 << bits) - 1}, not {value!r}")
        if not (self.board.isascii() and 0 < len(self.board) <= 24):
            raise ValueError(f"board must be 1 to 24 ASCII characters, not {self.board!r}")
        if len(self.digest) != 8:
            raise ValueError(f"digest must be 8 bytes, not {len(self.digest)}")

    def pack(self) -> bytes:
        """The payload of the response to HELLO."""
        name, numbers = self.board.encode(), (self.window, self.memory_bytes, self.clock_hz)
        return IDENTITY.pack(MAGIC, VERSION, *numbers, self.digest, name)

    @classmethod
    def unpack(cls, payload: bytes) -> "Identity":
        """The opposite of :meth:`pack`.

        Raises
        ------
        ValueError
            When it is of something else, or of another version of the protocol.
        """
        if len(payload) < 6 or payload[:4] != MAGIC:
            raise ValueError("it is no HPU")
        version = int.from_bytes(payload[4:6], "little")
        if version != VERSION:
            raise ValueError(f"its link is of version {version}, not {VERSION}")
        if len(payload) != IDENTITY.size:
            raise ValueError("it is no HPU")
        _, _, window, memory, clock, digest, board = IDENTITY.unpack(payload)
        return cls(
            window=window,
            memory_bytes=memory,
            clock_hz=clock,
            digest=digest,
            board=board.rstrip(b"\0").decode("ascii", "replace"),
        )
