"""The host's end of the serial link: registers and memory of a device over a channel."""

import secrets

from hpu.hw.link_protocol import MAX_PAYLOAD, Command, Identity, Status
from hpu.runtime.channel import Channel
from hpu.runtime.errors import DeviceError
from hpu.runtime.link_window import LinkError, Request, Traffic, Window

__all__ = ["TIMEOUT", "Link"]

#: Seconds without any answer after which the link is given up.
TIMEOUT = 5.0
_SESSIONS = 256


class Link:
    """A session with a device over a channel.

    Every request is carried out once, in order, whatever the channel loses, repeats or damages.

    Parameters
    ----------
    channel
        To the device; closed with the link.
    timeout
        Seconds without any answer after which the link is given up.
    session
        Number of the session; random unless told.

    Raises
    ------
    LinkError
        When nothing answers, or no HPU.
    """

    def __init__(self, channel: Channel, *, timeout: float = TIMEOUT, session: int | None = None):
        self._channel = channel
        self._window = Window(channel, timeout)
        self._window.session = secrets.randbelow(_SESSIONS) if session is None else session
        #: What the device says of itself.
        self.identity: Identity = self._greet()
        self._window.room = self.identity.window
        #: Times that the host has waited for the device.
        self.turns = 0

    @property
    def name(self) -> str:
        """Of the channel."""
        return self._channel.name

    def now(self) -> float:
        """Seconds on the channel's clock."""
        return self._channel.now()

    @property
    def traffic(self) -> Traffic:
        """What the link has sent and received so far."""
        return self._window.traffic

    def _greet(self) -> Identity:
        """Begin a session: one whose number the device is not in the midst of already."""
        for _ in range(_SESSIONS):
            self._window.sequence = 0
            hello = Request(Command.HELLO)
            self._window.run([hello])
            if hello.answered == 0:
                return self._identity(hello.payload)
            self._window.session = (self._window.session + 1) % _SESSIONS
        raise LinkError(f"the device on {self.name} begins no session: reset the board.")

    def _identity(self, payload: bytes) -> Identity:
        try:
            return Identity.unpack(payload)
        except ValueError as error:
            raise LinkError(
                f"the device on {self.name} cannot be used, for {error}: check --port, and flash "
                "the board with this version."
            ) from None

    def read_registers(self, address: int, count: int) -> list[int]:
        """``count`` 32-bit registers from byte ``address`` on.

        Raises
        ------
        LinkError
            When the link is lost.
        DeviceError
            When there is no such register to be read.
        """
        data = self._read(Command.READ_REGISTERS, address, 4 * count)
        return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]

    def write_register(self, address: int, value: int) -> None:
        """Write the 32-bit register at byte ``address``; raises as :meth:`read_registers`."""
        self._write(Command.WRITE_REGISTERS, address, value.to_bytes(4, "little"))

    def read_memory(self, address: int, size: int) -> bytes:
        """``size`` bytes of memory.

        Raises
        ------
        LinkError
            When the link is lost.
        DeviceError
            When the memory answers with an error.
        """
        return self._read(Command.READ_MEMORY, address, size)

    def write_memory(self, address: int, data: bytes) -> None:
        """Write ``data`` to memory at ``address``; raises as :meth:`read_memory`."""
        self._write(Command.WRITE_MEMORY, address, data)

    def reset(self) -> None:
        """Reset the HPU, but not the link; raises as :meth:`read_memory`."""
        self._run([Request(Command.RESET)])

    def _read(self, command: Command, address: int, size: int) -> bytes:
        requests = [
            Request(command, address + at, min(MAX_PAYLOAD, size - at))
            for at in range(0, size, MAX_PAYLOAD)
        ]
        self._run(requests)
        return b"".join(request.payload for request in requests)

    def _write(self, command: Command, address: int, data: bytes) -> None:
        parts = (data[at : at + MAX_PAYLOAD] for at in range(0, len(data), MAX_PAYLOAD))
        places = range(address, address + len(data), MAX_PAYLOAD)
        self._run(
            [Request(command, at, len(part), part) for at, part in zip(places, parts, strict=True)]
        )

    def _run(self, requests: list[Request]) -> None:
        self._window.run(requests)
        self.turns += 1
        for request in requests:
            if request.status != Status.OKAY:
                registers = request.command in (Command.READ_REGISTERS, Command.WRITE_REGISTERS)
                what = "register" if registers else "memory at"
                raise DeviceError(
                    f"the device answered {what} {request.address:#x} with {request.status.name}."
                )

    def close(self) -> None:
        """Free the channel."""
        self._channel.close()
