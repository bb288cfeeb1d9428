"""A board's top between the FPGA's pins: buffers and the board's own names."""

from amaranth.hdl import Elaboratable, Instance, Module, Value
from amaranth.lib import io
from amaranth.lib.wiring import In

from hpu.hw.boards.board import Board
from hpu.hw.boards.top import BoardTop

__all__ = ["TOP", "Pads"]

#: Name of the module that :class:`Pads` has as a black box.
TOP = "board_top"


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
        for bit, led in enumerate(self._leds(platform)):
            self._output(m, led, top.leds[bit])
        return m

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
