"""The serial link of a board: a UART whose frames read and write the HPU's registers and memory."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hpu.hw.axi import Axi4, AxiLite
from hpu.hw.config import Config
from hpu.hw.link_frames import FrameReceiver, FrameSender
from hpu.hw.link_protocol import RESPONSE_BYTES, Identity
from hpu.hw.link_requests import Requests
from hpu.hw.registers import REGISTER_ADDR_BITS
from hpu.hw.uart import UartReceiver, UartTransmitter, phase_step

__all__ = ["Link"]

#: Bytes of requests that wait in the device.
WINDOW_BYTES = 4096
#: Bytes of responses that wait in the device.
_OUT_BYTES = 2048


class Link(wiring.Component):
    """From a UART's pads to the HPU's registers and the board's memory.

    Parameters
    ----------
    config
        The HPU's configuration: width of the memory port and what the link identifies itself with.
    board
        Name of the board.
    clock_hz
        Frequency of the clock ``sync``.
    baud
        Bits a second on the pads: at most a quarter of the clock.
    memory_bytes
        Bytes of memory from address 0 on.

    ``rx`` is synchronised here. ``registers`` goes to the HPU's ``s_axil``. ``memory`` is one more
    manager beside the HPU's ``m_axi``: one single-beat access at a time, always ID 0. ``reset``
    holds the HPU, and whatever still answers its transactions, in reset; the link itself has
    no access under way then. ``active`` is high while a session lasts, ``busy`` while a request is
    being served.
    """

    def __init__(self, *, config: Config, board: str, clock_hz: int, baud: int, memory_bytes: int):
        phase_step(clock_hz, baud)
        if config.addr_bits > 32:
            raise ValueError(f"addr_bits must be at most 32 behind a link, not {config.addr_bits}")
        self._config, self._clock_hz, self._baud = config, clock_hz, baud
        self._identity = Identity(
            window=WINDOW_BYTES,
            memory_bytes=memory_bytes,
            clock_hz=clock_hz,
            digest=config.digest()[:8],
            board=board,
        )
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "registers": Out(AxiLite(REGISTER_ADDR_BITS)),
                "memory": Out(Axi4(config)),
                "reset": Out(1),
                "active": Out(1),
                "busy": Out(1),
            }
        )

    @property
    def identity(self) -> Identity:
        """What the link says of the device."""
        return self._identity

    def elaborate(self, platform):
        m = Module()
        line = {"clock_hz": self._clock_hz, "baud": self._baud}
        m.submodules.receiver = receiver = UartReceiver(**line)
        m.submodules.transmitter = transmitter = UartTransmitter(**line)
        m.submodules.frames_in = frames_in = FrameReceiver(depth=WINDOW_BYTES)
        m.submodules.frames_out = frames_out = FrameSender(depth=_OUT_BYTES, longest=RESPONSE_BYTES)
        m.submodules.requests = requests = Requests(config=self._config, identity=self._identity)
        wiring.connect(m, frames_in.o, requests.i)
        wiring.connect(m, requests.o, frames_out.i)
        wiring.connect(m, frames_out.o, transmitter.i)
        wiring.connect(m, requests.registers, wiring.flipped(self.registers))
        wiring.connect(m, requests.memory, wiring.flipped(self.memory))
        m.d.comb += [
            receiver.rx.eq(self.rx),
            frames_in.data.eq(receiver.data),
            frames_in.valid.eq(receiver.valid),
            self.tx.eq(transmitter.tx),
            requests.room.eq(frames_out.room),
            self.reset.eq(requests.reset),
            self.active.eq(requests.active),
            self.busy.eq(requests.busy),
        ]
        return m
