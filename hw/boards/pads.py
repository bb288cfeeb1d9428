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
        for bit, (name, number, part) in enumerate(board.leds):
            led = platform.request(name, number, dir={part: "-"} if part else "-")
            self._output(m, getattr(led, part) if part else led, top.leds[bit])
        return m

    def _input(self, m, port, signal):
        buffer = m.submodules[f"pad_{next(self._names)}"] = io.Buffer("i", port)
        m.d.comb += signal.eq(buffer.i)

    def _output(self, m, port, signal):
        buffer = m.submodules[f"pad_{next(self._names)}"] = io.Buffer("o", port)
        m.d.comb += buffer.o.eq(signal)
