"""``hpu keys``."""

import json

import pytest
from click.testing import CliRunner
from eth_account import Account

from hpu.cli import cli


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text("correct horse\n")
    return ["--password-file", str(path)]


def run(*arguments, **options):
    return CliRunner().invoke(cli, ["keys", *map(str, arguments)], **options)


def test_new_and_show(tmp_path, secret):
    path = tmp_path / "node.json"
    made = run("new", path, *secret)
    assert made.exit_code == 0, made.output
    data = json.loads(path.read_text())
    account = Account.from_key(Account.decrypt(data, "correct horse"))
    assert made.stdout == f"{path}: account {account.address}\n"
    shown = run("show", path, "--reader", *secret)
    assert f"account {account.address}\nreader  0x" in shown.stdout
    for text in (made.output, shown.output):
        assert account.key.hex() not in text
    again = run("new", path, *secret)
    assert again.exit_code == 2 and "is never overwritten" in again.stderr
    wrong = run("show", path, "--reader", env={"HPU_KEY_PASSWORD": "wrong"})
    assert wrong.exit_code == 2 and "the password is wrong" in wrong.stderr


def test_refusals(tmp_path):
    short = run("new", tmp_path / "k", input="short\nshort\n")
    assert short.exit_code == 2 and "at least 8 characters" in short.stderr
    none = run("new", tmp_path / "k", "--password-file", tmp_path / "none")
    assert none.exit_code == 2 and "cannot be read" in none.stderr
    assert list(tmp_path.iterdir()) == []
