"""OrangeCrab r0.2 with an LFE5U-85F. Its DDR3 is not used: memory is block RAM.

The board has no serial chip: a USB adapter of 3.3 V goes to pins 0 (to the FPGA) and 1 of its
header.
"""

from amaranth.build import Attrs
from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_85FPlatform
from amaranth_boards.resources import UARTResource

from hpu.hw.boards.board import Board


def _platform():
    platform = OrangeCrabR0_2_85FPlatform()
    attributes = Attrs(IO_TYPE="LVCMOS33")
    platform.add_resources([UARTResource(0, rx="0", tx="1", conn=("io", 0), attrs=attributes)])
    return platform


BOARD = Board(
    name="orangecrab-85",
    title="OrangeCrab 85F",
    platform=_platform,
    family="ecp5",
    config_name="orangecrab-85",
    oscillator_hz=48_000_000,
    baud=3_000_000,
    serial=("uart", 0),
    leds=tuple(("rgb_led", 0, colour) for colour in ("g", "b", "r")),
    button=("button", 0),
    lut_products=48,
    loader="orangeCrab",
)
