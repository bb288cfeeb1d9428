"""The page of the benchmarks: tables and plots from made-up figures."""

import itertools

import msgspec
import pytest
from click.testing import CliRunner

from hpu.runtime.bench_figures import Measurement
from hpu.runtime.bench_page import main, page, plots


def network(name, **more):
    return {"network": name, "batch": 2, "cycles": 262_144, "macs": 1 << 33, "useful": 50.0, **more}


@pytest.fixture
def figures():
    workload = {
        "workload": "mlp0",
        "batch": 200,
        "bar": 95,
        "tpu_v1": 90,
        "share": 96.44,
        "cycles": 444_171,
        "roofline_cycles": 428_235,
        "macs": 4_000_000_000,
        "weights": 20_000_000,
        "hpu_ms": 0.63,
        "int8_ms": 40.0,
        "float32_ms": 90.0,
    }
    resnet = [network("resnet50"), {"network": "resnet50", "scale_sim_cycles": 454_139}]
    return [
        Measurement("speed", 4.0, "s", "at most 5", True, "made up", "another tool 9 s"),
        Measurement("size", None, "MB", "at most 1", False, "not measured: no tape"),
        Measurement("roofline_share", 1, "of 6", "all", False, "five fail", rows=[workload]),
        Measurement("resnet50_b16", 50.0, "%", "at least 60 %", False, "half", rows=resnet),
    ]


def test_figures_bars_and_peers_are_listed(figures):
    text = page(figures)
    assert "| `speed` | 4 s | at most 5 | yes |\n| `size` | not measured | at most 1 |" in text
    assert "- `speed`, peers: another tool 9 s.\n" in text
    assert "- `size`: not measured: no tape.\n" in text
    assert text.count("**no**") == 3


def test_tables_have_the_numbers(figures):
    text = page(figures)
    row = "| mlp0 | 200 | 20.0M | 4,000.0M | 428,235 | 444,171 | 96.4 % | 95 % | 90 % | 0.6 |"
    assert f"\n{row} 40.0 | 90.0 |\n" in text
    assert "\n| resnet50 | 2 | 131,072 | 50.0 % | 5,341 |\n" in text
    assert "predicts 454,139 cycles for one image" in text


def test_parts_that_were_not_measured_are_left_out(figures):
    text = page(figures[:1])
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Benchmarks",
        "## Figures",
    ]


def test_headings_and_tables_stand_after_blank_lines(figures):
    lines = page(figures).splitlines()
    for before, line in itertools.pairwise(lines):
        if line.startswith("#") or (line.startswith("|") and not before.startswith("|")):
            assert before == "", line


def test_plots_are_the_same_every_time(figures, tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        made = plots(figures, folder)
        assert [path.name for path in made] == ["roofline_share.svg", "resnet50_cycles.svg"]
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
        assert path.stat().st_size < 40_000
    assert "454,139" in (first / "resnet50_cycles.svg").read_text()


def test_command_writes_the_page(figures, tmp_path):
    source = tmp_path / "bench.json"
    source.write_bytes(msgspec.json.encode({"figures": figures}))
    command = ["--figures", str(source), "--docs", str(tmp_path)]
    result = CliRunner().invoke(main, command)
    assert f"wrote {tmp_path / 'benchmarks.md'}" in result.output.replace("\n", "")
    assert (tmp_path / "benchmarks.md").read_text() == page(figures)


def test_without_figures_the_command_says_what_to_do(tmp_path):
    result = CliRunner().invoke(main, ["--figures", str(tmp_path / "none.json")])
    assert result.exit_code == 2
    assert "none.json is not there; run make bench first." in result.output
