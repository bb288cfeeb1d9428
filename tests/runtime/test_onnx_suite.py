"""ONNX's backend tests: all that are not on the list with a reason pass."""

import pytest

from hpu.runtime import onnx_suite
from hpu.runtime.onnx_suite import excluded, main


def test_the_tests_of_quantised_operators(capsys):
    assert main(["test_*linear*"]) == 0, capsys.readouterr().out
    assert "pass" in capsys.readouterr().out


def test_what_is_new_on_either_side_is_an_error(capsys, monkeypatch):
    """A test that fails and is not on the list, and one that is on it and passes."""
    known = excluded()
    monkeypatch.setattr(onnx_suite, "excluded", lambda: {"test_abs": "none"})
    assert main(["test_abs"]) == 1
    assert "test_abs passes but is on the list" in capsys.readouterr().out
    monkeypatch.setattr(onnx_suite, "excluded", lambda: {})
    failing = next(name for name, reason in known.items() if "kernel stops" in reason)
    assert main([failing]) == 1
    assert f"{failing} fails: " in capsys.readouterr().out


def test_every_entry_of_the_list_has_a_reason():
    known = excluded()
    assert known and all(reason.strip() for reason in known.values())


@pytest.mark.slow
def test_the_whole_suite(capsys):
    assert main([]) == 0
    passed, total = capsys.readouterr().out.split(" pass")[0].split(" of ")
    assert int(passed) >= 1557 and int(total) >= 2000
