import multiprocessing
import re
import time

import pytest

from hpu.sim import verilator
from hpu.sim.verilator import BuildError, cached, key_of


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HPU_CACHE", str(tmp_path))
    return tmp_path


def test_version_names_verilator_and_the_compiler():
    assert re.search(r"built\d{8}-\w+ \d+\.\d+\.\d+$", verilator.version())


def test_key_depends_on_contents_and_boundaries():
    keys = {key_of(parts) for parts in (["ab"], ["a", "b"], ["b", "a"], ["ab", ""], ["ac"], [])}
    assert len(keys) == 6
    assert key_of(["ab"]) == key_of([b"ab"])


def test_built_once_and_found_again(cache):
    calls = []

    def build(folder):
        calls.append(folder)
        (folder / "result").write_text("made")

    first = cached("kind", "key", build)
    assert first == cache / "kind" / "key" == cached("kind", "key", build)
    assert (first / "result").read_text() == "made" and len(calls) == 1


def test_failed_build_leaves_nothing_and_is_tried_again(cache):
    def fail(folder):
        (folder / "half").write_text("half")
        raise BuildError("no")

    with pytest.raises(BuildError, match="no"):
        cached("kind", "key", fail)
    assert not [path for path in (cache / "kind").iterdir() if path.is_dir()]
    made = cached("kind", "key", lambda folder: (folder / "result").touch())
    assert [path.name for path in made.iterdir()] == ["result"]


def _slow_build(folder):
    with (folder.parent / "calls").open("a") as calls:
        calls.write("x")
    time.sleep(0.3)


def _ask(_):
    return str(cached("kind", "key", _slow_build))


def test_processes_that_ask_at_once_share_one_build(cache):
    with multiprocessing.get_context("fork").Pool(3) as pool:
        folders = pool.map(_ask, range(3), chunksize=1)
    assert len(set(folders)) == 1
    assert (cache / "kind" / "calls").read_text() == "x"


def test_missing_program_is_named_with_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"g\+\+ must be installed: run apt-get install g\+\+"):
        verilator.run_verilator(["--version"], cwd=tmp_path)


def test_failing_tool_shows_the_end_of_its_output(tmp_path):
    (tmp_path / "bad.v").write_text("module top(; endmodule")
    with pytest.raises(BuildError, match=r"verilator failed in .*\n(.*\n)*.*syntax error"):
        verilator.run_verilator(["--lint-only", "bad.v"], cwd=tmp_path)
