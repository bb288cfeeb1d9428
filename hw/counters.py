"""Free-running counters, and the cause that every cycle of the matrix unit is charged to."""

from amaranth.hdl import Const, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hpu.hw import csr
from hpu.hw.isa import Unit

__all__ = ["Counters", "MatrixCause"]


class Counters(wiring.Component):
    """One 64-bit counter per entry of ``csr.COUNTERS``, in its order; ``events`` are what each
    counts.

    CYCLES counts every cycle. ``snapshot`` copies all of them into ``values`` at once.
    """

    def __init__(self):
        names = [counter.name for counter in csr.COUNTERS if counter.name != "CYCLES"]
        super().__init__(
            {
                "events": In(data.StructLayout(dict.fromkeys(names, 1))),
                "snapshot": In(1),
                "values": Out(data.ArrayLayout(64, len(csr.COUNTERS))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        for index, counter in enumerate(csr.COUNTERS):
            count = Signal(64, name=counter.name.lower())
            if counter.name == "CYCLES":
                m.d.sync += count.eq(count + 1)
            else:
                with m.If(self.events[counter.name]):
                    m.d.sync += count.eq(count + 1)
            with m.If(self.snapshot):
                m.d.sync += self.values[index].eq(count)
        return m


class MatrixCause(wiring.Component):
    """Charges every cycle to exactly one of ``csr.MATRIX_CAUSES``; combinational.

    ``useful``, ``padding``, ``weights`` and ``setup`` are the matrix unit's own account. In other
    cycles: ``running``: a program runs; ``missing``: units whose tokens the next matrix instruction
    waits for; ``present``: there is a next one; ``coming``: more of the program is to come to the
    matrix unit's queue.
    """

    def __init__(self):
        names = [counter.name for counter in csr.MATRIX_CAUSES]
        super().__init__(
            {
                "useful": In(1),
                "padding": In(1),
                "weights": In(1),
                "setup": In(1),
                "running": In(1),
                "missing": In(len(Unit)),
                "present": In(1),
                "coming": In(1),
                "causes": Out(data.StructLayout(dict.fromkeys(names, 1))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        ladder = (
            ("MATRIX_USEFUL", self.useful),
            ("MATRIX_PADDING", self.padding),
            ("MATRIX_WEIGHTS", self.weights),
            ("MATRIX_SETUP", self.setup),
            ("MATRIX_HOST", ~self.running),
            ("MATRIX_INPUT", self.missing[Unit.LOAD]),
            ("MATRIX_ACCUMULATOR", self.missing[Unit.VECTOR]),
            ("MATRIX_TOKEN", self.missing.any()),
            ("MATRIX_SETUP", self.present),
            ("MATRIX_FETCH", self.coming),
            ("MATRIX_DRAINED", Const(1)),
        )
        charged = Const(0, 1)
        for name, holds in ladder:
            with m.If(holds & ~charged):
                m.d.comb += self.causes[name].eq(1)
            charged = charged | holds
        return m
