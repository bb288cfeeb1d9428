"""The decoder under cocotb."""

from pathlib import Path

from hpu.hw.decoder import Decoder
from hpu.sim.testbench import simulate


def test_decoder(shape, shape_values):
    simulate(
        Decoder(config=shape),
        test_file=Path(__file__).with_name("cocotb_decoder.py"),
        parameters={"config": shape_values, "seed": 4},
    )
