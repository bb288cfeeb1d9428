"""Boards: each whole, its clock possible, its pins found; reports read rightly."""

import dataclasses
import json
import re

import pytest

from hpu.hw.boards import BOARDS, by_name
from hpu.hw.boards.pads import Pads
from hpu.hw.boards.pll import PllSettings, ecp5_settings, gowin_settings
from hpu.hw.config import CONFIGS
from hpu.hw.fpga_report import Report, Usage, count_unpacked, read_report


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_a_board_is_whole(board):
    assert CONFIGS[board.config_name] is board.config
    settings = {"ecp5": ecp5_settings, "gowin": gowin_settings}[board.family]
    made = settings(board.oscillator_hz, board.config.clock_hz)
    assert made.hertz(board.oscillator_hz) == board.config.clock_hz
    assert 4 * board.baud <= board.config.clock_hz
    if board.sdram is not None:
        assert board.sdram.addr_bits == board.config.addr_bits


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_pins_are_those_of_the_board(board):
    plan = board.platform().prepare(Pads(board=board), name="top")
    pins = plan.files["top.lpf" if board.family == "ecp5" else "top.cst"]
    text = pins if isinstance(pins, str) else pins.decode()
    assert re.search(r"uart_0__rx", text) and re.search(r"uart_0__tx", text)
    if board.sdram is not None:
        assert len(re.findall(r'LOCATE COMP "sdram_0__dq__io\[\d+\]"', text)) == 16


def test_the_array_of_the_ulx3s():
    config = by_name("ulx3s-85f").config
    assert (config.rows, config.cols) == (16, 16) and config.clock_hz >= 60_000_000


def test_pll_settings():
    assert ecp5_settings(25_000_000, 62_500_000) == PllSettings(2, 5, 10)
    assert gowin_settings(27_000_000, 27_000_000) == PllSettings(1, 1, 32)
    for settings in (ecp5_settings, gowin_settings):
        with pytest.raises(ValueError) as caught:
            settings(25_000_000, 61_234_567)
        assert str(caught.value) == (
            "the clock must be one that the PLL makes of 25000000 Hz, not 61234567 Hz"
        )


def test_refuses_an_unknown_board():
    with pytest.raises(ValueError, match=r"^board must be one of ulx3s-85f, .*, not 'de0'$"):
        by_name("de0")


UNPACKED = """
.tile MIB_R10C5:MIB_DSP0
enum: MULT18_0.MODE MULT18X18D
enum: MULT18_1.MODE MULT18X18D
.tile MIB_R12C5:MIB_EBR0
enum: EBR0.MODE DP16KD
enum: EBR1.MODE PDPW16KD
enum: EBR2.MODE NONE
"""


def test_count_of_an_unpacked_bitstream():
    assert count_unpacked(UNPACKED) == {"MULT18X18D": 2, "DP16KD": 2, "EHXPLLL": 0}


def folder_of(path, achieved, placed):
    step = {"delay": 5.0, "type": "routing", "to": {"cell": "slow"}}
    timing = {
        "utilization": {"MULT18X18D": {"used": placed, "available": 156}},
        "fmax": {"sync": {"achieved": achieved, "constraint": 62.5}},
        "critical_paths": [{"from": "posedge sync", "to": "posedge sync", "path": [step]}],
    }
    (path / "timing.json").write_text(json.dumps(timing))
    return read_report(by_name("ulx3s-85f"), path)


def test_report(tmp_path):
    report = folder_of(tmp_path, 70.0, 100)
    assert report.closes and report.critical_path == ["5.00 routing slow"]
    assert report.cells == {"MULT18X18D": Usage(100, 156)}
    assert "clock 62.5 MHz, every path closes at 70.0 MHz" in report.lines()
    assert not folder_of(tmp_path, 60.0, 100).closes


def test_report_finds_another_bitstream(tmp_path):
    report: Report = dataclasses.replace(
        folder_of(tmp_path, 70.0, 100), bitstream={"MULT18X18D": 99}
    )
    assert not report.closes
    assert report.different == ["MULT18X18D: 99 in the bitstream, 100 placed"]
