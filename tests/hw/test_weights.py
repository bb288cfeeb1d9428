"""The weights unit under cocotb."""

from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hpu.hw.axi import AxiRead, ReadId
from hpu.hw.isa import BY_NAME
from hpu.hw.ports import UbRead, UnitPort, WeightRows
from hpu.hw.read_port import ReadPort
from hpu.hw.weights import WeightsUnit
from hpu.sim.testbench import simulate


class WeightsBench(wiring.Component):
    """The weights unit behind the read port, whose other readers ask for nothing."""

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "unit": Out(UnitPort(BY_NAME["WEIGHTS"])),
                "m_axi": Out(AxiRead(config)),
                "ub_read": Out(UbRead(config)),
                "weights": Out(WeightRows(config)),
                "row": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = WeightsUnit(config=self._config)
        m.submodules.port = port = ReadPort(config=self._config)
        wiring.connect(m, unit.client, port.clients[ReadId.WEIGHTS])
        wiring.connect(m, port.axi, wiring.flipped(self.m_axi))
        for name in ("unit", "ub_read", "weights"):
            wiring.connect(m, getattr(unit, name), wiring.flipped(getattr(self, name)))
        m.d.comb += self.row.eq(unit.row)
        return m


@pytest.mark.parametrize(("idle", "backpressure"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.5), (0.5, 0.5)])
def test_weights(shape, shape_values, idle, backpressure):
    simulate(
        WeightsBench(config=shape),
        test_file=Path(__file__).with_name("cocotb_weights.py"),
        parameters={"config": shape_values, "seed": 2, "idle": idle, "backpressure": backpressure},
    )
