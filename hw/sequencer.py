"""The sequencer: fetches the program, decodes it and hands it out in program order."""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, exact_log2

from hpu.hw.config import Config
from hpu.hw.csr import FaultCause
from hpu.hw.decoder import Decoder, entry_layout
from hpu.hw.isa import INSTRUCTION_BYTES, INSTRUCTIONS
from hpu.hw.read_port import ReadClient, ReadEngine, beat_layout

__all__ = ["ProgramFetch", "Sequencer", "fault_layout"]


def fault_layout() -> data.StructLayout:
    """A fault: cause and index of the instruction."""
    cause = unsigned(bits_for(max(FaultCause)))
    return data.StructLayout({"valid": unsigned(1), "cause": cause, "pc": unsigned(32)})


class ProgramFetch(wiring.Component):
    """Reads the ``count`` instructions from DRAM byte address ``program`` on after ``start``, ahead
    of their use.

    Under ``stop`` it forgets them; ``idle``: nothing is outstanding on AXI.
    """

    def __init__(self, *, config: Config):
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "stop": In(1),
                "program": In(64),
                "count": In(32),
                "client": Out(ReadClient(config)),
                "beats": Out(stream.Signature(beat_layout(config))),
                "overflow": Out(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        beats = INSTRUCTION_BYTES // config.axi_bytes
        bits = 32 + bits_for(beats)
        depth = max(4 * config.burst_beats, 4 * beats)
        m.submodules.engine = engine = ReadEngine(config=config, beats_bits=bits, depth=depth)
        wiring.connect(m, engine.client, wiring.flipped(self.client))
        wiring.connect(m, engine.beats, wiring.flipped(self.beats))
        low = exact_log2(INSTRUCTION_BYTES)
        m.d.comb += [
            engine.stop.eq(self.stop),
            self.idle.eq(engine.idle),
            self.overflow.eq(engine.overflow),
            engine.runs.valid.eq(self.start),
            engine.runs.p.addr.eq((self.program[: config.addr_bits] >> low) << low),
            engine.runs.p.addr[-1].eq(self.program[config.addr_bits :].any()),
            engine.runs.p.beats.eq(self.count * beats),
        ]
        return m


class Sequencer(wiring.Component):
    """Decodes ``count`` instructions from ``beats`` and hands each to its unit's queue, from reset
    on.

    An instruction takes as many cycles as it has beats, and three to decode and hand out.
    ``queues``, in the order of ``INSTRUCTIONS``, are the units' queues. ``pc`` is the next
    instruction to dispatch; ``finished``: all are dispatched; ``blocked``: the next one's queue is
    full. ``fault`` stays: an AXI error or an address beyond the address space (``overflow``) when
    the instruction's turn comes, or an illegal instruction.
    """

    def __init__(self, *, config: Config):
        self._config = config
        queues = {
            f"queue_{entry.name}": Out(stream.Signature(entry_layout(entry)))
            for entry in INSTRUCTIONS
        }
        super().__init__(
            {
                "count": In(32),
                "beats": In(stream.Signature(beat_layout(config))),
                "overflow": In(1),
                "pc": Out(32),
                "finished": Out(1),
                "blocked": Out(1),
                "fault": Out(fault_layout()),
                **queues,
            }
        )

    def queue(self, entry):
        """The stream into the queue of ``entry``'s unit."""
        return getattr(self, f"queue_{entry.name}")

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = Decoder(config=self._config)
        legal, unit = Signal(), Signal.like(decoder.unit)
        offering, sent = Signal(), Signal()
        m.d.comb += [decoder.pc.eq(self.pc), self.finished.eq(self.pc == self.count)]
        m.d.sync += [legal.eq(decoder.legal), unit.eq(decoder.unit)]
        for entry in INSTRUCTIONS:
            self._offer(m, entry, decoder, offering & unit[entry.unit], sent)
        self._steps(m, decoder.word, legal, offering, sent)
        return m

    def _offer(self, m, entry, decoder, turn, sent):
        queue = self.queue(entry)
        m.d.comb += [queue.valid.eq(turn), queue.payload.eq(decoder.entry(entry))]
        with m.If(turn):
            m.d.comb += [sent.eq(queue.ready), self.blocked.eq(~queue.ready)]

    def _steps(self, m, word, legal, offering, sent):
        """Collect the beats of each instruction, judge it, offer it; until one is at fault."""
        beats, last = self.beats, INSTRUCTION_BYTES // self._config.axi_bytes - 1
        held, failed, beat = Signal.like(word), Signal(), Signal(range(last + 1))
        m.d.comb += word.eq(held)
        with m.FSM():
            with m.State("COLLECT"):
                m.d.comb += beats.ready.eq(1)
                with m.If(beats.valid):
                    m.d.sync += held.eq(Cat(held, beats.p.data)[len(beats.p.data) :])
                    m.d.sync += [failed.eq(failed | beats.p.error), beat.eq(beat + 1)]
                    with m.If(beat == last):
                        m.d.sync += beat.eq(0)
                        m.next = "LOOK"
                with m.Elif(self.overflow):
                    self._fail(m, FaultCause.AXI)
                    m.next = "FAULT"
            with m.State("LOOK"):
                m.next = "JUDGE"
            with m.State("JUDGE"):
                m.next = "OFFER"
                with m.If(failed):
                    self._fail(m, FaultCause.AXI)
                    m.next = "FAULT"
                with m.Elif(~legal):
                    self._fail(m, FaultCause.ILLEGAL_INSTRUCTION)
                    m.next = "FAULT"
            with m.State("OFFER"):
                m.d.comb += offering.eq(1)
                with m.If(sent):
                    m.d.sync += self.pc.eq(self.pc + 1)
                    m.next = "COLLECT"
            with m.State("FAULT"):
                pass

    def _fail(self, m, cause):
        m.d.sync += [self.fault.valid.eq(1), self.fault.cause.eq(cause), self.fault.pc.eq(self.pc)]
