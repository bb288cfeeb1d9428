"""Sipeed Tang Primer 20K (GW2A-18). Its DDR3 is not used: memory is block RAM."""

from amaranth_boards.tang_primer_20k import TangPrimer20kDockPlatform

from hpu.hw.boards.board import Board

BOARD = Board(
    name="tang-primer-20k",
    title="Tang Primer 20K",
    platform=lambda: TangPrimer20kDockPlatform(toolchain="Apicula"),
    family="gowin",
    config_name="tang-primer-20k",
    oscillator_hz=27_000_000,
    baud=3_000_000,
    serial=("uart", 0),
    leds=tuple(("led", k, None) for k in range(6)),
    button=("button", 0),
    loader="tangprimer20k",
)
