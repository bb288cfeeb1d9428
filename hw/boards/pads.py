"""A board's top between the FPGA's pins: buffers and the board's own names."""

from amaranth.hdl import ClockDomain, Elaboratable, Instance, Module, Value
from amaranth.lib import io
from amaranth.lib.wiring import In

from hpu.hw.boards.board import Board
from hpu.hw.boards.top import BoardTop

__all__ = ["TOP", "Pads"]

#: Name of the module that :class:`Pads` has as a black box.
TOP = "board_top"
_SDRAM = ("clk", "clk_en", "cs", "we", "ras", "cas", "ba", "a", "dq", "dqm")


class Pads(Elaboratable):
    """What the platform builds: input and output buffers around :class:`BoardTop`."""

    def __init__(self, *, board: Board):
        self._board = board
        self.top = BoardTop(board=board)

    def elaborate(self, platform):
        m = Module()
        self._names = iter(range(1000))
        top, board = self.top, self._board
        ports = [
            ("i" if member.flow == In else "o", "__".join(map(str, path)), Value.cast(value))
            for path, member, value in top.signature.flatten(top)
        ]
        m.submodules.top = Instance(TOP, *ports)
        top._MustUse__used = True
        serial = platform.request(*board.serial, dir={"rx": "-", "tx": "-"})
        self._input(m, platform.request(platform.default_clk, dir="-"), top.clk)
        self._input(m, serial.rx, top.rx)
        self._output(m, serial.tx, top.tx)
        if board.button is not None:
            self._input(m, platform.request(*board.button, dir="-"), top.button)
        if board.sdram is not None:
            self._sdram(m, platform.request("sdram", 0, dir=dict.fromkeys(_SDRAM, "-")), top)
        for bit, led in enumerate(self._leds(platform)):
            self._output(m, led, top.leds[bit])
        return m

    def _sdram(self, m, port, top):
        """The chip's pads; its clock is the FPGA's, inverted in the pad."""
        for name in ("clk_en", "cs", "ras", "cas", "we", "ba", "a", "dqm"):
            self._output(m, getattr(port, name), getattr(top.sdram, name))
        m.submodules.sdram_data = data = io.Buffer("io", port.dq)
        m.d.comb += [data.o.eq(top.sdram.dq_o), data.oe.eq(top.sdram.oe)]
        m.d.comb += top.sdram.dq_i.eq(data.i)
        m.domains.sdram = domain = ClockDomain(reset_less=True)
        m.d.comb += domain.clk.eq(top.sdram_clk)
        m.submodules.sdram_clk = clock = io.DDRBuffer("o", port.clk, o_domain="sdram")
        m.d.comb += [clock.o[0].eq(0), clock.o[1].eq(1)]

    def _leds(self, platform):
        """The LEDs' ports; several may be parts of one resource."""
        leds = self._board.leds
        groups: dict[tuple[str, int], list[str]] = {}
        for name, number, part in leds:
            groups.setdefault((name, number), []).extend([part] if part else [])
        ports = {
            group: platform.request(*group, dir=dict.fromkeys(parts, "-") if parts else "-")
            for group, parts in groups.items()
        }
        return [
            getattr(ports[name, number], part) if part else ports[name, number]
            for name, number, part in leds
        ]

    def _input(self, m, port, signal):
        buffer = m.submodules[f"pad_{next(self._names)}"] = io.Buffer("i", port)
        m.d.comb += signal.eq(buffer.i)

    def _output(self, m, port, signal):
        buffer = m.submodules[f"pad_{next(self._names)}"] = io.Buffer("o", port)
        m.d.comb += buffer.o.eq(signal)
