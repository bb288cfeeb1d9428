"""The matrix unit: from unified-buffer rows and weight tiles to accumulators."""

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hpu.hw.accumulators import Accumulators
from hpu.hw.activations import ACTIVATION_STAGES, Activations
from hpu.hw.array import Array
from hpu.hw.delay import DelayLine
from hpu.hw.isa import BY_NAME
from hpu.hw.matrix_address import LaneAddress
from hpu.hw.matrix_control import ADDRESS_STAGES, Controller
from hpu.hw.ports import UB_READ_LATENCY, AccRead, MatrixRead, UnitPort, WeightRows
from hpu.hw.weight_fifo import WeightFifo, WeightLoader

__all__ = ["MatrixUnit"]

#: Cycles from a row's issue to its lane 0 at the array's edge.
_ARRAY_STAGES = ADDRESS_STAGES + UB_READ_LATENCY + ACTIVATION_STAGES
#: Cycles from a row's issue to its command at the controller's output.
_COMMAND_STAGES = ADDRESS_STAGES + 1
_CAUSES = ("useful", "padding", "wait_weights", "setup")


class MatrixUnit(wiring.Component):
    """Executes MATMUL: one activation row per cycle, back to back over instructions.

    While one instruction streams, the taps of the next are set up (5 + ``taps`` cycles) and the
    next weight tile moves into the shadow weights. From the cycle after an instruction's
    acceptance until its last row is issued, every cycle is charged to exactly one of ``useful``
    and ``padding`` (a row is issued), ``wait_weights`` (the next row waits for its tile) and
    ``setup`` (no instruction is ready to issue); the outputs tell it 3 cycles later. ``done``
    pulses when an instruction's last row can be read from the accumulators.

    ``starved``: the next row waits for a tile, and none is in the FIFO or on its way to the array.

    Fault ADDRESS: an activation inside the image beyond ``ub_depth``, or an accumulator word
    beyond ``acc_depth``. That row and every later one is not written, and nothing more is issued
    or charged. Under ``stop`` the rows in flight run out, unreported, while ``busy`` stays high.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "unit": Out(UnitPort(BY_NAME["MATMUL"])),
                "ub": Out(MatrixRead(config)),
                "weights": In(WeightRows(config)),
                "acc": In(AccRead(config)),
                **dict.fromkeys(_CAUSES, Out(1)),
                "starved": Out(1),
            }
        )

    @property
    def drain(self) -> int:
        """Cycles from a row's issue until it can be read from the accumulators, or more."""
        return _ARRAY_STAGES + self._config.rows + self._config.cols + 16

    def elaborate(self, platform):
        m = Module()
        control = Controller(config=self._config, drain=self.drain)
        m.submodules.control = control
        m.submodules.activations = activations = Activations(config=self._config)
        m.submodules.array = array = Array(config=self._config)
        self._control(m, control)
        self._lanes(m, control, activations)
        self._weights(m, control, array)
        self._accumulators(m, control, array)
        m.d.comb += [
            array.act.eq(activations.act),
            array.live.eq(self._later(m, "live", control.live, ADDRESS_STAGES, _ARRAY_STAGES)),
            array.swap.eq(
                self._later(m, "swap", control.live_swap, ADDRESS_STAGES, _ARRAY_STAGES - 1)
            ),
        ]
        return m

    @staticmethod
    def _later(m, name, value, stage, wanted):
        """``value``, which stands ``stage`` cycles after issue, ``wanted`` cycles after issue."""
        delay = DelayLine(width=len(value), cycles=wanted - stage)
        setattr(m.submodules, f"delay_{name}", delay)
        m.d.comb += delay.i.eq(value)
        return delay.o

    def _control(self, m, control):
        wiring.connect(m, wiring.flipped(self.unit), control.unit)
        for name in _CAUSES:
            m.d.comb += getattr(self, name).eq(getattr(control, name))

    def _lanes(self, m, control, activations):
        """Address generators, and what the rows' data need when they come back."""
        lanes = [LaneAddress(config=self._config) for _ in range(self._config.row_groups)]
        for index, lane in enumerate(lanes):
            setattr(m.submodules, f"lane_{index}", lane)
            m.d.comb += [
                lane.clear.eq(control.clear),
                lane.write.eq(control.write[index]),
                lane.tap.eq(control.tap),
                lane.switch.eq(control.switch),
                lane.valid.eq(control.issue),
                lane.position.eq(control.position),
                lane.image_rows.eq(control.image_rows),
                lane.image_cols.eq(control.image_cols),
                self.ub.en[index].eq(lane.en),
                self.ub.addr[index].eq(lane.addr),
                control.inside[index].eq(lane.inside),
                control.bad[index].eq(lane.bad),
            ]
        note = Cat(
            Cat(lane.inside for lane in lanes),
            Cat(lane.pad for lane in lanes),
            control.pad,
            control.live,
        )
        arrived = self._later(m, "note", note, ADDRESS_STAGES, ADDRESS_STAGES + UB_READ_LATENCY)
        m.d.comb += [
            activations.data.eq(self.ub.data),
            Cat(activations.inside, activations.outside, activations.pad, activations.live).eq(
                arrived
            ),
        ]

    def _weights(self, m, control, array):
        m.submodules.fifo = fifo = WeightFifo(config=self._config)
        # The swap is one cycle ahead of lane 0 and takes one cycle to the first stage.
        m.submodules.loader = loader = WeightLoader(config=self._config, latency=_ARRAY_STAGES)
        wiring.connect(m, wiring.flipped(self.weights), fifo.rows)
        m.d.comb += [
            fifo.flush.eq(self.unit.stop),
            loader.flush.eq(self.unit.stop | self.weights.flush),
            loader.available.eq(fifo.available),
            fifo.start.eq(loader.start),
            loader.swap.eq(control.swap),
            control.weights_ready.eq(loader.ready),
            self.starved.eq(control.wants_tile & ~fifo.available & ~loader.loaded),
            array.weight.eq(fifo.weight),
            array.weight_valid.eq(fifo.weight_valid),
            array.hops.eq(fifo.hops),
        ]

    def _accumulators(self, m, control, array):
        m.submodules.accumulators = accumulators = Accumulators(config=self._config)
        wiring.connect(m, wiring.flipped(self.acc), accumulators.read)
        array_cycles = self._config.rows + self._config.multiply_cycles  # to column 0's sum
        command = self._later(
            m,
            "command",
            control.command.as_value(),
            _COMMAND_STAGES,
            _ARRAY_STAGES + array_cycles,
        )
        m.d.comb += [
            accumulators.command.as_value().eq(command),
            accumulators.psum.eq(array.psum),
            control.committed.eq(accumulators.done),
        ]
