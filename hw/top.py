"""The whole machine."""

from amaranth.hdl import Cat, Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hpu.hw import csr
from hpu.hw.axi import Axi4, AxiLite, ReadId
from hpu.hw.buffer import UnifiedBuffer
from hpu.hw.config import Config
from hpu.hw.control import Controller
from hpu.hw.counters import Counters, MatrixCause
from hpu.hw.dispatch import Dispatch
from hpu.hw.isa import INSTRUCTIONS, Unit
from hpu.hw.load import LoadUnit
from hpu.hw.matrix import MatrixUnit
from hpu.hw.read_port import ReadPort
from hpu.hw.registers import REGISTER_ADDR_BITS, Registers
from hpu.hw.sequencer import ProgramFetch, Sequencer
from hpu.hw.store import StoreUnit
from hpu.hw.vector import VectorUnit
from hpu.hw.weights import WeightsUnit

__all__ = ["Hpu"]


class Hpu(wiring.Component):
    """One HPU: AXI4 manager ``m_axi``, AXI4-Lite subordinate ``s_axil``, level interrupt ``irq``.

    ``busy`` and ``fault`` are those of STATUS. ``trace`` shows for each unit when an instruction is
    handed to it (``start``) and when it is done (``end``), with its index; for observation only.
    """

    def __init__(self, *, config: Config):
        self._config = config
        trace = {"start": Out(1), "start_pc": Out(32), "end": Out(1), "end_pc": Out(32)}
        traces = {unit.name.lower(): Out(wiring.Signature(trace)) for unit in Unit}
        super().__init__(
            {
                "m_axi": Out(Axi4(config)),
                "s_axil": In(AxiLite(REGISTER_ADDR_BITS)),
                "irq": Out(1),
                "busy": Out(1),
                "fault": Out(1),
                "trace": Out(wiring.Signature(traces)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        self.load = LoadUnit(config=config)
        self.weights = WeightsUnit(config=config)
        self.matrix = MatrixUnit(config=config)
        self.vector = VectorUnit(config=config)
        self.store = StoreUnit(config=config)
        self.buffer = UnifiedBuffer(config=config)
        self.read_port = ReadPort(config=config)
        self.fetch = ProgramFetch(config=config)
        self.sequencer = Sequencer(config=config)
        self.dispatch = Dispatch(config=config)
        self.control = Controller(faults=len(Unit) + 2)
        self.registers = Registers(config=config)
        self.counters = Counters()
        self.cause = MatrixCause()
        for name in (
            "load",
            "weights",
            "matrix",
            "vector",
            "store",
            "buffer",
            "read_port",
            "fetch",
        ):
            m.submodules[name] = getattr(self, name)
        for name in ("control", "registers", "counters", "cause"):
            m.submodules[name] = getattr(self, name)
        clear = ResetInserter(self.control.stop)
        m.submodules.sequencer = clear(self.sequencer)
        m.submodules.dispatch = clear(self.dispatch)
        self._memories(m)
        self._axi(m)
        self._program(m)
        self._units(m)
        self._registers(m)
        self._count(m)
        return m

    @property
    def _by_unit(self):
        return {
            Unit.LOAD: self.load,
            Unit.WEIGHTS: self.weights,
            Unit.MATRIX: self.matrix,
            Unit.VECTOR: self.vector,
            Unit.STORE: self.store,
        }

    def _memories(self, m):
        """Unified buffer, weight FIFO, accumulators, parameters and tables."""
        wiring.connect(m, self.matrix.ub, self.buffer.matrix)
        wiring.connect(m, self.vector.ub_read, self.buffer.vector_read)
        wiring.connect(m, self.store.ub_read, self.buffer.store_read)
        wiring.connect(m, self.weights.ub_read, self.buffer.weights_read)
        wiring.connect(m, self.vector.ub_write, self.buffer.vector_write)
        wiring.connect(m, self.load.ub_write, self.buffer.load_write)
        wiring.connect(m, self.weights.weights, self.matrix.weights)
        wiring.connect(m, self.vector.acc, self.matrix.acc)
        wiring.connect(m, self.load.load, self.vector.load)

    def _axi(self, m):
        clients = {
            ReadId.FETCH: self.fetch.client,
            ReadId.LOAD: self.load.client,
            ReadId.WEIGHTS: self.weights.client,
        }
        for index, client in clients.items():
            wiring.connect(m, client, self.read_port.clients[index])
        for side in (self.read_port.axi, self.store.axi):
            for name, member in side.signature.members.items():
                ours, outer = getattr(side, name), getattr(self.m_axi, name)
                m.d.comb += outer.eq(ours) if member.flow == Out else ours.eq(outer)

    def _program(self, m):
        """Registers to controller, fetch and sequencer, and the faults back."""
        control, fetch, sequencer, dispatch = (
            self.control,
            self.fetch,
            self.sequencer,
            self.dispatch,
        )
        registers = self.registers
        wiring.connect(m, fetch.beats, sequencer.beats)
        running = self._latched(m)
        units = self._by_unit.values()
        faults = [unit.unit.fault for unit in units] + [dispatch.fault, sequencer.fault]
        m.d.comb += [
            control.start.eq(registers.control_start),
            control.watchdog.eq(registers.watchdog),
            control.ended.eq(sequencer.finished & dispatch.empty),
            control.idle.eq(fetch.idle & ~Cat(unit.unit.busy for unit in units).any()),
            control.next_pc.eq(sequencer.pc),
            fetch.start.eq(control.begin),
            fetch.stop.eq(control.stop),
            fetch.program.eq(Cat(running["program_low"], running["program_high"])),
            fetch.count.eq(running["program_count"]),
            sequencer.count.eq(running["program_count"]),
            sequencer.overflow.eq(fetch.overflow),
            dispatch.settled.eq(sequencer.finished | sequencer.blocked),
        ]
        m.d.comb += [into.eq(fault) for into, fault in zip(control.faults, faults, strict=True)]
        m.d.comb += [
            dispatch.queues[Unit.MATRIX].stuck.eq(self.matrix.starved),
            dispatch.queues[Unit.WEIGHTS].stuck.eq(self.weights.blocked),
        ]

    def _latched(self, m):
        """The program registers as they were at the start."""
        latched = {}
        for name in ("program_low", "program_high", "program_count"):
            value = getattr(self.registers, name)
            latched[name] = Signal(32, name=f"running_{name}")
            with m.If(self.registers.control_start & ~self.control.busy):
                m.d.sync += latched[name].eq(value)
        return latched

    def _units(self, m):
        for entry in INSTRUCTIONS:
            unit, queue = self._by_unit[entry.unit].unit, self.dispatch.queues[entry.unit]
            trace = getattr(self.trace, entry.unit.name.lower())
            wiring.connect(m, self.sequencer.queue(entry), queue.i)
            wiring.connect(m, queue.instr, unit.instr)
            m.d.comb += [
                queue.done.eq(unit.done),
                unit.stop.eq(self.control.stop),
                trace.start.eq(queue.start),
                trace.start_pc.eq(queue.head_pc),
                trace.end.eq(unit.done),
                trace.end_pc.eq(queue.done_pc),
            ]

    def _registers(self, m):
        registers, control = self.registers, self.control
        wiring.connect(m, wiring.flipped(self.s_axil), registers.bus)
        with m.If(registers.control_clear_irq):
            m.d.sync += self.irq.eq(0)
        with m.If(control.end & registers.irq_enable[0]):
            m.d.sync += self.irq.eq(1)
        m.d.comb += [
            self.busy.eq(control.busy),
            self.fault.eq(control.fault),
            registers.status_busy.eq(control.busy),
            registers.status_done.eq(control.done),
            registers.status_fault.eq(control.fault),
            registers.status_irq.eq(self.irq),
            registers.fault_cause.eq(control.cause),
            registers.fault_pc.eq(control.pc),
            registers.counters.eq(self.counters.values),
            self.counters.snapshot.eq(registers.control_snapshot),
        ]

    def _count(self, m):
        events, cause, matrix = self.counters.events, self.cause, self.matrix
        queue = self.dispatch.queues[Unit.MATRIX]
        m.d.comb += [
            cause.useful.eq(matrix.useful),
            cause.padding.eq(matrix.padding),
            cause.weights.eq(matrix.wait_weights),
            cause.setup.eq(matrix.setup),
            cause.running.eq(self.control.busy),
            cause.missing.eq(queue.missing),
            cause.present.eq(queue.present),
            cause.coming.eq(~self.sequencer.finished | queue.queued),
        ]
        m.d.comb += [
            events[counter.name].eq(cause.causes[counter.name]) for counter in csr.MATRIX_CAUSES
        ]
        for entry in INSTRUCTIONS:
            unit = self._by_unit[entry.unit].unit
            m.d.comb += events[f"{entry.name}_COUNT"].eq(unit.done)
            if entry.unit != Unit.MATRIX:
                m.d.comb += events[f"{entry.unit.name}_BUSY"].eq(unit.busy)
        self._count_words(m, events)

    def _count_words(self, m, events):
        vector = self.vector
        waits = {
            "VECTOR_CONFLICTS": (vector.ub_read, vector.acc),
            "STORE_CONFLICTS": (self.store.ub_read,),
            "LOAD_CONFLICTS": (self.load.ub_write,),
        }
        for name, ports in waits.items():
            m.d.comb += events[name].eq(Cat(p.valid & ~p.ready for p in ports).any())
        m.d.comb += [
            events.LOAD_ROWS.eq(self.load.row),
            events.WEIGHTS_ROWS.eq(self.weights.row),
            events.STORE_ROWS.eq(self.store.row),
            events.VECTOR_WORDS.eq(vector.wrote),
            events.READ_BEATS.eq(self.read_port.counted),
            events.WRITE_BEATS.eq(self.store.beat),
        ]
