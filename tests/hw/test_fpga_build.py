"""Builds: what the tools are given, steps that go on or fail."""

import dataclasses
import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from hpu.cli import cli
from hpu.hw import fpga_build
from hpu.hw.boards import BOARDS, by_name
from hpu.hw.config import CONFIGS
from hpu.hw.fpga_tools import FpgaBuildError, version

BOARD = by_name("tang-primer-20k")  # the smallest
TIMING = {
    "utilization": {"DP16KD": {"used": 41, "available": 208}, "DCCA": {"used": 0, "available": 56}},
    "fmax": {"clk": {"achieved": 70.0, "constraint": 27.0}},
    "critical_paths": [],
}


def program(folder: Path, name: str, text: str) -> str:
    """A program of that text, which also says a version."""
    path = folder / name
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo {name} 1 && exit\n{text}\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Programs in place of the real ones that note their calls and copy what they are given."""
    monkeypatch.setattr(fpga_build, "prepare", lambda _board: {"top.ys": "script"})
    (tmp_path / "timing.json").write_text(json.dumps(TIMING))
    made = {
        "YOSYS": "cp top.ys top.json",
        "NEXTPNR_HIMBAECHEL_GOWIN": f"cp top.json placed.json; cp {tmp_path}/timing.json .",
        "GOWIN_PACK": "cp placed.json top.fs",
    }
    for name, text in made.items():
        text = f"echo {name} >> {tmp_path}/calls\n{text}"
        monkeypatch.setenv(name, program(tmp_path, name.lower(), text))
    return tmp_path


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().split() if path.exists() else []


ALL = ["YOSYS", "NEXTPNR_HIMBAECHEL_GOWIN", "GOWIN_PACK"]


@pytest.mark.slow
def test_inputs_of_the_tools():
    files = fpga_build.prepare(BOARDS["ulx3s-85f"])
    names = {"board_top.v", "configuration.json", "multiply_ecp5.v", "top.il", "top.lpf", "top.ys"}
    assert set(files) == names
    assert json.loads(files["configuration.json"]) == dataclasses.asdict(CONFIGS["ulx3s-85f"])
    assert "techmap -map multiply_ecp5.v @products\nsynth_ecp5 -top top" in files["top.ys"]
    assert "module board_top(" in files["board_top.v"] and "board_top" in files["top.il"]
    assert re.search(r'FREQUENCY PORT "clk25_0__io" 25000000.0 HZ', files["top.lpf"])


def test_a_build_is_found_again(tools):
    folder = tools / "builds"
    first = fpga_build.build(BOARD, folder=folder)
    assert not first.cached and calls(tools) == ALL
    assert set(first.report.seconds) == {"synthesis", "placing and routing", "packing"}
    again = fpga_build.build(BOARD, folder=folder)
    assert again.cached and calls(tools) == ALL
    assert again.report == first.report


def test_other_tools_make_another_build(tools, monkeypatch):
    folder = tools / "builds"
    first = fpga_build.build(BOARD, folder=folder)
    monkeypatch.setenv("GOWIN_PACK", program(tools, "newer", "cp placed.json top.fs"))
    second = fpga_build.build(BOARD, folder=folder)
    assert not second.cached and second.folder != first.folder


def test_a_build_goes_on_where_it_failed(tools, monkeypatch):
    folder = tools / "builds"
    whole = os.environ["GOWIN_PACK"]
    Path(whole).write_text(Path(whole).read_text().replace("cp placed", "exit 3; cp placed"))
    with pytest.raises(
        FpgaBuildError, match=r"^gowin_pack failed with status 3 in .*/tang-primer-20k-\w{12}\.$"
    ):
        fpga_build.build(BOARD, folder=folder)
    Path(whole).write_text(Path(whole).read_text().replace("exit 3; ", ""))
    assert not fpga_build.build(BOARD, folder=folder).cached
    assert calls(tools) == [*ALL, "GOWIN_PACK"]


def test_a_tool_that_leaves_nothing(tools, monkeypatch):
    monkeypatch.setenv("YOSYS", program(tools, "silent", "true"))
    with pytest.raises(FpgaBuildError, match=r"^yosys gave no top.json in "):
        fpga_build.build(BOARD, folder=tools / "builds")


def test_a_program_without_a_version(monkeypatch):
    monkeypatch.setenv("YOSYS", "/bin/true")
    monkeypatch.setattr("hpu.hw.fpga_tools.subprocess.run", lambda *_a, **_k: _Silent())
    with pytest.raises(FpgaBuildError) as caught:
        version("yosys")
    assert str(caught.value) == "/bin/true must be yosys, but it does not say its version"


class _Silent:
    stdout = stderr = ""


def test_the_command_says_what_is_wrong(tools, monkeypatch):
    def build(*words):
        return CliRunner().invoke(cli, ["fpga", "build", *words])

    result = build("--board", "de0")
    assert result.exit_code == 2 and "board must be one of ulx3s-85f, " in result.stderr
    result = build()
    assert result.exit_code == 2 and "Missing option" in result.stderr
    words = ["--board", BOARD.name, "--folder", str(tools / "builds")]
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("YOSYS")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    result = build(*words)
    assert result.exit_code == 2
    assert result.stderr.strip().endswith(
        "Error: yosys must be installed: run pip install 'hai-hpu[fpga]', "
        "or put an OSS CAD Suite on PATH"
    )
    assert not (tools / "builds").exists()


def test_the_command(tools):
    words = ["fpga", "build", "--board", BOARD.name, "--folder", str(tools / "builds")]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    assert "clock 27.0 MHz, every path closes at " in result.output
    assert re.search(r"tang-primer-20k \(tang-primer-20k\): \S+, built in \d+ s", result.output)
    assert CliRunner().invoke(cli, words).output.strip().endswith(", found")
