"""Frames on a stream of bytes: COBS, CRC-32, and the rings in which they wait.

A ring's writer may put its bytes anywhere ahead; its reader sees them up to ``limit``. So a frame
that turns out damaged is forgotten by not moving the limit, and a COBS code, which stands before
the bytes it counts, is written after them.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ETHERNET
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hpu.hw.link_protocol import CRC_BYTES
from hpu.hw.ram import Ram

__all__ = ["FRAME_BYTE", "FrameReceiver", "FrameSender", "Ring"]

#: A byte of a frame; ``last`` marks the frame's end.
FRAME_BYTE = data.StructLayout({"data": unsigned(8), "last": unsigned(1)})
#: A COBS block of this many bytes ends without a zero.
_LONG_BLOCK = 254


class Ring(wiring.Component):
    """A block RAM as a queue. Positions have one bit more than addresses.

    The writer writes word ``w_addr``, which must be less than ``depth`` beyond ``head``. Words
    before ``limit`` come out of ``o``, at most one every two cycles; ``head`` is the next of them.
    """

    def __init__(self, *, width: int, depth: int):
        self._width, self._depth = width, depth
        position = exact_log2(depth) + 1
        super().__init__(
            {
                "w_en": In(1),
                "w_addr": In(position),
                "w_data": In(width),
                "limit": In(position),
                "head": Out(position),
                "o": Out(stream.Signature(unsigned(width))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = Ram(width=self._width, depth=self._depth)
        m.d.comb += [
            ram.w_en.eq(self.w_en),
            ram.w_addr.eq(self.w_addr),
            ram.w_data.eq(self.w_data),
            ram.r_addr.eq(self.head),
            ram.r_en.eq(~self.o.valid & (self.head != self.limit)),
            self.o.payload.eq(ram.r_data),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(ram.r_en):
            m.d.sync += [self.o.valid.eq(1), self.head.eq(self.head + 1)]
        return m


class FrameReceiver(wiring.Component):
    """Frames of up to ``depth`` bytes from the bytes of a line; only good ones come out of ``o``.

    A frame is good when its COBS blocks are whole, its CRC is right and it found room; its CRC
    comes out with it, at the end.
    """

    def __init__(self, *, depth: int):
        self._depth = depth
        super().__init__(
            {
                "data": In(8),
                "valid": In(1),
                "o": Out(stream.Signature(FRAME_BYTE)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.ring = ring = Ring(width=9, depth=self._depth)
        m.submodules.crc = crc = CRC32_ETHERNET(data_width=8).create()
        byte, emit, ended, damaged = Signal(8), Signal(), Signal(), Signal()
        self._unstuff(m, byte, emit, ended, damaged)
        m.d.comb += [
            crc.start.eq(ended),
            crc.valid.eq(emit),
            crc.data.eq(byte),
            ring.o.ready.eq(self.o.ready),
            self.o.valid.eq(ring.o.valid),
            self.o.payload.eq(ring.o.payload),
        ]
        self._keep(m, ring, byte, emit, ended, damaged | ~crc.match_detected)
        return m

    def _unstuff(self, m, byte, emit, ended, damaged):
        """COBS: ``byte`` and ``emit`` of every byte of a frame, ``ended`` at its end."""
        left, zero_due = Signal(8), Signal()
        m.d.comb += [byte.eq(self.data), damaged.eq(left != 0)]
        with m.If(self.valid):
            with m.If(self.data == 0):
                m.d.comb += ended.eq(1)
                m.d.sync += [left.eq(0), zero_due.eq(0)]
            with m.Elif(left == 0):
                m.d.comb += [byte.eq(0), emit.eq(zero_due)]
                m.d.sync += [left.eq(self.data - 1), zero_due.eq(self.data != _LONG_BLOCK + 1)]
            with m.Else():
                m.d.comb += emit.eq(1)
                m.d.sync += left.eq(left - 1)

    def _keep(self, m, ring, byte, emit, ended, bad):
        """Bytes go into the ring one late, so that the last can be marked."""
        place, held, filled, full = Signal.like(ring.limit), Signal(8), Signal(), Signal()
        room = (place - ring.head)[: len(place)] != self._depth
        m.d.comb += [
            ring.w_addr.eq(place),
            ring.w_data.eq(Cat(held, ended)),
            ring.w_en.eq((emit | ended) & filled & ~full & room),
        ]
        with m.If(emit):
            m.d.sync += [held.eq(byte), filled.eq(1)]
            with m.If(filled):
                m.d.sync += place.eq(place + 1)
                with m.If(~room):
                    m.d.sync += full.eq(1)
        with m.If(ended):
            m.d.sync += [filled.eq(0), full.eq(0), place.eq(ring.limit)]
            with m.If(~bad & ~full & room & filled):
                m.d.sync += [place.eq(place + 1), ring.limit.eq(place + 1)]


class FrameSender(wiring.Component):
    """Frames of the stream ``i`` with CRC and COBS, onto the stream of bytes ``o``.

    ``room`` says that a frame of ``longest`` bytes fits beside what still waits; a frame may
    begin only then. A byte is taken in every cycle but some.
    """

    def __init__(self, *, depth: int, longest: int):
        self._depth = depth
        blocks = -(-(longest + CRC_BYTES) // _LONG_BLOCK)
        self._most = longest + CRC_BYTES + blocks + 2
        super().__init__(
            {
                "i": In(stream.Signature(FRAME_BYTE)),
                "o": Out(stream.Signature(unsigned(8))),
                "room": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.ring = ring = Ring(width=8, depth=self._depth)
        m.submodules.crc = crc = CRC32_ETHERNET(data_width=8).create()
        byte, put, close, end = Signal(8), Signal(), Signal(), Signal()
        full = self._stuff(m, ring, byte, put, close, end)
        used = (ring.limit - ring.head)[: len(ring.head)]
        m.d.comb += [
            self.room.eq(used <= self._depth - self._most),
            crc.data.eq(self.i.p.data),
            crc.valid.eq(self.i.valid & self.i.ready),
            self.o.valid.eq(ring.o.valid),
            self.o.payload.eq(ring.o.payload),
            ring.o.ready.eq(self.o.ready),
        ]
        self._sequence(m, crc, full, byte, put, close, end)
        return m

    def _sequence(self, m, crc, full, byte, put, close, end):
        """The frame's bytes, its CRC, the last block's code and the zero."""
        count = Signal(range(CRC_BYTES))
        with m.FSM():
            with m.State("BODY"):
                m.d.comb += [byte.eq(self.i.p.data), put.eq(self.i.valid & ~full)]
                m.d.comb += self.i.ready.eq(~full)
                with m.If(put & self.i.p.last):
                    m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [byte.eq(crc.crc.word_select(count, 8)), put.eq(~full)]
                with m.If(put):
                    m.d.sync += count.eq(count + 1)
                    with m.If(count == CRC_BYTES - 1):
                        m.next = "CLOSE"
            with m.State("CLOSE"):
                m.d.comb += [close.eq(~full), crc.start.eq(1)]
                with m.If(close):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += end.eq(1)
                m.next = "BODY"

    def _stuff(self, m, ring, byte, put, close, end):
        """COBS into the ring; while the result is high a full block is closed."""
        code, run, full = Signal.like(ring.limit), Signal(8), Signal()
        m.d.comb += [full.eq(run == _LONG_BLOCK), ring.w_en.eq(full | put | close | end)]
        m.d.comb += [ring.w_addr.eq(code), ring.w_data.eq(Mux(end, 0, run + 1))]
        with m.If(put & (byte != 0)):
            m.d.comb += [ring.w_addr.eq(code + run + 1), ring.w_data.eq(byte)]
            m.d.sync += run.eq(run + 1)
        with m.Elif(ring.w_en):
            m.d.sync += [code.eq(code + run + 1), run.eq(0)]
        with m.If(end):
            m.d.sync += ring.limit.eq(code + 1)
        return full
