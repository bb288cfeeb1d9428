"""The systolic array: PE tiles wired edge to edge."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hpu.hw import emit
from hpu.hw.tile import Tile, hop_bits

__all__ = ["Array"]


class Array(wiring.Component):
    """``config.rows`` by ``config.cols`` PEs as tiles of ``config.tile``.

    Times are those of :class:`hpu.hw.tile.Tile`, over the whole array: lane r of ``act`` comes r
    cycles after lane 0, where ``live`` stands, and ``swap`` one cycle before lane 0; the partial
    sum of column c leaves rows + ``multiply_cycles`` + c cycles after lane 0 came. Weight rows
    enter per column tile, from ``weight``; those of column tile j are ``tile``·j cycles later than
    those of column tile 0.
    """

    def __init__(self, *, config):
        self._config = config
        self._row_tiles = config.rows // config.tile
        self._col_tiles = config.cols // config.tile
        super().__init__(
            {
                "act": In(8 * config.rows),
                "live": In(1),
                "swap": In(1),
                "weight": In(8 * config.cols),
                "weight_valid": In(self._col_tiles),
                "hops": In(hop_bits(self._row_tiles) * self._col_tiles),
                "psum": Out(32 * config.cols),
            }
        )

    def elaborate(self, platform):
        m = Module()
        size = self._config.tile
        tiles = [[self._tile() for _ in range(self._col_tiles)] for _ in range(self._row_tiles)]
        for i, row in enumerate(tiles):
            for j, tile in enumerate(row):
                setattr(m.submodules, f"tile_{i}_{j}", emit.instance(tile, "tile"))
                self._from_left(m, i, tile, row[j - 1] if j else None)
                self._from_above(m, j, tile, tiles[i - 1][j] if i else None)
                self._waves(m, tile, tiles[i - 1][0] if i else None, row[j - 1] if j else None)
        for j, tile in enumerate(tiles[-1]):
            m.d.comb += self.psum.word_select(j, 32 * size).eq(tile.psum_o)
        return m

    def _tile(self):
        cycles = self._config.multiply_cycles
        return Tile(size=self._config.tile, row_tiles=self._row_tiles, multiply_cycles=cycles)

    def _from_left(self, m, i, tile, left):
        size = 8 * self._config.tile
        m.d.comb += tile.act_i.eq(self.act.word_select(i, size) if left is None else left.act_o)

    def _from_above(self, m, j, tile, above):
        if above is not None:
            m.d.comb += [
                tile.psum_i.eq(above.psum_o),
                tile.weight_i.eq(above.weight_o),
                tile.weight_valid_i.eq(above.weight_valid_o),
                tile.hops_i.eq(above.hops_o),
            ]
            return
        m.d.comb += [
            tile.psum_i.eq(0),
            tile.weight_i.eq(self.weight.word_select(j, 8 * self._config.tile)),
            tile.weight_valid_i.eq(self.weight_valid[j]),
            tile.hops_i.eq(self.hops.word_select(j, hop_bits(self._row_tiles))),
        ]

    def _waves(self, m, tile, above, left):
        """``live`` and ``swap`` run down the first column of tiles and from there to the right."""
        source = left if left is not None else above
        m.d.comb += [
            tile.live_i.eq(self.live if source is None else source.live_o),
            tile.swap_i.eq(self.swap if source is None else source.swap_o),
        ]
