"""The table of operators, its page, and the importers agree."""

import pytest

from hpu.compiler import support
from hpu.compiler.importer import walk
from hpu.compiler.recurrent import RECURRENT


def test_every_check_has_an_importer_and_the_reverse():
    assert set(support.CHECKS) == {*walk.OPERATORS, *walk.ANY_VALUE, *RECURRENT}


@pytest.mark.parametrize("op_type", sorted(support.CHECKS))
def test_every_operator_has_its_line(op_type):
    rows = [line for line in support.document().splitlines() if line.startswith("| ")]
    assert sum(op_type in row.split("|")[1].replace(",", " ").split() for row in rows) == 1
    assert all(len(row.split("|")[2].strip()) > 10 for row in rows[1:])


def test_page_is_current_and_a_stale_one_is_noticed(tmp_path, monkeypatch, capsys):
    assert support.main(["--check"]) == 0
    monkeypatch.setattr(support, "PAGE", tmp_path / "operators.md")
    assert support.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().out
    assert support.main([]) == 0 and support.main(["--check"]) == 0
    support.PAGE.write_text(support.document() + "x", encoding="utf-8")
    assert support.main(["--check"]) == 1
