"""Addresses of the matrix unit's reads: taps set up per lane group, positions shared by all."""

from amaranth.hdl import Array, Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hpu.hw.config import TAPS
from hpu.hw.isa import BY_NAME
from hpu.hw.ports import instruction_layout, ub_address

__all__ = [
    "ADDRESS_BITS",
    "INSTRUCTION",
    "POSITION",
    "SETUP_STAGES",
    "TAP",
    "LaneAddress",
    "Positions",
    "TapSetup",
]

INSTRUCTION = instruction_layout(BY_NAME["MATMUL"])
ADDRESS_BITS = 24
#: Cycles from the choice of a tap of the table to its place: table, products, sum.
SETUP_STAGES = 3
#: Image coordinates: 16 bits, a loop of 2**16 steps of up to 255, and the tap's own 16 bits.
_COORDINATE = signed(26)

#: Of a tap against the position: image rows and columns, and words of the unified buffer.
TAP = data.StructLayout({"y": signed(16), "x": signed(16), "offset": unsigned(ADDRESS_BITS)})
_TABLE = data.StructLayout({"y": signed(16), "x": signed(16)})
#: Of a row.
POSITION = data.StructLayout({"y": _COORDINATE, "x": _COORDINATE, "addr": unsigned(ADDRESS_BITS)})


class TapSetup(wiring.Component):
    """Walks the tap table of ``instr``, one tap a cycle, and hands each to its lane groups.

    ``start`` comes in the first cycle in which ``instr`` stands; the first tap follows
    ``SETUP_STAGES`` + 1 cycles later: ``write`` marks the lane groups of ``tap``. ``done`` is high
    with the last one. ``instr`` must stand until then. A new ``start`` forgets what was under way.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "instr": In(INSTRUCTION),
                "start": In(1),
                "tap": Out(TAP),
                "write": Out(config.row_groups),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        valid, last = self._place(m)
        first, end = Signal(8), Signal(9)
        with m.If(self.start):
            m.d.sync += [first.eq(0), end.eq(self.instr.tap_groups)]
        with m.Elif(valid):
            m.d.sync += [first.eq(end), end.eq(end + self.instr.tap_groups)]
        for group in range(self._config.row_groups):
            m.d.comb += self.write[group].eq(valid & (first <= group) & (end > group))
        m.d.comb += self.done.eq(valid & last & ~self.start)
        return m

    def _place(self, m):
        """The tap table's entries in turn, through the two products and their sum."""
        instr, index, left = self.instr, Signal(range(TAPS)), Signal(range(TAPS + 1))
        table, tap = Signal(_TABLE, reset_less=True), Signal(_TABLE, reset_less=True)
        products = Signal(data.ArrayLayout(ADDRESS_BITS, 2), reset_less=True)
        with m.If(self.start):
            m.d.sync += [left.eq(instr.taps), index.eq(0)]
        with m.Elif(left != 0):
            m.d.sync += [left.eq(left - 1), index.eq(index + 1)]
        valid, last = left != 0, left == 1
        steps = (
            (table.y, Array(instr[f"dy{tap}"] for tap in range(TAPS))[index]),
            (table.x, Array(instr[f"dx{tap}"] for tap in range(TAPS))[index]),
        )
        with m.If(valid):
            m.d.sync += [register.eq(value) for register, value in steps]
        valid, last = self._stage(m, "table", valid, last)
        with m.If(valid):
            m.d.sync += [
                tap.eq(table),
                products[0].eq(table.y * instr.tap_y[:ADDRESS_BITS].as_signed()),
                products[1].eq(table.x * instr.tap_x[:ADDRESS_BITS].as_signed()),
            ]
        valid, last = self._stage(m, "products", valid, last)
        with m.If(valid):
            m.d.sync += [
                self.tap.y.eq(tap.y),
                self.tap.x.eq(tap.x),
                self.tap.offset.eq(products[0] + products[1]),
            ]
        return self._stage(m, "tap", valid, last)

    def _stage(self, m, name, valid, last):
        """``valid`` and ``last`` a cycle later."""
        later, late = Signal(name=f"{name}_valid"), Signal(name=f"{name}_last")
        m.d.sync += [later.eq(valid & ~self.start), late.eq(last)]
        return later, late


class Positions(wiring.Component):
    """Loop counters of the instruction that streams: the position of each row in turn.

    ``load`` takes ``instr``; ``position`` and ``last`` (of the last row) stand from the next cycle
    on, and move on after every cycle with ``step``.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "instr": In(INSTRUCTION),
                "load": In(1),
                "step": In(1),
                "position": Out(POSITION),
                "last": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        held = Signal(INSTRUCTION, reset_less=True)
        with m.If(self.load):
            m.d.sync += held.eq(self.instr)
        left = {name: Signal(16, name=f"{name}_left") for name in "nyx"}
        begin = {name: Signal(ADDRESS_BITS, name=f"{name}_begin", reset_less=True) for name in "ny"}
        m.d.comb += self.last.eq((left["n"] == 0) & (left["y"] == 0) & (left["x"] == 0))
        with m.If(self.load):
            self._begin(m, left, begin)
        with m.Elif(self.step):
            self._advance(m, held, left, begin)
        return m

    def _begin(self, m, left, begin):
        instr, position = self.instr, self.position
        for name, count in left.items():
            m.d.sync += count.eq(instr[f"{name}_count"] - 1)
        for register in begin.values():
            m.d.sync += register.eq(instr.a_base)
        m.d.sync += [
            position.addr.eq(instr.a_base),
            position.y.eq(instr.y0),
            position.x.eq(instr.x0),
        ]

    def _advance(self, m, held, left, begin):
        position = self.position
        with m.If(left["x"] != 0):
            m.d.sync += [
                left["x"].eq(left["x"] - 1),
                position.addr.eq(position.addr + held.a_x),
                position.x.eq(position.x + held.x_step),
            ]
        with m.Elif(left["y"] != 0):
            addr = begin["y"] + held.a_y
            m.d.sync += [
                left["y"].eq(left["y"] - 1),
                left["x"].eq(held.x_count - 1),
                begin["y"].eq(addr),
                position.addr.eq(addr),
                position.y.eq(position.y + held.y_step),
                position.x.eq(held.x0),
            ]
        with m.Else():
            addr = begin["n"] + held.a_n
            m.d.sync += [
                left["n"].eq(left["n"] - 1),
                left["y"].eq(held.y_count - 1),
                left["x"].eq(held.x_count - 1),
                begin["n"].eq(addr),
                begin["y"].eq(addr),
                position.addr.eq(addr),
                position.y.eq(held.y0),
                position.x.eq(held.x0),
            ]


class LaneAddress(wiring.Component):
    """The address generator of one lane group.

    ``clear`` and ``write`` fill the tap of the instruction to come, which ``switch`` takes into
    use for the positions of the following cycles. 2 cycles after a ``position`` with ``valid``:
    ``en`` and ``addr`` for the unified buffer; ``inside`` if the group's tap lies in the image,
    ``pad`` if it lies outside (neither if the group is off), ``bad`` if it lies inside but beyond
    the memory. ``image_rows`` and ``image_cols`` come one cycle after their position.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "clear": In(1),
                "write": In(1),
                "tap": In(TAP),
                "switch": In(1),
                "valid": In(1),
                "position": In(POSITION),
                "image_rows": In(16),
                "image_cols": In(16),
                "en": Out(1),
                "addr": Out(ub_address(config)),
                "inside": Out(1),
                "pad": Out(1),
                "bad": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        tap, on = self._taps(m)
        here, valid = Signal(POSITION, reset_less=True), Signal()
        m.d.sync += valid.eq(self.valid & on)
        with m.If(self.valid):
            m.d.sync += [
                here.y.eq(self.position.y + tap.y),
                here.x.eq(self.position.x + tap.x),
                here.addr.eq(self.position.addr + tap.offset),
            ]
        inside, fits = Signal(), Signal()
        m.d.comb += [
            # A negative coordinate is a large unsigned one.
            inside.eq(
                (here.y.as_unsigned() < self.image_rows) & (here.x.as_unsigned() < self.image_cols)
            ),
            fits.eq(here.addr < self._config.ub_depth),
        ]
        m.d.sync += [
            self.en.eq(valid & inside & fits),
            self.inside.eq(valid & inside),
            self.pad.eq(valid & ~inside),
            self.bad.eq(valid & inside & ~fits),
        ]
        with m.If(valid):
            m.d.sync += self.addr.eq(here.addr)
        return m

    def _taps(self, m):
        following, tap = Signal(TAP, reset_less=True), Signal(TAP, reset_less=True)
        following_on, on = Signal(), Signal()
        with m.If(self.clear):
            m.d.sync += following_on.eq(0)
        with m.Elif(self.write):
            m.d.sync += [following_on.eq(1), following.eq(self.tap)]
        with m.If(self.switch):
            m.d.sync += [tap.eq(following), on.eq(following_on)]
        return tap, on
