"""The load unit under cocotb."""

from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hpu.hw.axi import AxiRead, ReadId
from hpu.hw.isa import BY_NAME
from hpu.hw.load import LoadUnit
from hpu.hw.ports import LoadWrite, UbWrite, UnitPort
from hpu.hw.read_port import ReadPort
from hpu.sim.testbench import simulate


class LoadBench(wiring.Component):
    """The load unit behind the read port, whose other readers ask for nothing."""

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "unit": Out(UnitPort(BY_NAME["LOAD"])),
                "m_axi": Out(AxiRead(config)),
                "ub_write": Out(UbWrite(config)),
                "load": Out(LoadWrite(config)),
                "row": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.load = load = LoadUnit(config=self._config)
        m.submodules.port = port = ReadPort(config=self._config)
        wiring.connect(m, load.client, port.clients[ReadId.LOAD])
        wiring.connect(m, port.axi, wiring.flipped(self.m_axi))
        for name in ("unit", "ub_write", "load"):
            wiring.connect(m, getattr(load, name), wiring.flipped(getattr(self, name)))
        m.d.comb += self.row.eq(load.row)
        return m


@pytest.mark.parametrize(("idle", "backpressure"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)])
def test_load(shape, shape_values, idle, backpressure):
    simulate(
        LoadBench(config=shape),
        test_file=Path(__file__).with_name("cocotb_load.py"),
        parameters={"config": shape_values, "seed": 1, "idle": idle, "backpressure": backpressure},
    )
