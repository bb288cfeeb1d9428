"""The PE tile: a square of multiply-accumulate elements, the block that the array repeats."""

from amaranth.hdl import Module, Signal
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
      + 1 + c when the tile above was fed ``size`` cycles earlier.
    - ``live`` comes with lane 0 of every row that matters. Without one on its way nothing in the
      tile moves but the weights.
    - ``swap`` comes one cycle ahead of lane 0 of the first row that the shadow weights are for,
      and takes them into use along the diagonals, in step with that row.
    - ``live`` and ``swap`` leave ``size`` cycles later, for the neighbours on the right and below.
    - A weight row with ``hops`` 0 is shifted into the shadow from the bottom, so that after
      ``size`` of them the first stands in row 0. Others leave one cycle later with one hop less.
    """

    def __init__(self, *, size: int, row_tiles: int):
        for name, value in (("size", size), ("row_tiles", row_tiles)):
            if not (isinstance(value, int) and value > 0):
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        self._size = size
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

    def _square(self, name, shape):
        size = range(self._size)
        return [
            [Signal(shape, name=f"{name}_{r}_{c}", reset_less=True) for c in size] for r in size
        ]

    def _shadow(self, m):
        here = Signal()
        m.d.sync += [
            here.eq(self.weight_valid_i & (self.hops_i == 0)),
            self.weight_valid_o.eq(self.weight_valid_i & (self.hops_i != 0)),
        ]
        with m.If(self.weight_valid_i):
            m.d.sync += [self.weight_o.eq(self.weight_i), self.hops_o.eq(self.hops_i - 1)]
        names = range(self._size)
        rows = [Signal(8 * self._size, name=f"shadow_{r}", reset_less=True) for r in names]
        with m.If(here):
            for row, below in zip(rows, [*rows[1:], self.weight_o], strict=True):
                m.d.sync += row.eq(below)
        return rows

    def _weights(self, m, shadow):
        """Weights in use; diagonal d = r + c takes its shadow when the swap stands at stage d."""
        stages = Signal(2 * self._size - 1)
        m.d.sync += stages.eq((stages << 1) | self.swap_i)
        m.d.comb += self.swap_o.eq(stages[self._size - 1])
        weight = self._square("weight", 8)
        with m.If(stages.any()):
            for r, row in enumerate(weight):
                for c, register in enumerate(row):
                    with m.If(stages[r + c]):
                        m.d.sync += register.eq(shadow[r].word_select(c, 8))
        return weight

    def _multiply(self, m, weight):
        stages = Signal(2 * self._size)
        m.d.sync += stages.eq((stages << 1) | self.live_i)
        m.d.comb += self.live_o.eq(stages[self._size - 1])
        act, psum = self._square("act", 8), self._square("psum", 32)
        size = range(self._size)
        with m.If(self.live_i | stages.any()):
            for r in reversed(size):
                for c in reversed(size):
                    left = act[r][c - 1] if c else self.act_i.word_select(r, 8)
                    above = psum[r - 1][c] if r else self.psum_i.word_select(c, 32)
                    product = act[r][c].as_signed() * weight[r][c].as_signed()
                    m.d.sync += [act[r][c].eq(left), psum[r][c].eq(above.as_signed() + product)]
        for index in size:
            m.d.comb += self.act_o.word_select(index, 8).eq(act[index][-1])
            m.d.comb += self.psum_o.word_select(index, 32).eq(psum[-1][index])
