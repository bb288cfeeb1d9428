"""LambdaConcept ECPIX-5 with an LFE5UM5G-85F. Its DDR3 is not used: memory is block RAM."""

from amaranth_boards.ecpix5 import ECPIX585Platform

from hpu.hw.boards.board import Board

BOARD = Board(
    name="ecpix5-85",
    title="ECPIX-5 85F",
    platform=ECPIX585Platform,
    family="ecp5",
    config_name="ecpix5-85",
    oscillator_hz=100_000_000,
    baud=3_000_000,
    serial=("uart", 0),
    leds=tuple(("rgb_led", led, colour) for led in (0, 1, 2) for colour in ("g", "r")),
    button=("rst", 0),
    lut_products=48,
    loader="ecpix5",
)
