"""The accumulators: where the array's partial sums are written or added up."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hpu.hw import emit
from hpu.hw.ports import AccRead, acc_address

__all__ = ["AccBank", "Accumulators", "command_layout"]

#: Memories of a bank, and the address bits that choose one: the lowest.
_WAYS, _WAY_BITS = 4, 2


def command_layout(config) -> data.StructLayout:
    """One row for the accumulators; ``last`` ends an instruction."""
    return data.StructLayout(
        {"valid": 1, "accumulate": 1, "last": 1, "addr": unsigned(acc_address(config))}
    )


class AccBank(wiring.Component):
    """The accumulators of one column group: words in turn in memories of one port of each kind.

    ``command_i`` comes with the partial sum of the group's first column; that of column k stands
    in ``psum`` k cycles later. ``command_o`` is ``command_i`` ``group`` cycles later, for the next
    group. ``takes`` shows which memories' read ports the rows on their way use in the *next*
    cycle; the vector unit's read (``r_en`` per memory, ``r_addr``) may not ask for those then. Its
    data stand in ``r_data`` 2 cycles after ``r_en``. ``committed`` pulses when an instruction's
    last row can be read.
    """

    def __init__(self, *, config):
        self._config = config
        # Stages from the first column's partial sum to the adder.
        self._depth = max(config.group, 4)
        self._width = 32 * config.group
        layout = command_layout(config)
        super().__init__(
            {
                "command_i": In(layout),
                "command_o": Out(layout),
                "psum": In(self._width),
                "takes": Out(_WAYS),
                "r_en": In(_WAYS),
                "r_addr": In(acc_address(config) - _WAY_BITS),
                "r_data": Out(self._width),
                "committed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        stages = self._commands(m)
        aligned = self._deskew(m, stages)
        reads, writes = self._memories(m)
        written = self._update(m, stages, aligned, self._fetch(m, stages, reads))
        self._commit(m, written, writes)
        return m

    def _commands(self, m):
        """``stages[k]`` is the command of k cycles ago."""
        layout = command_layout(self._config)
        stages = [self.command_i]
        for index in range(1, self._depth + 1):
            stage = Signal(layout, name=f"command_{index}")
            m.d.sync += stage.eq(stages[-1])
            stages.append(stage)
        m.d.comb += self.command_o.eq(stages[self._config.group])
        coming = stages[self._depth - 4]
        m.d.sync += self.takes.eq(Mux(coming.valid & coming.accumulate, _one_hot(coming.addr), 0))
        return stages

    def _deskew(self, m, stages):
        """Partial sums of all columns side by side, in time with ``stages[depth]``."""
        columns = []
        moving = Signal()
        m.d.comb += moving.eq(Cat(stage.valid for stage in stages[:-1]).any())
        with m.If(moving):
            for column in range(self._config.group):
                value = self.psum.word_select(column, 32)
                for index in range(self._depth - column):
                    stage = Signal(32, name=f"column_{column}_{index}", reset_less=True)
                    m.d.sync += stage.eq(value)
                    value = stage
                columns.append(value)
        return columns

    def _memories(self, m):
        reads, writes = [], []
        for way in range(_WAYS):
            memory = Memory(shape=self._width, depth=self._config.acc_depth // _WAYS, init=[])
            setattr(m.submodules, f"way_{way}", memory)
            reads.append(memory.read_port())
            writes.append(memory.write_port())
        return reads, writes

    def _fetch(self, m, stages, reads):
        """Old word of the row in ``stages[depth - 1]``; also the vector unit's reads."""
        row = stages[self._depth - 2]
        asked, fetched = Signal(_WAYS), Signal(self._width)
        m.d.sync += asked.eq(self.r_en)
        for way, read in enumerate(reads):
            mine = row.valid & row.accumulate & (_way(row.addr) == way)
            m.d.comb += [
                read.en.eq(mine | self.r_en[way]),
                read.addr.eq(Mux(mine, row.addr[_WAY_BITS:], self.r_addr)),
            ]
            with m.If(asked[way]):
                m.d.sync += self.r_data.eq(read.data)
        with m.Switch(_way(stages[self._depth - 1].addr)):
            for way, read in enumerate(reads):
                with m.Case(way):
                    m.d.comb += fetched.eq(read.data)
        return fetched

    def _update(self, m, stages, aligned, fetched):
        """The command and sum to be written.

        A row's read is one to three cycles older than the writes of the three rows before it, so
        those are taken from the registers that hold them.
        """
        layout = command_layout(self._config)
        row, adding = stages[self._depth - 1], stages[self._depth]
        written, settled = Signal(layout), Signal(layout)
        total = Signal(self._width, reset_less=True)
        earlier, old = Signal.like(total), Signal.like(total)
        forward = Signal()
        with m.If(row.valid):
            m.d.sync += forward.eq(row.accumulate & _same(row, adding))
            with m.If(~row.accumulate):
                m.d.sync += old.eq(0)
            with m.Elif(_same(row, written)):
                m.d.sync += old.eq(total)
            with m.Elif(_same(row, settled)):
                m.d.sync += old.eq(earlier)
            with m.Else():
                m.d.sync += old.eq(fetched)
        m.d.sync += [written.eq(adding), settled.eq(written)]
        with m.If(written.valid):
            m.d.sync += earlier.eq(total)
        with m.If(adding.valid):
            for column, value in enumerate(aligned):
                before = Mux(forward, total.word_select(column, 32), old.word_select(column, 32))
                m.d.sync += total.word_select(column, 32).eq(before + value)
        self._total = total
        return written

    def _commit(self, m, written, writes):
        for way, write in enumerate(writes):
            m.d.comb += [
                write.en.eq(written.valid & (_way(written.addr) == way)),
                write.addr.eq(written.addr[_WAY_BITS:]),
                write.data.eq(self._total),
            ]
        m.d.sync += self.committed.eq(written.valid & written.last)


def _way(addr):
    """The memory that holds a word."""
    return addr[:_WAY_BITS]


def _one_hot(addr):
    return Const(1, _WAYS) << _way(addr)


def _same(row, other):
    return other.valid & (row.addr == other.addr)


class Accumulators(wiring.Component):
    """``config.acc_depth`` words of one int32 per column, in turn in four memories.

    ``command`` comes with the partial sum of column 0; that of column c stands in ``psum`` c
    cycles later. ``done`` pulses, in order, when the last row of an instruction can be read. The
    matrix unit's additions have priority: ``read.ready`` is low when the memory asked for is
    read by one of them. Both go from word to word: once apart they do not meet again.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "command": In(command_layout(config)),
                "psum": In(32 * config.cols),
                "read": In(AccRead(config)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = 32 * self._config.group
        banks = [AccBank(config=self._config) for _ in range(self._config.col_groups)]
        r_en, r_addr = self._accept(m, banks)
        command = self.command
        for index, bank in enumerate(banks):
            setattr(m.submodules, f"bank_{index}", emit.instance(bank, "acc_bank"))
            m.d.comb += [
                bank.command_i.eq(command),
                bank.psum.eq(self.psum.word_select(index, width)),
                bank.r_en.eq(r_en),
                bank.r_addr.eq(r_addr),
                self.read.data.word_select(index, width).eq(bank.r_data),
            ]
            command = bank.command_o
        m.d.comb += self.done.eq(banks[-1].committed)
        return m

    def _accept(self, m, banks):
        read = self.read
        r_en, r_addr = Signal(_WAYS), Signal(acc_address(self._config) - _WAY_BITS)
        taken = Const(0, _WAYS)
        for bank in banks:
            taken = taken | bank.takes
        m.d.comb += read.ready.eq(~taken.bit_select(_way(read.addr), 1))
        m.d.sync += r_en.eq(Mux(read.valid & read.ready, _one_hot(read.addr), 0))
        with m.If(read.valid):
            m.d.sync += r_addr.eq(read.addr[_WAY_BITS:])
        return r_en, r_addr
