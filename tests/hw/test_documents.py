"""The generated pages are those of the tables, name everything, and a difference is found."""

import re
from pathlib import Path

import pytest

from hpu.hw import csr, isa
from hpu.hw.config import CONFIGS
from hpu.hw.documents import PAGES, main

DOCS = Path(__file__).parents[2] / "docs"


def test_pages_are_up_to_date():
    assert main(["--check", "--folder", str(DOCS)]) == 0


def test_check_finds_an_edit_and_a_missing_page(tmp_path: Path, capsys):
    main(["--folder", str(tmp_path)])
    assert main(["--check", "--folder", str(tmp_path)]) == 0
    page = tmp_path / "isa.md"
    page.write_text(page.read_text().replace("opcode", "op code", 1))
    (tmp_path / "registers.md").unlink()
    assert main(["--check", "--folder", str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "docs/isa.md must be generated anew: python -m hpu.hw.documents",
        "docs/registers.md must be generated anew: python -m hpu.hw.documents",
    ]


def named(cell: str) -> list[str]:
    """The fields of a table's cell: one, or the first and last of an array."""
    first, *last = re.findall(r"`(\w+)`", cell)
    if not last:
        return [first]
    stem = first.removesuffix("0")
    return [f"{stem}{k}" for k in range(int(last[0].removeprefix(stem)) + 1)]


@pytest.mark.parametrize("entry", isa.INSTRUCTIONS, ids=lambda entry: entry.name)
def test_every_field_and_rule_is_on_the_page(entry):
    section = PAGES["isa.md"]().split(f"\n## {entry.name}\n")[1].split("\n## ")[0]
    cells = re.findall(r"\n\| \d+ \| ([^|]+) \|", section)
    names = [name for cell in cells for name in named(cell)]
    assert names == [field.name for field in entry.own]
    for rule in entry.rules:
        assert f"- {rule.doc}\n" in section + "\n"


def test_every_register_counter_and_cause_is_on_the_page():
    page = PAGES["registers.md"]()
    for register in csr.REGISTERS:
        assert f"| 0x{register.address:03x} | {register.name} |" in page
    for counter in csr.COUNTERS:
        assert f"| 0x{csr.counter_address(counter.name):03x} | {counter.name} |" in page
    for cause in csr.FaultCause:
        assert f"| {int(cause)} | {cause.name} |" in page


def test_every_configuration_is_on_the_page():
    page = PAGES["configurations.md"]()
    for name, config in CONFIGS.items():
        assert f"| {name} | `{config.digest().hex()}` |" in page
