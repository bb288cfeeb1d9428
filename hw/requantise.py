"""Exact requantisation of one lane: the steps of docs/numerics.md, one stage each."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["CONSTANTS", "REQUANTISE_STAGES", "Requantise"]

#: Cycles from ``a`` to ``o``.
REQUANTISE_STAGES = 10
#: The stage that looks at each constant.
CONSTANTS = {"mantissa": 4, "shift": 6, "zero": 9}
#: Left shift of the 24-bit product that puts its integer part above bit 24, for shift = lz = 0.
_ALIGN = 55
#: Greatest such shift whose result may be below 512; more saturates int8 whatever the zero point.
_SHIFT_MAX = 9


class Requantise(wiring.Component):
    """``o`` is ``requantise(a, mantissa, shift, zero)`` of ``REQUANTISE_STAGES`` cycles ago.

    One result per cycle. Bit k of ``en`` lets stage k take what stage k - 1 holds, so that stages
    without work neither switch nor cost simulation time. ``mantissa``, ``shift`` and ``zero``
    are looked at by one stage each, ``CONSTANTS``, and may change between two values there.
    """

    def __init__(self):
        super().__init__(
            {
                "en": In(REQUANTISE_STAGES),
                "a": In(signed(32)),
                "mantissa": In(24),
                "shift": In(6),
                "zero": In(signed(8)),
                "o": Out(signed(8)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._sign = self._delay(m, "negative", self.a < 0, 0, 8)
        norm, zeros = self._normalise(m)
        rounded = self._round(m, 3, norm[31:], norm[8:31], norm[7], norm[:7])
        zeros = self._delay(m, "zeros", zeros, 3, 5)
        some = self._delay(m, "top", norm[31], 3, 3)
        some = self._delay(m, "some", some & self.mantissa[23], 4, 5)
        product = self._multiply(m, rounded)
        q, left = self._round_product(m, product, zeros, some)
        self._output(m, *self._to_integer(m, q, left))
        return m

    def _delay(self, m, name, value, first, last):
        """``value`` carried by stages ``first`` to ``last``."""
        for stage in range(first, last + 1):
            held = Signal.like(value, name=f"{name}_{stage}", reset_less=True)
            with m.If(self.en[stage]):
                m.d.sync += held.eq(value)
            value = held
        return value

    def _normalise(self, m):
        """|a| with its leading one at bit 31, and the leading zeros (stages 0 to 2)."""
        value = Signal(32, name="magnitude", reset_less=True)
        with m.If(self.en[0]):
            m.d.sync += value.eq(Mux(self.a < 0, -self.a, self.a))
        value, high = self._shift_up(m, 1, value, (16, 8))
        high = self._delay(m, "high", high, 2, 2)
        value, low = self._shift_up(m, 2, value, (4, 2, 1))
        return value, Cat(low, high)

    def _shift_up(self, m, stage, value, steps):
        """``value`` shifted left by each of ``steps`` where that many top bits are zero."""
        taken = []
        for step in steps:
            empty = Signal(name=f"empty_{step}")
            m.d.comb += empty.eq(value[32 - step :] == 0)
            shifted = Signal(32, name=f"shifted_{step}")
            m.d.comb += shifted.eq(Mux(empty, value << step, value))
            taken.insert(0, empty)
            value = shifted
        held = Signal(32, name=f"normal_{stage}", reset_less=True)
        zeros = Signal(len(steps), name=f"zeros_{stage}", reset_less=True)
        with m.If(self.en[stage]):
            m.d.sync += [held.eq(value), zeros.eq(Cat(taken))]
        return held, zeros

    def _round(self, m, stage, top, below, half, rest):
        """24 bits to nearest even; 2²⁴ may come out and needs no renormalising.

        ``below`` holds the lower 23 bits of the 24, ``top`` the highest one.
        """
        rounded = Signal(25, name=f"rounded_{stage}", reset_less=True)
        up = half & (rest.any() | below[0])
        with m.If(self.en[stage]):
            m.d.sync += rounded.eq(Cat(below, top) + up)
        return rounded

    def _multiply(self, m, rounded):
        """25 by 24 bits in two halves (stages 4 and 5); the product is below 2⁴⁸."""
        low = Signal(37, name="product_low", reset_less=True)
        high = Signal(37, name="product_high", reset_less=True)
        product = Signal(48, name="product", reset_less=True)
        with m.If(self.en[4]):
            m.d.sync += [
                low.eq(rounded * self.mantissa[:12]),
                high.eq(rounded * self.mantissa[12:]),
            ]
        with m.If(self.en[5]):
            m.d.sync += product.eq(low + (high << 12))
        return product

    def _round_product(self, m, product, zeros, some):
        """The product in 24 bits, and the left shift that aligns it; -1 when it counts as 0."""
        top = product[47]
        kept = Mux(top, product[24:48], product[23:47])
        half = Mux(top, product[23], product[22])
        rest = product[:22].any() | (top & product[22])
        q = self._round(m, 6, kept[23], kept[:23], half, rest)
        left = Signal(signed(8), name="left", reset_less=True)
        with m.If(self.en[6]):
            m.d.sync += left.eq(Mux(some, _ALIGN + top - self.shift - zeros, -1))
        return q, left

    def _to_integer(self, m, q, left):
        """Rounded magnitude (stages 7 and 8), below 1024, and whether it is too large for that."""
        fixed = Signal(21, name="fixed", reset_less=True)  # 11 bits below the binary point
        large = Signal(name="large", reset_less=True)
        with m.If(self.en[7]):
            m.d.sync += large.eq(left > _SHIFT_MAX)
            # Bits 0 … 13 only tell whether a tie is one.
            m.d.sync += fixed.eq(Mux(left < 0, 0, Cat(q[:14].any(), q[14:]) << left[:4]))
        whole = Signal(10, name="whole", reset_less=True)
        up = fixed[10] & (fixed[:10].any() | fixed[11])
        with m.If(self.en[8]):
            m.d.sync += whole.eq(fixed[11:] + up)
        return whole, self._delay(m, "large", large, 8, 8)

    def _output(self, m, whole, large):
        """Sign, zero point and saturation (stage 9)."""
        total = Signal(signed(12))
        value = Mux(large, 1023, whole)
        m.d.comb += total.eq(Mux(self._sign, -value, value) + self.zero)
        with m.If(self.en[9]):
            m.d.sync += self.o.eq(Mux(total < -128, -128, Mux(total > 127, 127, total)))
