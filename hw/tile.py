"""The PE tile: a square of multiply-accumulate elements, the block that the array repeats."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

__all__ = ["Tile", "hop_bits"]


def hop_bits(row_tiles: int) -> int:
    """Bits of a weight row's hop count in an array of ``row_tiles`` tiles from top to bottom."""
    return max(1, bits_for(row_tiles - 1))


class Tile(wiring.Component):
    """``size`` by ``size`` processing elements, weight-stationary.

    PE (r, c) holds an int8 activation that moves right, an int32 partial sum that moves down, the
    weight in use and a shadow of the next one. Every output is registered.

    - The activation of lane r must come r cycles after that of lane 0, the partial sum of column c
      c cycles after that of column 0. An activation leaves on the right ``size`` cycles after it
      came; the partial sums of a row whose lane 0 came in cycle t leave column c in cycle t + size
      + 1 + c when the tile above was fed ``size`` cycles earlier; one cycle later, and that of
      column c comes c + 1 cycles after that of lane 0, with a ``multiply_cycles`` of 2.
    - ``live`` comes with lane 0 of every row that matters. Without one on its way nothing in the
      tile moves but the weights.
    - ``swap`` comes one cycle ahead of lane 0 of the first row that the shadow weights are for,
      and takes them into use along the diagonals, in step with that row.
    - ``live`` and ``swap`` leave ``size`` cycles later, for the neighbours on the right and below.
    - A weight row with ``hops`` 0 is shifted into the shadow from the bottom, so that after
      ``size`` of them the first stands in row 0. Others leave one cycle later with one hop less.
    """

    def __init__(self, *, size: int, row_tiles: int, multiply_cycles: int = 1):
        for name, value in (("size", size), ("row_tiles", row_tiles)):
            if not (isinstance(value, int) and value > 0):
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        if multiply_cycles not in (1, 2):
            raise ValueError(f"multiply_cycles must be 1 or 2, not {multiply_cycles!r}")
        self._size = size
        self._cycles = multiply_cycles
        hops = hop_bits(row_tiles)
        super().__init__(
            {
                "act_i": In(8 * size),
                "act_o": Out(8 * size),
                "psum_i": In(32 * size),
                "psum_o": Out(32 * size),
                "live_i": In(1),
                "live_o": Out(1),
                "swap_i": In(1),
                "swap_o": Out(1),
                "weight_i": In(8 * size),
                "weight_o": Out(8 * size),
                "weight_valid_i": In(1),
                "weight_valid_o": Out(1),
                "hops_i": In(hops),
                "hops_o": Out(hops),
            }
        )

    @property
    def size(self) -> int:
        """Rows and columns of the tile."""
        return self._size

    def elaborate(self, platform):
        m = Module()
        shadow = self._shadow(m)
        weight = self._weights(m, shadow)
        self._multiply(m, weight)
        return m

    def _rows(self, name):
        """One register of bytes per row: simulators move and hold it by words."""
        size = range(self._size)
        return [Signal(8 * self._size, name=f"{name}_{r}", reset_less=True) for r in size]

    def _shadow(self, m):
        here = Signal()
        m.d.sync += [
            here.eq(self.weight_valid_i & (self.hops_i == 0)),
            self.weight_valid_o.eq(self.weight_valid_i & (self.hops_i != 0)),
        ]
        with m.If(self.weight_valid_i):
            m.d.sync += [self.weight_o.eq(self.weight_i), self.hops_o.eq(self.hops_i - 1)]
        rows = self._rows("shadow")
        with m.If(here):
            for row, below in zip(rows, [*rows[1:], self.weight_o], strict=True):
                m.d.sync += row.eq(below)
        return rows

    def _weights(self, m, shadow):
        """Weights in use; diagonal d = r + c takes its shadow when the swap stands at stage d."""
        stages = Signal(2 * self._size - 1)
        m.d.sync += stages.eq((stages << 1) | self.swap_i)
        m.d.comb += self.swap_o.eq(stages[self._size - 1])
        rows = self._rows("weight")
        with m.If(stages.any()):
            for r, row in enumerate(rows):
                for c in range(self._size):
                    with m.If(stages[r + c]):
                        m.d.sync += row.word_select(c, 8).eq(shadow[r].word_select(c, 8))
        return rows

    def _multiply(self, m, weight):
        stages = Signal(2 * self._size + self._cycles - 1)
        m.d.sync += stages.eq((stages << 1) | self.live_i)
        m.d.comb += self.live_o.eq(stages[self._size - 1])
        act, size = self._rows("act"), range(self._size)
        psum = [[Signal(32, name=f"psum_{r}_{c}", reset_less=True) for c in size] for r in size]
        with m.If(self.live_i | stages.any()):
            # Written from the bottom up, each register is read before it changes: simulators
            # then need no second copy of it.
            for r in reversed(size):
                above = psum[r - 1] if r else [self.psum_i.word_select(c, 32) for c in size]
                self._row(m, r, psum[r], above, act[r], weight[r])
                m.d.sync += act[r].eq(Cat(self.act_i.word_select(r, 8), act[r]))
        m.d.comb += self.psum_o.eq(Cat(psum[-1]))
        m.d.comb += self.act_o.eq(Cat(row[-8:] for row in act))

    def _row(self, m, r, psum, above, act, weight):
        """Partial sums of row ``r`` of PEs."""
        for c in reversed(range(self._size)):
            product = act.word_select(c, 8).as_signed() * weight.word_select(c, 8).as_signed()
            if self._cycles == 2:
                held = Signal(signed(16), name=f"product_{r}_{c}", reset_less=True)
                m.d.sync += held.eq(product)
                product = held
            m.d.sync += psum[c].eq(above[c].as_signed() + product)
