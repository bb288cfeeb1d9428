"""The vector unit's loops: one step per cycle, with its addresses and bounds checked."""

from amaranth.hdl import Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hpu.hw import isa
from hpu.hw.config import Config
from hpu.hw.ports import acc_address, instruction_layout, ub_address

__all__ = ["StepLayout", "VectorSteps"]

_ADDRESS = unsigned(24)
#: Image positions: a 16-bit start and two products of 16 and 8 bits.
_POSITION = signed(27)
#: Loops from the outermost to the innermost.
_LEVELS = ("n", "y", "x", "ky", "kx")
_ELEMENT_LEVELS = _LEVELS[:3]


class StepLayout(data.StructLayout):
    """One step of an instruction, and what it reads.

    ``read``: the unified buffer at ``ub_addr``; ``acc``: the accumulator at ``acc_addr``.
    ``item``: the step is an accumulator or a tap of a window, from the element's ``first`` to its
    ``last``, ``inside`` the image or not. ``operand``: ``ub_addr`` is the element's second operand.
    An element whose source is the accumulators is one step; one whose source is the unified buffer
    has its second operand in a step before its items. ``final`` is the instruction's last step.
    ``fault``: an address of this step is beyond its memory.
    """

    def __init__(self, config: Config):
        flags = ("read", "acc", "item", "operand", "first", "last", "inside", "final", "fault")
        super().__init__(
            {
                **dict.fromkeys(flags, 1),
                "ub_addr": ub_address(config),
                "acc_addr": acc_address(config),
                "d_addr": ub_address(config),
            }
        )


class VectorSteps(wiring.Component):
    """Steps of the instruction in ``values``, the first of them two cycles after ``start``.

    One step per cycle; the steps after the final one begin with the next ``start``. ``values`` must
    stand from ``start`` to the final step. ``clear`` ends the instruction early.
    """

    def __init__(self, *, config: Config):
        self._config = config
        super().__init__(
            {
                "values": In(instruction_layout(isa.BY_OPCODE[isa.Opcode.VECTOR])),
                "start": In(1),
                "clear": In(1),
                "steps": Out(stream.Signature(StepLayout(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        running, accept, advance = Signal(), Signal(), Signal()
        operand_next, first = Signal(), Signal()
        values = self.values
        uses = values.operand != isa.Operand.NONE
        is_acc = values.source == isa.Source.ACC
        operand_only = operand_next & ~is_acc
        self._turn = self._loops(m, advance)
        m.d.comb += [
            accept.eq(running & (~self.steps.valid | self.steps.ready)),
            advance.eq(accept & ~operand_only),
        ]
        with m.If(accept):
            m.d.sync += operand_next.eq(uses & ~operand_only & self._element_end)
        with m.If(advance):
            m.d.sync += [running.eq(~self._end), first.eq(self._element_end)]
        with m.If(self.start):
            m.d.sync += [running.eq(1), operand_next.eq(uses), first.eq(1)]
        with m.If(self.clear):
            m.d.sync += running.eq(0)
        step = self._step(m, advance, is_acc, uses, operand_only, first)
        self._register(m, accept, step)
        return m

    def _loops(self, m, advance):
        """One bit per loop: the innermost that is not in its last turn, which goes on next."""
        ends, turn = Signal(len(_LEVELS)), Signal(len(_LEVELS))
        for index, level in enumerate(_LEVELS):
            count = getattr(self.values, f"{level}_count")
            left = Signal(16, name=f"{level}_left")
            m.d.comb += [
                ends[index].eq(left == 1),
                turn[index].eq(ends[index:] == (1 << len(_LEVELS) - index) - 2),
            ]
            with m.If(self.start | (advance & turn[: index + 1].any() & ~turn[index])):
                m.d.sync += left.eq(count)
            with m.Elif(advance & turn[index]):
                m.d.sync += left.eq(left - 1)
        self._end = ends.all()
        self._element_end = ends[len(_ELEMENT_LEVELS) :].all()
        return turn

    def _nest(self, m, advance, name, shape, start, strides):
        """A sum over the loops of turns times stride, kept by additions only.

        Every level holds the sum at its present turn with the loops inside it at their first.
        """
        levels = _LEVELS if {"ky", "kx"} & set(strides) else _ELEMENT_LEVELS
        sums = [Signal(shape, name=f"{name}_{level}") for level in levels]
        following = Signal(shape, name=f"{name}_next")
        with m.Switch(self._turn):
            for index, level in enumerate(levels):
                with m.Case(1 << index):
                    m.d.comb += following.eq(sums[index] + strides.get(level, 0))
        for index, value in enumerate(sums):
            with m.If(self.start):
                m.d.sync += value.eq(start)
            with m.Elif(advance & self._turn[: index + 1].any()):
                m.d.sync += value.eq(following)
        return sums[-1]

    def _address(self, m, advance, prefix, levels):
        strides = {level: getattr(self.values, f"{prefix}_{level}") for level in levels}
        base = getattr(self.values, f"{prefix}_base")
        return self._nest(m, advance, prefix, _ADDRESS, base, strides)

    def _inside(self, m, advance):
        """Whether the tap's row and column are in the image."""
        v = self.values
        strides = {"y": v.y_step, "ky": v.y_dilation}
        iy = self._nest(m, advance, "iy", _POSITION, v.y0, strides)
        strides = {"x": v.x_step, "kx": v.x_dilation}
        ix = self._nest(m, advance, "ix", _POSITION, v.x0, strides)
        return (iy >= 0) & (iy < v.image_rows) & (ix >= 0) & (ix < v.image_cols)

    def _step(self, m, advance, is_acc, uses, operand_only, first):
        """Fields of the step that the loops are at."""
        a = self._address(m, advance, "a", _LEVELS)
        b = self._address(m, advance, "b", _ELEMENT_LEVELS)
        d = self._address(m, advance, "d", _ELEMENT_LEVELS)
        acc = Signal(_ADDRESS)
        with m.If(self.start):
            m.d.sync += acc.eq(self.values.a_base)
        with m.Elif(advance):
            m.d.sync += acc.eq(acc + 1)
        item = ~operand_only
        last = item & self._element_end
        inside = is_acc | self._inside(m, advance)
        operand = operand_only | (is_acc & uses)
        read = operand | (~is_acc & item & inside)
        address = Mux(operand, b, a)
        depth = self._config.ub_depth
        fault = read & (address >= depth) | last & (d >= depth)
        fault |= is_acc & (acc >= Const(self._config.acc_depth))
        return {
            "read": read,
            "acc": is_acc,
            "item": item,
            "operand": operand,
            "first": first,
            "last": last,
            "inside": inside,
            "final": last & self._end,
            "fault": fault,
            "ub_addr": address,
            "acc_addr": acc,
            "d_addr": d,
        }

    def _register(self, m, accept, step):
        with m.If(accept):
            m.d.sync += self.steps.valid.eq(1)
            m.d.sync += [self.steps.payload[name].eq(value) for name, value in step.items()]
        with m.Elif(self.steps.ready):
            m.d.sync += self.steps.valid.eq(0)
        with m.If(self.clear):
            m.d.sync += self.steps.valid.eq(0)
