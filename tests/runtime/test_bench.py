"""The benchmark: figures are judged, printed and merged into one file."""

import json

import pytest
from click.testing import CliRunner

from hpu.runtime import bench
from hpu.runtime.bench_figures import FIGURES, Figure, Found, Measurement
from hpu.runtime.errors import HpuError

THE_EIGHT = {
    "rtl256_build",
    "rtl256_speed",
    "bytes_equal",
    "lsb_other",
    "requant_exact",
    "functional_ratio",
    "attributed",
    "busy_matmul",
}


def made_up(name: str, value: float) -> Figure:
    return Figure(name, "s", "at most 5", lambda found: found <= 5, lambda: Found(value, "made up"))


@pytest.fixture
def figures(monkeypatch):
    replaced = {"fast": made_up("fast", 3), "slow": made_up("slow", 9)}
    bench._load_figures()
    monkeypatch.setattr(bench, "FIGURES", replaced)
    monkeypatch.setattr(bench, "_load_figures", lambda: None)
    return replaced


def run(tmp_path, *arguments):
    output = tmp_path / "build" / "bench.json"
    result = CliRunner().invoke(bench.main, [*arguments, "--output", str(output)])
    found = json.loads(output.read_text())["figures"] if output.exists() else []
    return result, {entry["id"]: entry for entry in found}


def test_every_figure_is_registered():
    bench._load_figures()
    assert set(FIGURES) >= THE_EIGHT
    for name, figure in FIGURES.items():
        assert figure.id == name and figure.bar


def test_values_are_judged_and_written(figures, tmp_path):
    result, found = run(tmp_path)
    assert result.exit_code == 1
    assert found["fast"] == {
        "id": "fast",
        "value": 3.0,
        "unit": "s",
        "bar": "at most 5",
        "reached": True,
        "detail": "made up",
        "peer": "",
        "rows": [],
    }
    assert found["slow"]["reached"] is False
    assert "not reached" in result.output


def test_one_figure_is_merged_into_the_file(figures, tmp_path):
    run(tmp_path)
    figures["fast"] = made_up("fast", 4)
    result, found = run(tmp_path, "--only", "fast")
    assert result.exit_code == 0
    assert (found["fast"]["value"], found["slow"]["value"]) == (4.0, 9.0)


def test_a_figure_that_cannot_be_measured_is_not_reached(figures, tmp_path):
    def fail() -> Found:
        raise HpuError("g++ must be installed")

    figures["fast"] = Figure("fast", "s", "at most 5", lambda found: True, fail)
    result, found = run(tmp_path, "--only", "fast")
    assert result.exit_code == 1
    assert found["fast"]["value"] is None
    assert found["fast"]["detail"] == "not measured: g++ must be installed"


def test_an_unknown_figure_and_a_damaged_file_are_refused(figures, tmp_path):
    result, _found = run(tmp_path, "--only", "nothing")
    assert result.exit_code == 2
    assert "--only must be one of fast, slow, not 'nothing'" in result.output
    path = tmp_path / "bench.json"
    path.write_text("{")
    with pytest.raises(HpuError, match="is damaged"):
        bench.merged(path, [Measurement("a", 1.0, "s", "", True, "")])


def test_what_others_reach_and_the_numbers_behind_are_kept(figures, tmp_path):
    found = Found(3, "made up", "4 with another tool", [{"layer": "conv", "cycles": 7.0}])
    figures["fast"] = Figure("fast", "s", "at most 5", lambda value: True, lambda: found)
    result, entries = run(tmp_path, "--only", "fast")
    assert "peer: 4 with another tool" in result.output
    assert entries["fast"]["peer"] == "4 with another tool"
    assert entries["fast"]["rows"] == [{"layer": "conv", "cycles": 7.0}]
