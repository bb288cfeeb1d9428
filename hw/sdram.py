"""A controller for single-data-rate SDRAM behind a memory port."""

import dataclasses
import itertools

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hpu.hw.config import Config
from hpu.hw.memory_port import MemoryStreams, response_layout
from hpu.hw.queues import RegisterQueue

__all__ = ["Chip", "SdramMemory", "SdramPads"]

#: Cycles from a command at the controller's decision to its first word in the input register: the
#: output register, CAS latency 2 at a clock of half a period's lag, the input register.
_READ_CYCLES = 4
_CAS_LATENCY = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """Shape and times of an SDRAM; times in nanoseconds."""

    row_bits: int
    col_bits: int
    bank_bits: int
    #: Bytes of a word.
    word_bytes: int
    start_ns: int = 200_000
    refresh_ns: int = 7_800
    #: Precharge, activate to read or write, refresh, last word written to precharge.
    t_rp: int = 20
    t_rcd: int = 20
    t_rfc: int = 66
    t_wr: int = 15

    @property
    def addr_bits(self) -> int:
        """Bits of a byte address."""
        return self.row_bits + self.col_bits + self.bank_bits + exact_log2(self.word_bytes)


class SdramPads(wiring.Signature):
    """What the chip sees, active high, one cycle of the clock each; the chip's clock lags by half.

    ``oe`` lets ``dq_o`` out.
    """

    def __init__(self, chip: Chip):
        width = 8 * chip.word_bytes
        super().__init__(
            {
                **dict.fromkeys(("clk_en", "cs", "ras", "cas", "we", "oe"), Out(1)),
                "ba": Out(chip.bank_bits),
                "a": Out(chip.row_bits),
                "dqm": Out(chip.word_bytes),
                "dq_o": Out(width),
                "dq_i": In(width),
            }
        )


#: Commands as ras, cas, we.
_NONE, _ACTIVATE, _READ, _WRITE = 0b000, 0b001, 0b010, 0b110
_PRECHARGE, _REFRESH, _MODE = 0b101, 0b011, 0b111


class SdramMemory(wiring.Component):
    """The chip's bytes behind a memory port: a beat is one burst of the chip.

    A row stays open until another is wanted or a refresh is due, so that beats of one row follow
    one another without a gap. Requests are answered in order.
    """

    def __init__(self, *, config: Config, chip: Chip, managers: int):
        self._words = config.axi_bytes // chip.word_bytes
        if self._words not in (2, 4, 8):
            raise ValueError(f"axi_bytes must be 2, 4 or 8 words, not {config.axi_bytes!r}")
        if config.addr_bits != chip.addr_bits:
            raise ValueError(
                f"addr_bits must be the chip's {chip.addr_bits}, not {config.addr_bits!r}"
            )
        self._config, self._chip = config, chip
        self._layout = response_layout(config, managers)
        super().__init__(
            {"streams": In(MemoryStreams(config, managers)), "pads": Out(SdramPads(chip))}
        )

    def _cycles(self, nanoseconds: int) -> int:
        """Whole cycles that last at least so long."""
        return max(1, -(-nanoseconds * self._config.clock_hz // 1_000_000_000))

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = self._queue = queue = RegisterQueue(shape=self._layout, depth=8)
        wiring.connect(m, queue.o, wiring.flipped(self.streams.response))
        self._command = Signal(3)  # ras, cas, we
        self._wait = Signal(range(self._cycles(self._chip.start_ns) + 1))
        self._read, self._write = Signal(), Signal()
        self._pads(m)
        self._collect(m)
        self._control(m)
        return m

    def _pads(self, m):
        """Every output has a register; a beat's words leave one after the other."""
        pads, request, chip = self.pads, self.streams.request, self._chip
        width, strobe = 8 * chip.word_bytes, chip.word_bytes
        words = Signal(8 * self._config.axi_bytes)
        masks = Signal(self._config.axi_bytes)
        left = Signal(range(self._words + 1))
        m.d.comb += [pads.dq_o.eq(words[:width]), pads.dqm.eq(masks[:strobe])]
        m.d.sync += [
            pads.clk_en.eq(1),
            pads.cs.eq(1),
            Cat(pads.ras, pads.cas, pads.we).eq(self._command),
            words.eq(words >> width),
            masks.eq(masks >> strobe),
            pads.oe.eq(left > 1),
            left.eq(Mux(left == 0, 0, left - 1)),
        ]
        with m.If(self._write):
            m.d.sync += [words.eq(request.p.data), masks.eq(~request.p.strobe)]
            m.d.sync += [left.eq(self._words), pads.oe.eq(1)]

    def _collect(self, m):
        """Words of the reads under way, and the responses."""
        request, queue = self.streams.request, self._queue
        width = 8 * self._chip.word_bytes
        # A write's response comes when one of a read would: so they keep their order.
        stages = _READ_CYCLES + self._words
        due = Signal(stages)
        tags = [Signal.like(request.p.tag, name=f"tag_{k}") for k in range(stages)]
        m.d.sync += due.eq(Cat(self._read | self._write, due[:-1]))
        m.d.sync += tags[0].eq(request.p.tag)
        m.d.sync += [later.eq(now) for now, later in itertools.pairwise(tags)]
        sampled = Signal(width)
        beat = Signal(8 * self._config.axi_bytes)
        m.d.sync += [sampled.eq(self.pads.dq_i), beat.eq(Cat(beat[width:], sampled))]
        m.d.comb += [
            queue.i.valid.eq(due[-1]),
            queue.i.p.data.eq(beat),
            queue.i.p.tag.eq(tags[-1]),
        ]
        self._flying = Signal(range(stages + 1))
        m.d.comb += self._flying.eq(sum(due[k] for k in range(stages)))
        self._reading = due.any()

    def _control(self, m):
        chip, request = self._chip, self.streams.request
        interval = self._cycles(chip.refresh_ns) - 32
        refresh, due = Signal(range(interval)), Signal()
        row, opened = Signal(chip.row_bits), Signal()
        bank = Signal(chip.bank_bits)
        refreshes = Signal(range(9))
        col, wanted_bank, wanted_row = self._place(request.p.addr)
        hit = opened & (bank == wanted_bank) & (row == wanted_row)
        turn = Signal()  # the last beat was read: a write waits until its words are in
        m.d.sync += refresh.eq(Mux(refresh == 0, interval - 1, refresh - 1))
        with m.If(refresh == 0):
            m.d.sync += due.eq(1)
        with m.If(self._wait != 0):
            m.d.sync += self._wait.eq(self._wait - 1)
        room = self._flying + self._queue.level < 8
        with m.FSM():
            with m.State("START"):
                m.d.sync += self._wait.eq(self._cycles(chip.start_ns))
                m.next = "AWAKE"
            with m.State("AWAKE"), m.If(self._wait == 0):
                self._issue(m, _PRECHARGE, chip.t_rp, a=1 << 10)
                m.d.sync += refreshes.eq(8)
                m.next = "REFRESH"
            with m.State("REFRESH"), m.If(self._wait == 0):
                self._issue(m, _REFRESH, chip.t_rfc)
                m.d.sync += [refreshes.eq(refreshes - 1), due.eq(0)]
                with m.If(refreshes == 1):
                    m.next = "MODE"
                with m.Elif(refreshes == 0):
                    m.d.sync += refreshes.eq(0)
                    m.next = "READY"
            with m.State("MODE"), m.If(self._wait == 0):
                self._issue(m, _MODE, 40, a=_CAS_LATENCY << 4 | exact_log2(self._words))
                m.d.sync += refreshes.eq(0)
                m.next = "READY"
            with m.State("READY"), m.If(self._wait == 0):
                with m.If(due | (request.valid & opened & ~hit)):
                    self._close(m, opened, due)
                with m.Elif(request.valid & ~opened):
                    self._issue(m, _ACTIVATE, chip.t_rcd, a=wanted_row, ba=wanted_bank)
                    m.d.sync += [opened.eq(1), row.eq(wanted_row), bank.eq(wanted_bank)]
                with m.Elif(request.valid & room & ~(request.p.tag.write & turn & self._reading)):
                    self._beat(m, col, bank)
                    m.d.sync += turn.eq(~request.p.tag.write)

    def _close(self, m, opened, due):
        """End the row when its last words are through."""
        with m.If(~self._reading):
            self._issue(m, _PRECHARGE, self._chip.t_rp, a=1 << 10)
            m.d.sync += opened.eq(0)
            with m.If(due):
                m.next = "REFRESH"

    def _beat(self, m, col, bank):
        """Read or write the beat that is asked for; the next may follow when its words are out."""
        write = self.streams.request.p.tag.write
        m.d.comb += [
            self.streams.request.ready.eq(1),
            self._read.eq(~write),
            self._write.eq(write),
            self._command.eq(Mux(write, _WRITE, _READ)),
        ]
        m.d.sync += [self.pads.a.eq(col), self.pads.ba.eq(bank), self._wait.eq(self._words - 1)]

    def _issue(self, m, command, nanoseconds, *, a=0, ba=0):
        m.d.comb += self._command.eq(command)
        m.d.sync += [self.pads.a.eq(a), self.pads.ba.eq(ba)]
        m.d.sync += self._wait.eq(self._cycles(nanoseconds) - 1)

    def _place(self, beat):
        """Column, bank and row of a beat; neighbours lie in one row, then in the next bank."""
        chip, low = self._chip, exact_log2(self._words)
        cols = chip.col_bits - low
        col = Cat(Const(0, unsigned(low)), beat[:cols])
        return col, beat[cols : cols + chip.bank_bits], beat[cols + chip.bank_bits :]
