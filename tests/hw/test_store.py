"""The store unit under cocotb."""

from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hpu.hw.axi import AxiWrite
from hpu.hw.isa import BY_NAME
from hpu.hw.ports import UbRead, UnitPort
from hpu.hw.store import StoreUnit
from hpu.sim.testbench import simulate


class StoreBench(wiring.Component):
    """The store unit with its AXI4 port under the name of the machine's."""

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "unit": Out(UnitPort(BY_NAME["STORE"])),
                "m_axi": Out(AxiWrite(config)),
                "ub_read": Out(UbRead(config)),
                "row": Out(1),
                "beat": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = StoreUnit(config=self._config)
        wiring.connect(m, store.axi, wiring.flipped(self.m_axi))
        for name in ("unit", "ub_read"):
            wiring.connect(m, getattr(store, name), wiring.flipped(getattr(self, name)))
        m.d.comb += [self.row.eq(store.row), self.beat.eq(store.beat)]
        return m


@pytest.mark.parametrize(("idle", "backpressure"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)])
def test_store(shape, shape_values, idle, backpressure):
    simulate(
        StoreBench(config=shape),
        test_file=Path(__file__).with_name("cocotb_store.py"),
        parameters={"config": shape_values, "seed": 3, "idle": idle, "backpressure": backpressure},
    )
