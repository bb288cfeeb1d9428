"""What stands in the FPGA: clock and reset, the HPU, its memory, the serial link, the LEDs."""

from amaranth.hdl import Cat, ClockDomain, ClockSignal, DomainRenamer, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from hpu.hw.block_memory import BlockMemory
from hpu.hw.boards.board import Board
from hpu.hw.boards.pll import Ecp5Pll, GowinPll
from hpu.hw.emit import instance
from hpu.hw.link import Link
from hpu.hw.memory_port import MemoryPort
from hpu.hw.sdram import SdramMemory, SdramPads
from hpu.hw.top import Hpu

__all__ = ["BoardTop"]

#: Cycles for which reset lasts after the clock is stable.
RESET_CYCLES = 1 << 12
_HPU, _LINK = 0, 1


class BoardTop(wiring.Component):
    """The design of a board, with the board's pads as its ports.

    ``clk`` is the oscillator. ``button`` resets everything while pressed. ``rx`` and ``tx`` are
    the serial link as the FPGA sees it. ``leds`` from bit 0 on: heartbeat, a session of the link,
    link busy, machine busy, interrupt, the program stopped by a fault; a board with fewer LEDs has
    the first of them.

    ``sdram`` are the pads of the board's SDRAM, and ``sdram_clk`` the clock that its own is to lag
    by half a cycle. With ``chips`` a model of the SDRAM stands inside instead, for simulation.

    All runs at the configuration's clock. The machine and its memory's port can be reset by the
    link; the link only by the button.
    """

    def __init__(self, *, board: Board, chips: bool = False):
        self._board, self._chips = board, chips
        ports = {"clk": In(1), "button": In(1), "rx": In(1, init=1), "tx": Out(1, init=1)}
        if board.sdram is not None and not chips:
            ports["sdram"] = Out(SdramPads(board.sdram))
            ports["sdram_clk"] = Out(1)
        super().__init__(ports | {"leds": Out(len(board.leds))})

    def elaborate(self, platform):
        m = Module()
        board, config = self._board, self._board.config
        m.submodules.link = link = Link(
            config=config,
            board=board.name,
            clock_hz=config.clock_hz,
            baud=board.baud,
            memory_bytes=1 << config.addr_bits,
        )
        self._clocks(m, link.reset)
        hpu = Hpu(config=config)
        port = MemoryPort(config=config, managers=2)
        memory = self._memory(m)
        machine = DomainRenamer("machine")
        m.submodules.hpu = instance(hpu, "hpu", domain="machine")
        m.submodules.port = machine(port)
        m.submodules.memory = machine(memory)
        wiring.connect(m, hpu.m_axi, port.managers[_HPU])
        wiring.connect(m, link.memory, port.managers[_LINK])
        wiring.connect(m, port.memory, memory.streams)
        wiring.connect(m, link.registers, hpu.s_axil)
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx)]
        self._leds(m, link, hpu)
        return m

    def _memory(self, m):
        """The memory, and what it has outside."""
        config, chip = self._board.config, self._board.sdram
        if chip is None:
            return BlockMemory(config=config, managers=2)
        memory = SdramMemory(config=config, chip=chip, managers=2)
        if self._chips:
            m.submodules.chip = _model(chip, memory.pads)
        else:
            wiring.connect(m, memory.pads, wiring.flipped(self.sdram))
            m.d.comb += self.sdram_clk.eq(ClockSignal())
        return memory

    def _clocks(self, m, machine_reset):
        """Domains ``sync`` and ``machine``: one clock, and resets."""
        board = self._board
        m.domains.raw = raw = ClockDomain(reset_less=True)
        m.domains.sync = sync = ClockDomain()
        m.domains.machine = machine = ClockDomain()
        kind = {"ecp5": Ecp5Pll, "gowin": GowinPll}[board.family]
        pll = kind(input_hz=board.oscillator_hz, output_hz=board.config.clock_hz)
        m.submodules.pll = pll
        ready, waited = Signal(), Signal(range(RESET_CYCLES))
        released = Signal()
        m.submodules.ready = FFSynchronizer(pll.locked & ~self.button, ready, o_domain="raw")
        m.d.comb += [pll.i.eq(self.clk), raw.clk.eq(pll.o)]
        sync.clk = machine.clk = raw.clk
        with m.If(~ready):
            m.d.raw += waited.eq(0)
        with m.Elif(waited != RESET_CYCLES - 1):
            m.d.raw += waited.eq(waited + 1)
        m.d.raw += released.eq(ready & (waited == RESET_CYCLES - 1))
        m.d.comb += sync.rst.eq(~released)
        stopped = Signal(init=1)
        m.d.sync += stopped.eq(machine_reset)
        m.d.comb += machine.rst.eq(stopped)

    def _leds(self, m, link, hpu):
        heart = Signal(range(self._board.config.clock_hz))
        m.d.sync += heart.eq(heart + 1)
        shown = [heart[-1], link.active, link.busy, hpu.busy, hpu.irq, hpu.fault]
        m.d.comb += self.leds.eq(Cat(shown[: len(self._board.leds)]))


def _model(chip, pads):
    """The SDRAM as a black box, of whose kind the simulator has a model."""
    ports = [
        ("o" if name == "dq_i" else "i", name, getattr(pads, name))
        for name in pads.signature.members
    ]
    sizes = {"ROW": chip.row_bits, "COL": chip.col_bits, "BANK": chip.bank_bits}
    parameters = [("p", name, value) for name, value in sizes.items()]
    clock = ("i", "clk", ClockSignal())
    return Instance("SDR_CHIP", clock, ("p", "BYTES", chip.word_bytes), *parameters, *ports)
