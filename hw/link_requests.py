"""Carries out the requests of a link, one after the other, each once."""

import enum

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hpu.hw.axi import Axi4, AxiLite
from hpu.hw.config import Config
from hpu.hw.link_access import BeatAccess
from hpu.hw.link_frames import FRAME_BYTE
from hpu.hw.link_protocol import HEADER, WINDOW_FRAMES, Command, Identity, Status
from hpu.hw.ram import Ram
from hpu.hw.registers import REGISTER_ADDR_BITS

__all__ = ["RESET_CYCLES", "Requests"]

#: Cycles for which a reset lasts.
RESET_CYCLES = 64
_STATUS_BITS = 3
_WORD_BYTES = 4


class _Payload(enum.IntEnum):
    """What a response carries between its sequence number and its status."""

    NOTHING = 0
    BYTES = 1
    IDENTITY = 2


class Requests(wiring.Component):
    """Frames of requests in, frames of responses out.

    Requests are carried out in the order of their sequence numbers. One that was carried out
    before is answered again: a read by reading again, any other by the status that it had. One
    from after a gap is not carried out, and the first of these is answered with GAP.

    A response begins when ``room`` is high. ``memory`` makes one access of one beat at a time.
    """

    def __init__(self, *, config: Config, identity: Identity):
        self._config, self._identity = config, identity
        super().__init__(
            {
                "i": In(stream.Signature(FRAME_BYTE)),
                "o": Out(stream.Signature(FRAME_BYTE)),
                "room": In(1),
                "registers": Out(AxiLite(REGISTER_ADDR_BITS)),
                "memory": Out(Axi4(config)),
                "reset": Out(1),
                "active": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.access = self._access = BeatAccess(config=self._config)
        m.submodules.statuses = self._statuses = Ram(width=_STATUS_BITS, depth=WINDOW_FRAMES)
        wiring.connect(m, self._access.memory, wiring.flipped(self.memory))
        wiring.connect(m, self._access.registers, wiring.flipped(self.registers))
        self._declare(m)
        with m.FSM() as fsm:
            self._take(m)
            self._decide(m)
            self._repeat(m)
            self._execute(m)
            self._write(m)
            self._respond(m)
            self._read(m)
            self._identify(m)
        m.d.comb += self.busy.eq(~fsm.ongoing("HEADER"))
        return m

    def _declare(self, m):
        header = Signal(8 * HEADER.size, name="header")
        names = ("session", "sequence", "command", "left")
        self._session, self._sequence, self._command, self._left = (
            header[8 * k : 8 * k + 8] for k in range(len(names))
        )
        self._header, self._addr = header, header[32:]
        self._current, self._expected = Signal(8), Signal(8)
        self._told = Signal()  # the gap before `expected` has been reported
        self._status = Signal(_STATUS_BITS)
        self._payload = Signal(range(len(_Payload)))
        self._ended = Signal()  # the request's last byte has been taken
        self._count = Signal(range(RESET_CYCLES))
        self._memories(m)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += self._ended.eq(self.i.p.last)

    def _memories(self, m):
        """The statuses of the last requests, and the beat under way with its address."""
        access, size = self._access, self._config.axi_bytes
        self._beat, self._strobe = Signal(8 * size), Signal(size)
        self._place = Signal(range(size))  # of the present byte in its beat
        self._boundary = Signal()  # it is the beat's last, or the request's
        is_register = self._command[1]
        top = Mux(is_register, _WORD_BYTES - 1, size - 1)
        m.d.comb += [
            self._place.eq(self._addr[: exact_log2(size)] & top),
            self._boundary.eq((self._place == top) | (self._left == 0)),
            access.is_register.eq(is_register),
            access.is_write.eq(self._command[0]),
            access.addr.eq(self._addr),
            access.w_data.eq(self._beat),
            access.w_strobe.eq(self._strobe),
            self._statuses.r_addr.eq(self._sequence),
            self._statuses.w_addr.eq(self._sequence),
            self._statuses.w_data.eq(self._status),
        ]
        with m.If(access.done & access.response[1]):
            m.d.sync += self._status.eq(access.response)

    def _take(self, m):
        """Take a header, or drop what is left of a request."""
        with m.State("HEADER"):
            m.d.comb += self.i.ready.eq(1)
            with m.If(self.i.valid):
                m.d.sync += self._header.eq(Cat(self._header[8:], self.i.p.data))
                m.d.sync += self._count.eq(self._count + 1)
                with m.If(self.i.p.last):
                    m.d.sync += self._count.eq(0)
                with m.Elif(self._count == HEADER.size - 1):
                    m.next = "DECIDE"
        with m.State("DROP"):
            m.d.comb += self.i.ready.eq(~self._ended)
            m.d.sync += self._count.eq(0)
            with m.If(self._ended):
                m.next = "HEADER"

    def _decide(self, m):
        """Is the request the next one, an old one, one after a gap, or of another session?"""
        ahead, stranger = Signal(8), Signal()
        m.d.comb += [
            ahead.eq(self._sequence - self._expected),
            stranger.eq(~self.active | (self._session != self._current)),
        ]
        with m.State("DECIDE"):
            m.d.comb += self._statuses.r_en.eq(1)
            m.d.sync += [
                self._count.eq(0),
                self._strobe.eq(0),
                self._status.eq(Status.OKAY),
                self._payload.eq(_Payload.NOTHING),
            ]
            with m.If(self._command == Command.HELLO):
                with m.If(stranger):
                    m.d.sync += [self._expected.eq(self._sequence + 1), self._told.eq(0)]
                m.d.sync += [self.active.eq(1), self._current.eq(self._session)]
                m.next = "HELLO"
            with m.Elif(stranger):
                m.d.sync += self._status.eq(Status.STRANGER)
                m.next = "RESPOND"
            with m.Elif(ahead == 0):
                m.d.sync += [self._expected.eq(self._expected + 1), self._told.eq(0)]
                m.next = "EXECUTE"
            with m.Elif(ahead[-1]):
                m.next = "REPEAT"
            with m.Else():
                m.d.sync += [self._told.eq(1), self._status.eq(Status.GAP)]
                m.next = "DROP"
                with m.If(~self._told):
                    m.next = "GAP"

    def _is(self, *commands: Command):
        return Cat(self._command == command for command in commands).any()

    def _repeat(self, m):
        """Answers that carry nothing out, but read."""
        with m.State("HELLO"):
            # Not the request's own number when the session has gone on since it began.
            m.d.sync += self._sequence.eq(self._expected - 1)
            m.d.sync += self._payload.eq(_Payload.IDENTITY)
            m.next = "RESPOND"
        with m.State("GAP"):
            m.d.sync += self._sequence.eq(self._expected)
            m.next = "RESPOND"
        with m.State("REPEAT"):
            m.next = "RESPOND"
            with m.If(self._is(Command.READ_MEMORY, Command.READ_REGISTERS)):
                m.d.sync += self._payload.eq(_Payload.BYTES)
            with m.Else():
                m.d.sync += self._status.eq(self._statuses.r_data)

    def _execute(self, m):
        with m.State("EXECUTE"):
            with m.If(self._is(Command.WRITE_MEMORY, Command.WRITE_REGISTERS)):
                m.next = "TAKE"
            with m.Elif(self._is(Command.READ_MEMORY, Command.READ_REGISTERS)):
                m.d.sync += self._payload.eq(_Payload.BYTES)
                m.next = "RESPOND"
            with m.Elif(self._is(Command.RESET)):
                m.next = "RESET"
            with m.Else():
                m.d.sync += self._status.eq(Status.MALFORMED)
                m.next = "RECORD"
        with m.State("RESET"):
            m.d.comb += self.reset.eq(1)
            m.d.sync += self._count.eq(self._count + 1)
            with m.If(self._count == RESET_CYCLES - 1):
                m.d.sync += self._count.eq(0)
                m.next = "RECORD"
        with m.State("RECORD"):
            m.d.comb += self._statuses.w_en.eq(1)
            m.next = "RESPOND"

    def _write(self, m):
        """Gather bytes to beats and write them."""
        with m.State("TAKE"):
            m.d.comb += self.i.ready.eq(~self._ended)
            with m.If(self._ended):
                m.d.sync += self._status.eq(Status.MALFORMED)
                m.next = "RECORD"
            with m.Elif(self.i.valid):
                for place in range(self._config.axi_bytes):
                    with m.If(self._place == place):
                        m.d.sync += self._beat.word_select(place, 8).eq(self.i.p.data)
                        m.d.sync += self._strobe[place].eq(1)
                with m.If(self._boundary):
                    m.next = "STORE"
                with m.Else():
                    self._advance(m)
        with m.State("STORE"):
            m.d.comb += self._access.start.eq(1)
            m.next = "STORED"
        with m.State("STORED"), m.If(self._access.done):
            m.d.sync += self._strobe.eq(0)
            self._advance(m)
            m.next = "TAKE"
            with m.If(self._left == 0):
                m.next = "RECORD"

    def _advance(self, m):
        m.d.sync += [self._addr.eq(self._addr + 1), self._left.eq(self._left - 1)]

    def _emit(self, m, state, value, following, *, last=0):
        """A state that sends one byte."""
        with m.State(state):
            m.d.comb += [self.o.valid.eq(1), self.o.p.data.eq(value), self.o.p.last.eq(last)]
            with m.If(self.o.ready):
                m.next = following

    def _respond(self, m):
        with m.State("RESPOND"), m.If(self.room):
            m.next = "SESSION"
        self._emit(m, "SESSION", self._session, "SEQUENCE")
        self._emit(m, "SEQUENCE", self._sequence, "PAYLOAD")
        with m.State("PAYLOAD"), m.Switch(self._payload):
            with m.Case(_Payload.NOTHING):
                m.next = "STATUS"
            with m.Case(_Payload.BYTES):
                m.next = "FETCH"
            with m.Case(_Payload.IDENTITY):
                m.next = "IDENTITY"
        self._emit(m, "STATUS", self._status, "DROP", last=1)

    def _read(self, m):
        """Read beats and send their bytes."""
        with m.State("FETCH"):
            m.d.comb += self._access.start.eq(1)
            m.next = "FETCHED"
        with m.State("FETCHED"), m.If(self._access.done):
            m.d.sync += self._beat.eq(self._access.r_data)
            m.next = "SEND"
        with m.State("SEND"):
            m.d.comb += [
                self.o.valid.eq(1),
                self.o.p.data.eq(self._beat.word_select(self._place, 8)),
            ]
            with m.If(self.o.ready):
                self._advance(m)
                with m.If(self._left == 0):
                    m.next = "STATUS"
                with m.Elif(self._boundary):
                    m.next = "FETCH"

    def _identify(self, m):
        text = self._identity.pack()
        with m.State("IDENTITY"):
            m.d.comb += [
                self.o.valid.eq(1),
                self.o.p.data.eq(Array(Const(byte, 8) for byte in text)[self._count]),
            ]
            with m.If(self.o.ready):
                m.d.sync += self._count.eq(self._count + 1)
                with m.If(self._count == len(text) - 1):
                    m.next = "STATUS"
