"""Control of the matrix unit: instructions in, rows out, one a cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from hpu.hw.accumulators import command_layout
from hpu.hw.csr import FaultCause
from hpu.hw.isa import BY_NAME
from hpu.hw.matrix_address import INSTRUCTION, POSITION, TAP, Positions, TapSetup
from hpu.hw.ports import UnitPort, acc_address

__all__ = ["ADDRESS_STAGES", "Controller"]

#: Cycles from a row's issue to its unified-buffer addresses.
ADDRESS_STAGES = 2


def _row_layout(config):
    """What goes with a row, beside its position, from issue to the unified buffer."""
    return data.StructLayout(
        {
            "valid": 1,
            "swap": 1,
            "accumulate": 1,
            "last": 1,
            "pad": 8,
            "acc": acc_address(config) + 1,
            "pc": 32,
        }
    )


class Controller(wiring.Component):
    """Accepts MATMUL instructions, prepares the next one while one streams, and issues its rows.

    Row signals, by cycles after issue:

    - 0: ``issue`` and ``position``; ``swap`` with an instruction's first row on new weights, for
      which it waits with ``wants_tile`` until ``weights_ready``;
    - 1: ``image_rows``, ``image_cols``;
    - 2: ``live``, ``live_swap`` and ``pad``, in step with the lane groups' ``inside`` and ``bad``;
    - 3: ``command`` for the accumulators, ``useful`` and ``padding``, and ``wait_weights`` and
      ``setup`` of the cycle that issued nothing.

    ``clear``, ``write`` and ``tap`` fill the lane groups' next taps, which ``switch`` takes into
    use. ``committed`` tells that an instruction's last row can be read. ``drain`` is the cycles in
    which every row in flight has been written.
    """

    def __init__(self, *, config, drain: int):
        self._config = config
        self._drain = drain
        groups = config.row_groups
        super().__init__(
            {
                "unit": Out(UnitPort(BY_NAME["MATMUL"])),
                "weights_ready": In(1),
                "wants_tile": Out(1),
                "swap": Out(1),
                "clear": Out(1),
                "write": Out(groups),
                "tap": Out(TAP),
                "switch": Out(1),
                "issue": Out(1),
                "position": Out(POSITION),
                "image_rows": Out(16),
                "image_cols": Out(16),
                "inside": In(groups),
                "bad": In(groups),
                "pad": Out(8),
                "live": Out(1),
                "live_swap": Out(1),
                "command": Out(command_layout(config)),
                "committed": In(1),
                "useful": Out(1),
                "padding": Out(1),
                "wait_weights": Out(1),
                "setup": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._faulted = Signal()
        self._streaming = Signal()
        self._last = Signal()
        waiting, following = self._prepare(m)
        row = self._stream(m, following)
        checked = self._follow(m, row)
        self._finish(m, checked)
        self._charge(m, waiting, checked)
        self._count(m)
        return m

    def _prepare(self, m):
        """The next instruction, from acceptance until its first row can be issued."""
        unit = self.unit
        held, following = Signal(), Signal(INSTRUCTION, reset_less=True)
        fresh, ready = Signal(), Signal()
        m.submodules.taps = taps = TapSetup(config=self._config)
        accept = unit.instr.valid & unit.instr.ready
        m.d.comb += [
            unit.instr.ready.eq(~held & ~unit.stop & ~self._faulted),
            taps.instr.eq(following),
            taps.start.eq(fresh),
            self.clear.eq(fresh),
            self.write.eq(taps.write),
            self.tap.eq(taps.tap),
            self.switch.eq(ready & (~self._streaming | (self.issue & self._last))),
        ]
        m.d.sync += fresh.eq(accept)
        with m.If(accept):
            m.d.sync += [held.eq(1), following.eq(unit.instr.payload)]
        with m.If(taps.done & held):
            m.d.sync += ready.eq(1)
        with m.If(self.switch):
            m.d.sync += [held.eq(0), ready.eq(0)]
        with m.If(unit.stop):
            m.d.sync += [held.eq(0), ready.eq(0), fresh.eq(0)]
        return held, following

    def _stream(self, m, following):
        """The instruction whose rows are issued; gives the row at stage 0."""
        config = self._config
        m.submodules.positions = positions = Positions()
        swap, instr = Signal(), Signal(_row_layout(config))
        rows, cols = Signal(16), Signal(16)
        held_back = swap & ~self.weights_ready
        m.d.comb += [
            self._last.eq(positions.last),
            self.issue.eq(self._streaming & ~held_back & ~self._faulted & ~self.unit.stop),
            self.swap.eq(self.issue & swap),
            self.wants_tile.eq(self._streaming & swap & ~self.unit.stop),
            positions.instr.eq(following),
            positions.load.eq(self.switch),
            positions.step.eq(self.issue),
            self.position.eq(positions.position),
        ]
        with m.If(self.issue):
            m.d.sync += [swap.eq(0), instr.acc.eq(Mux(instr.acc[-1], instr.acc, instr.acc + 1))]
        with m.If(self.switch):
            m.d.sync += [
                swap.eq(following.new_weights),
                instr.accumulate.eq(following.accumulate),
                instr.acc.eq(following.acc),
                instr.pad.eq(following.pad),
                instr.pc.eq(following.pc),
                rows.eq(following.image_rows),
                cols.eq(following.image_cols),
            ]
        with m.If(self.unit.stop):
            m.d.sync += self._streaming.eq(0)
        with m.Elif(self.switch | (self.issue & self._last)):
            m.d.sync += self._streaming.eq(self.switch)
        m.d.sync += [self.image_rows.eq(rows), self.image_cols.eq(cols)]
        return self._row(m, instr)

    def _row(self, m, instr):
        row = Signal(_row_layout(self._config))
        m.d.comb += [
            row.eq(instr),
            row.valid.eq(self.issue),
            row.swap.eq(self.swap),
            row.last.eq(self._last),
        ]
        return row

    def _follow(self, m, row):
        """The row at stage 2, where its addresses are known."""
        for index in range(1, ADDRESS_STAGES + 1):
            stage = Signal(_row_layout(self._config), name=f"row_{index}")
            m.d.sync += stage.eq(row)
            row = stage
        m.d.comb += [
            self.live.eq(row.valid),
            self.live_swap.eq(row.valid & row.swap),
            self.pad.eq(row.pad),
        ]
        return row

    def _finish(self, m, row):
        """Stage 3: the accumulators' command, or a fault."""
        fault, command = self.unit.fault, self.command
        beyond = row.acc[-1] | self.bad.any()
        m.d.sync += [
            fault.valid.eq(row.valid & beyond & ~self._faulted),
            command.valid.eq(row.valid & ~beyond & ~self._faulted),
            command.accumulate.eq(row.accumulate),
            command.last.eq(row.last),
            command.addr.eq(row.acc),
        ]
        m.d.comb += fault.cause.eq(FaultCause.ADDRESS)
        with m.If(row.valid & beyond & ~self._faulted):
            m.d.sync += [self._faulted.eq(1), fault.pc.eq(row.pc)]
        with m.If(self.unit.stop):
            m.d.sync += self._faulted.eq(0)

    def _charge(self, m, waiting, row):
        """The cause of every cycle with rows to issue, 3 cycles later."""
        blocked = self._streaming & ~self.issue & ~self._faulted & ~self.unit.stop
        idle = waiting & ~self._streaming & ~self._faulted & ~self.unit.stop
        for name, cause in (("wait_weights", blocked), ("setup", idle)):
            stages = Signal(ADDRESS_STAGES + 1, name=f"{name}_stages")
            m.d.sync += stages.eq(Cat(cause, stages))
            m.d.comb += getattr(self, name).eq(stages[-1])
        m.d.sync += [
            self.useful.eq(row.valid & self.inside.any()),
            self.padding.eq(row.valid & ~self.inside.any()),
        ]

    def _count(self, m):
        """Instructions in flight; forgotten under ``stop`` when the last row has drained."""
        unit = self.unit
        flying = Signal(bits_for(self._drain + 2))
        left = Signal(range(self._drain + 1), init=self._drain)
        accept = unit.instr.valid & unit.instr.ready
        m.d.comb += [unit.busy.eq(flying != 0), unit.done.eq(self.committed & ~unit.stop)]
        with m.If(~unit.stop):
            m.d.sync += [left.eq(self._drain), flying.eq(flying + accept - unit.done)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.Else():
            m.d.sync += flying.eq(0)
