"""Queues in front of the units, and the tokens that order them."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hpu.hw.config import Config
from hpu.hw.csr import FaultCause
from hpu.hw.decoder import entry_layout
from hpu.hw.isa import INSTRUCTIONS, Instruction, Unit
from hpu.hw.ports import instruction_layout
from hpu.hw.queues import MemoryQueue, RegisterQueue
from hpu.hw.sequencer import fault_layout

__all__ = ["Dispatch", "Tokens", "UnitQueue", "standstill"]

_TOKENS = 255
#: Instructions of one unit started and not done.
_IN_FLIGHT = 16


def standstill(config: Config) -> int:
    """Cycles of standstill before it is called a deadlock.

    Longer than an entry's way through a queue, a row's through the array, and a tile's into it.
    """
    return 2 * (config.rows + config.cols) + 64


class UnitQueue(wiring.Component):
    """One unit's instructions, from dispatch to done.

    ``instr`` gives the head once every channel of its ``wait`` has a token (``tokens``: those that
    have one). ``take`` is the mask of channels taken in the cycle the unit starts it, ``give`` the
    mask of tokens given when ``done``. ``present``: there is a head; ``queued``: or one on its way.
    ``missing``: tokens that the head waits for; ``waiting``: there are some. ``still``: no entry on
    its way to the head, none that can start, none in flight; ``empty``: none at all. ``stuck``
    from the unit tells that it cannot go on by itself (it wants a weight tile, or a place for
    one): then it stands still too. ``standing``: it stands still with work to do, ``standing_pc``
    the oldest.
    """

    def __init__(self, *, config: Config, entry: Instruction):
        self._config, self._entry = config, entry
        units = len(Unit)
        super().__init__(
            {
                "i": In(stream.Signature(entry_layout(entry))),
                "instr": Out(stream.Signature(instruction_layout(entry))),
                "done": In(1),
                "stuck": In(1),
                "tokens": In(units),
                "take": Out(units),
                "give": Out(units),
                "missing": Out(units),
                "waiting": Out(1),
                "present": Out(1),
                "queued": Out(1),
                "head_pc": Out(32),
                "start": Out(1),
                "done_pc": Out(32),
                "still": Out(1),
                "standing": Out(1),
                "standing_pc": Out(32),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        queue = MemoryQueue(shape=entry_layout(self._entry), depth=self._config.queue_depth)
        flight_layout = data.StructLayout({"signal": unsigned(len(Unit)), "pc": unsigned(32)})
        flight = RegisterQueue(shape=flight_layout, depth=_IN_FLIGHT)
        m.submodules.queue, m.submodules.flight = queue, flight
        wiring.connect(m, wiring.flipped(self.i), queue.i)
        head = queue.o
        m.d.comb += [
            self.present.eq(head.valid),
            self.queued.eq(queue.level != 0),
            self.head_pc.eq(head.p.instr.pc),
            self.missing.eq(Mux(head.valid, head.p.wait & ~self.tokens, 0)),
            self.waiting.eq(self.missing.any()),
            self.instr.payload.eq(head.p.instr),
            self.instr.valid.eq(head.valid & ~self.waiting & flight.i.ready),
            self.start.eq(self.instr.valid & self.instr.ready),
            head.ready.eq(self.start),
            self.take.eq(Mux(self.start, head.p.wait, 0)),
            flight.i.valid.eq(self.start),
            flight.i.p.signal.eq(head.p.signal),
            flight.i.p.pc.eq(head.p.instr.pc),
            flight.o.ready.eq(self.done),
            self.done_pc.eq(flight.o.p.pc),
            self.give.eq(Mux(self.done & flight.o.valid, flight.o.p.signal, 0)),
            self.empty.eq((queue.level == 0) & ~flight.o.valid),
            self.still.eq(
                (((queue.level == 0) | self.waiting) & ~flight.o.valid) | self.stuck,
            ),
            self.standing.eq(self.waiting | self.stuck),
            self.standing_pc.eq(Mux(flight.o.valid, flight.o.p.pc, head.p.instr.pc)),
        ]
        return m


class Tokens(wiring.Component):
    """The counters of all channels (V → U): ``tokens[U]`` has bit V while one is there.

    ``take[U]`` bit V takes one, ``give[V]`` bit U gives one. ``overflow`` has bit V when V gives a
    token to a channel that holds 255.
    """

    def __init__(self):
        units = len(Unit)
        masks = data.ArrayLayout(units, units)
        super().__init__(
            {"take": In(masks), "give": In(masks), "tokens": Out(masks), "overflow": Out(units)}
        )

    def elaborate(self, platform):
        m = Module()
        for giver in Unit:
            overflows = []
            for taker in Unit:
                count = Signal(range(_TOKENS + 1), name=f"tokens_{giver.name}_{taker.name}")
                up, down = self.give[giver][taker], self.take[taker][giver]
                with m.If(up & ~down):
                    m.d.sync += count.eq(count + 1)
                with m.If(down & ~up):
                    m.d.sync += count.eq(count - 1)
                overflows.append(up & ~down & (count == _TOKENS))
                m.d.comb += self.tokens[taker][giver].eq(count != 0)
            m.d.comb += self.overflow[giver].eq(Cat(overflows).any())
        return m


class Dispatch(wiring.Component):
    """Every unit's queue, the tokens between them, and the faults of tokens.

    Reset empties it. ``settled``: the sequencer will bring nothing more until a queue moves.
    ``empty``: nothing waits and nothing is in flight. ``fault``: TOKEN_OVERFLOW at the giver, or
    DEADLOCK when nothing can ever move, with the oldest waiting instruction.
    """

    def __init__(self, *, config: Config):
        self._config = config
        super().__init__({"settled": In(1), "empty": Out(1), "fault": Out(fault_layout())})
        self.queues = {entry.unit: UnitQueue(config=config, entry=entry) for entry in INSTRUCTIONS}

    def elaborate(self, platform):
        m = Module()
        m.submodules.tokens = tokens = Tokens()
        for unit, queue in self.queues.items():
            m.submodules[f"queue_{unit.name}"] = queue
            m.d.comb += [
                tokens.take[unit].eq(queue.take),
                tokens.give[unit].eq(queue.give),
                queue.tokens.eq(tokens.tokens[unit]),
            ]
        queues = self.queues.values()
        m.d.comb += self.empty.eq(Cat(queue.empty for queue in queues).all())
        self._deadlock(m)
        for unit, queue in self.queues.items():
            with m.If(tokens.overflow[unit] & ~self.fault.valid):
                m.d.sync += [
                    self.fault.valid.eq(1),
                    self.fault.cause.eq(FaultCause.TOKEN_OVERFLOW),
                    self.fault.pc.eq(queue.done_pc),
                ]
        return m

    def _deadlock(self, m):
        queues, cycles = list(self.queues.values()), standstill(self._config)
        still, standing = Signal(), Signal(range(cycles + 1))
        work = Cat(queue.standing for queue in queues).any()
        m.d.comb += still.eq(self.settled & Cat(queue.still for queue in queues).all() & work)
        m.d.sync += standing.eq(Mux(still, standing + 1, 0))
        oldest = _oldest(m, queues)
        with m.If((standing == cycles - 1) & ~self.fault.valid):
            m.d.sync += [
                self.fault.valid.eq(1),
                self.fault.cause.eq(FaultCause.DEADLOCK),
                self.fault.pc.eq(oldest),
            ]


def _oldest(m, queues):
    """Least index among the instructions that stand still.

    One comparison a cycle: what stands still does so for longer than these cycles.
    """
    oldest = (1 << 32) - 1
    for index, queue in enumerate(queues):
        least = Signal(32, name=f"oldest_{index}")
        older = queue.standing & (queue.standing_pc < oldest)
        m.d.sync += least.eq(Mux(older, queue.standing_pc, oldest))
        oldest = least
    return oldest
