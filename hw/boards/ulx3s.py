"""Radiona ULX3S with an LFE5U-85F, FT231X serial: memory is block RAM, or its 32 MB of SDRAM."""

import dataclasses

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from hpu.hw.boards.board import Board
from hpu.hw.sdram import Chip

BOARD = Board(
    name="ulx3s-85f",
    title="ULX3S-85F",
    platform=ULX3S_85F_Platform,
    family="ecp5",
    config_name="ulx3s-85f",
    oscillator_hz=25_000_000,
    baud=3_000_000,
    serial=("uart", 0),
    leds=tuple(("led", k, None) for k in range(6)),
    button=("button_fire", 0),
    lut_products=48,
    loader="ulx3s",
)

SDRAM_BOARD = dataclasses.replace(
    BOARD,
    name="ulx3s-85f-sdram",
    config_name="ulx3s-85f-sdram",
    sdram=Chip(row_bits=13, col_bits=9, bank_bits=2, word_bytes=2),
)
