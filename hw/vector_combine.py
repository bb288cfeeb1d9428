"""Two operands of one lane in one: fixed-point sum or product, one rounding, saturation, clip."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["COMBINE_STAGES", "CONSTANTS", "CombineSetting", "VectorCombine"]

#: Cycles from ``s`` and ``b`` to ``o``.
COMBINE_STAGES = 6
#: The stage that looks at each constant.
CONSTANTS = {
    **dict.fromkeys(("s_zero", "b_zero"), 0),
    **dict.fromkeys(("s_mult", "b_mult"), 1),
    "multiply": 2,
    **dict.fromkeys(("shift", "below"), 3),
    "out_zero": 4,
    **dict.fromkeys(("low", "high"), 5),
}


class CombineSetting(data.StructLayout):
    """Constants of a sum or product and of the clip after it.

    ``below``, equal to 2^shift - 1, masks the bits below the rounding bit of twice the result.
    ``s_mult`` = 1 with every other constant but the clip's 0 lets ``s`` through unchanged. With
    ``multiply`` the operands' products are multiplied: ``b_mult`` must be 1, and ``s_mult`` in
    16 bits.
    """

    def __init__(self):
        names = ("s_zero", "b_zero", "out_zero", "low", "high")
        super().__init__(
            {
                **dict.fromkeys(names, signed(8)),
                "multiply": 1,
                "shift": 5,
                "below": 31,
                "s_mult": signed(23),
                "b_mult": signed(23),
            }
        )


class VectorCombine(wiring.Component):
    """``o`` is the clipped sum or product of docs/machine.md of ``COMBINE_STAGES`` cycles ago.

    One result per cycle. Bit k of ``en`` lets stage k take what stage k - 1 holds. Each part of
    ``setting`` is looked at by one stage, ``CONSTANTS``, and may change between two values there.
    """

    def __init__(self):
        super().__init__(
            {
                "en": In(COMBINE_STAGES),
                "s": In(signed(8)),
                "b": In(signed(8)),
                "setting": In(CombineSetting()),
                "o": Out(signed(8)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        whole, up = self._shift(m, self._total(m))
        narrow = Signal(signed(8), name="narrow", reset_less=True)
        total = Signal(signed(33))
        m.d.comb += total.eq(whole + up + self.setting.out_zero)
        with m.If(self.en[4]):
            m.d.sync += narrow.eq(_limit(total, -128, 127))
        with m.If(self.en[5]):
            m.d.sync += self.o.eq(_limit(narrow, self.setting.low, self.setting.high))
        return m

    def _total(self, m):
        """Stages 0 to 2."""
        s, b = Signal(signed(9), reset_less=True), Signal(signed(9), reset_less=True)
        left, right = Signal(signed(32), reset_less=True), Signal(signed(32), reset_less=True)
        total = Signal(signed(32), name="total", reset_less=True)
        with m.If(self.en[0]):
            m.d.sync += [s.eq(self.s - self.setting.s_zero), b.eq(self.b - self.setting.b_zero)]
        with m.If(self.en[1]):
            m.d.sync += [left.eq(s * self.setting.s_mult), right.eq(b * self.setting.b_mult)]
        with m.If(self.en[2]):
            own = left[:24].as_signed()  # of a product: |s·s_mult| ≤ 255·2¹⁵ < 2²³
            product = own * right[:9].as_signed()
            # |sum| ≤ 2·255·2²² < 2³¹, |product| ≤ 255·2¹⁵·255 < 2³¹
            m.d.sync += total.eq(Mux(self.setting.multiply, product, left + right))
        return total

    def _shift(self, m, total):
        """The total shifted, and whether it rounds up (stage 3)."""
        doubled, moved = Signal(signed(33)), Signal(signed(33))
        whole, up = Signal(signed(32), reset_less=True), Signal(reset_less=True)
        m.d.comb += [doubled.eq(total << 1), moved.eq(doubled >> self.setting.shift)]
        rest = (doubled[:31] & self.setting.below).any()
        with m.If(self.en[3]):
            m.d.sync += [whole.eq(moved >> 1), up.eq(moved[0] & (rest | moved[1]))]
        return whole, up


def _limit(value, low, high):
    """``min(max(value, low), high)``."""
    least = Mux(value < low, low, value)
    return Mux(least > high, high, least)
