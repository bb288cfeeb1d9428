"""The generated page of the contracts."""

import re

from hpu.chain_integration.chain import documents
from hpu.chain_integration.chain.deploy import CONTRACTS


def test_the_page_has_every_contract_and_part_of_the_supply():
    page = documents.page()
    for source in set(CONTRACTS.values()):
        assert f"\n## {source}\n" in page
    assert "| 6 % | 600,000,000 | founders | 5 years | 0.01 % a day | 32 years |" in page
    assert "`Transfer(sender*, receiver*, value)`" in page
    assert "| `take_over()` | Makes the caller the keeper" in page


def test_the_example_on_the_page_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", documents.page(), re.DOTALL)
    exec(example, {})
    assert capsys.readouterr().out == example.rsplit("# ", 1)[1]


def test_a_page_that_is_out_of_date_is_noticed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(documents, "PAGE", tmp_path / "contracts.md")
    assert documents.main(["--check"]) == 1
    assert "contracts.md is out of date; run python -m" in capsys.readouterr().out
    assert documents.main([]) == 0
    assert documents.main(["--check"]) == 0
