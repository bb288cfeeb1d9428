"""The weight FIFO: tiles on their way from the weights unit into the array's shadow weights."""

from amaranth.hdl import Array as Choice
from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hpu.hw import emit
from hpu.hw.delay import DelayLine
from hpu.hw.ports import WeightRows
from hpu.hw.tile import hop_bits

__all__ = ["ARRAY_LATENCY", "WeightBank", "WeightFifo", "WeightLoader"]

#: Cycles from ``WeightFifo.start`` to row 0 in the transit register of the array's first tile.
ARRAY_LATENCY = 4


def _bank_words(config):
    return config.weight_tiles * config.rows


def _command(config):
    """One row read: ``zero`` for a row that was not fetched."""
    return data.StructLayout(
        {
            "valid": 1,
            "zero": 1,
            "addr": unsigned(ceil_log2(_bank_words(config))),
            "hops": unsigned(hop_bits(config.rows // config.tile)),
        }
    )


class WeightBank(wiring.Component):
    """The FIFO's memory for one column tile.

    A row stands in ``weight`` 2 cycles after its command; the command leaves for the next column
    tile ``tile`` cycles after it came, as the swap wave does.
    """

    def __init__(self, *, config):
        self._config = config
        layout = _command(config)
        width = 8 * config.tile
        super().__init__(
            {
                "w_en": In(1),
                "w_addr": In(layout["addr"].shape),
                "w_data": In(width),
                "command_i": In(layout),
                "command_o": Out(layout),
                "weight": Out(width),
                "weight_valid": Out(1),
                "hops": Out(layout["hops"].shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._pass_on(m)
        m.submodules.memory = memory = Memory(
            shape=8 * self._config.tile, depth=_bank_words(self._config), init=[]
        )
        write, read = memory.write_port(), memory.read_port()
        command, fetched = self.command_i, Signal(_command(self._config))
        m.d.comb += [
            write.en.eq(self.w_en),
            write.addr.eq(self.w_addr),
            write.data.eq(self.w_data),
            read.en.eq(command.valid & ~command.zero),
            read.addr.eq(command.addr),
        ]
        m.d.sync += [fetched.eq(command), self.weight_valid.eq(fetched.valid)]
        with m.If(fetched.valid):
            m.d.sync += [
                self.weight.eq(Mux(fetched.zero, 0, read.data)),
                self.hops.eq(fetched.hops),
            ]
        return m

    def _pass_on(self, m):
        width = self.command_i.shape().size
        m.submodules.delay = delay = DelayLine(width=width, cycles=self._config.tile)
        m.d.comb += [delay.i.eq(self.command_i), self.command_o.as_value().eq(delay.o)]


class WeightFifo(wiring.Component):
    """``config.weight_tiles`` tiles in one bank per column tile.

    - ``rows``: the weights unit's side. A place is freed when its last row can no longer be
      overtaken by the next tile's rows, which come in order and at most one a cycle.
    - ``available``: a whole tile waits. ``start``, in such a cycle, sends its ``config.rows`` rows
      to the array, one a cycle; it may not be given again for ``config.rows`` cycles.
    - ``weight``, ``weight_valid``, ``hops``: rows for the array; those of column tile j are
      ``tile``·j cycles later. Row 0 stands there ``ARRAY_LATENCY - 1`` cycles after ``start``.
    - ``flush`` (or ``rows.flush``) empties the FIFO; a tile on its way still runs out.
    """

    def __init__(self, *, config):
        self._config = config
        self._col_tiles = config.cols // config.tile
        super().__init__(
            {
                "rows": In(WeightRows(config)),
                "flush": In(1),
                "available": Out(1),
                "start": In(1),
                "weight": Out(8 * config.cols),
                "weight_valid": Out(self._col_tiles),
                "hops": Out(hop_bits(config.rows // config.tile) * self._col_tiles),
            }
        )

    def elaborate(self, platform):
        m = Module()
        flush = Signal()
        m.d.comb += flush.eq(self.flush | self.rows.flush)
        w_addr, lengths = self._write(m, flush)
        command = self._read(m, flush, lengths)
        self._banks(m, w_addr, command)
        return m

    def _place(self, m, step, flush, name):
        """Index of a place and its first word, moving on by one with ``step``."""
        index = Signal(range(self._config.weight_tiles), name=f"{name}_index")
        base = Signal(range(_bank_words(self._config)), name=f"{name}_base")
        wrap = index == self._config.weight_tiles - 1
        with m.If(flush):
            m.d.sync += [index.eq(0), base.eq(0)]
        with m.Elif(step):
            m.d.sync += [
                index.eq(Mux(wrap, 0, index + 1)),
                base.eq(Mux(wrap, 0, base + self._config.rows)),
            ]
        return index, base

    def _write(self, m, flush):
        """Write address, and per place the number of rows it was given."""
        rows = self.rows
        row = Signal(range(self._config.rows))
        tiles = range(self._config.weight_tiles)
        lengths = Choice(
            Signal(range(self._config.rows + 1), name=f"length_{k}", reset_less=True) for k in tiles
        )
        complete = Signal()
        m.d.comb += complete.eq(rows.valid & rows.last)
        index, base = self._place(m, complete, flush, "write")
        with m.If(flush | complete):
            m.d.sync += row.eq(0)
        with m.Elif(rows.valid):
            m.d.sync += row.eq(row + 1)
        with m.If(complete):
            m.d.sync += lengths[index].eq(row + 1)
        self._count(m, complete, flush)
        return base + row, lengths

    def _count(self, m, complete, flush):
        count = Signal(range(self._config.weight_tiles + 1))
        m.d.comb += self.available.eq(count != 0)
        with m.If(flush):
            m.d.sync += count.eq(0)
        with m.Else():
            m.d.sync += count.eq(count + complete - self.start)

    def _read(self, m, flush, lengths):
        """Commands of the tile that is being sent."""
        config = self._config
        index, base = self._place(m, self.start, flush, "read")
        command, length = Signal(_command(config)), Signal(range(config.rows + 1))
        row, within = Signal(range(config.rows)), Signal(range(config.tile))
        last = command.valid & (row == config.rows - 1)
        with m.If(self.start):
            m.d.sync += [
                length.eq(lengths[index]),
                command.eq(Cat(1, 0)),
                command.addr.eq(base),
                row.eq(0),
                within.eq(0),
            ]
        with m.Elif(last):
            m.d.sync += command.valid.eq(0)
        with m.Elif(command.valid):
            end = within == config.tile - 1
            m.d.sync += [
                row.eq(row + 1),
                within.eq(Mux(end, 0, within + 1)),
                command.addr.eq(command.addr + 1),
                command.zero.eq(row + 1 >= length),
                command.hops.eq(command.hops + end),
            ]
        self._free(m, last, flush)
        return command

    def _free(self, m, last, flush):
        """Free the place once no bank still has a row to read that the next tile overwrites."""
        config = self._config
        late = max(0, config.tile * (self._col_tiles - 1) - config.rows + 1)
        stages, dropped = Signal(late + 1), Signal()
        with m.If(flush):
            m.d.sync += [stages.eq(0), dropped.eq(1)]
        with m.Else():
            m.d.sync += stages.eq((stages << 1) | (last & ~dropped))
            with m.If(self.start):
                m.d.sync += dropped.eq(0)
        m.d.comb += self.rows.free.eq(stages[-1] & ~flush)

    def _banks(self, m, w_addr, command):
        config = self._config
        width, hops = 8 * config.tile, hop_bits(config.rows // config.tile)
        for j in range(self._col_tiles):
            bank = WeightBank(config=config)
            setattr(m.submodules, f"bank_{j}", emit.instance(bank, "weight_bank"))
            m.d.comb += [
                bank.w_en.eq(self.rows.valid),
                bank.w_addr.eq(w_addr),
                bank.w_data.eq(self.rows.data.word_select(j, width)),
                bank.command_i.eq(command),
                self.weight.word_select(j, width).eq(bank.weight),
                self.weight_valid[j].eq(bank.weight_valid),
                self.hops.word_select(j, hops).eq(bank.hops),
            ]
            command = bank.command_o


class WeightLoader(wiring.Component):
    """When the next tile may move into the shadow weights, and when it may be swapped in.

    With ``latency`` the cycles from ``swap`` to the swap wave in the first stage of tile (0, 0), T
    the tile's edge and K the row tiles, wave and rows meet correctly when

    - a swap comes at least ``ARRAY_LATENCY + T + K - 1 - latency`` cycles after ``start``: the
      rows of row tile i, which arrive in it from T·i + i on and fill it in T cycles, are there
      before the wave, which reaches it after T·i;
    - ``start`` comes at least ``latency + 2·T - 2 - ARRAY_LATENCY`` cycles after a swap: the first
      row must not shift a tile's shadow before the wave's last diagonal has taken it;
    - ``start`` comes at least ``rows`` cycles after the previous one.

    All column tiles see both ``T``·j cycles later.

    ``loaded``: a tile is in the shadow weights or on its way there. ``ready``: it may be swapped
    in, which ``swap`` does. ``flush`` forgets the loaded
    tile.
    """

    def __init__(self, *, config, latency: int):
        self._config = config
        tile, row_tiles = config.tile, config.rows // config.tile
        self._before_swap = max(1, ARRAY_LATENCY + tile + row_tiles - 1 - latency)
        self._before_start = max(1, latency + 2 * tile - 2 - ARRAY_LATENCY)
        super().__init__(
            {
                "available": In(1),
                "start": Out(1),
                "loaded": Out(1),
                "ready": Out(1),
                "swap": In(1),
                "flush": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        loaded = self.loaded
        filled = self._timer(m, self.start, self._before_swap, "filled")
        passed = self._timer(m, self.swap, self._before_start, "passed")
        sent = self._timer(m, self.start, self._config.rows, "sent")
        m.d.comb += [
            self.ready.eq(loaded & filled),
            self.start.eq(self.available & ~loaded & passed & sent & ~self.flush),
        ]
        with m.If(self.start):
            m.d.sync += loaded.eq(1)
        with m.Elif(self.swap | self.flush):
            m.d.sync += loaded.eq(0)
        return m

    @staticmethod
    def _timer(m, event, cycles, name):
        """High from ``cycles`` cycles after the last ``event`` on."""
        left = Signal(bits_for(max(1, cycles - 1)), name=f"{name}_left")
        with m.If(event):
            m.d.sync += left.eq(cycles - 1)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        return left == 0
