"""The journal: steps that are done once, whole or not at all, and outlive the process."""

import sqlite3
import subprocess
import sys

import pytest

from hpu.chain_integration.roles.journal import Journal, JournalError


def test_a_step_is_done_once(tmp_path):
    journal = Journal(tmp_path / "j")
    assert journal.add("order", "1", "new", {"a": 1})
    assert not journal.add("order", "1", "other", {"a": 2})
    assert journal.move("order", "1", "new", "matched", b=b"x")
    assert not journal.move("order", "1", "new", "matched", b=b"y")
    assert not journal.move("order", "2", "new", "matched")
    journal.note("order", "1", c=None)
    journal.close()
    again = Journal(tmp_path / "j")
    assert again.get("order", "1") == ("matched", {"a": 1, "b": b"x", "c": None})
    assert again.entries("order", "matched") == [("1", *again.get("order", "1"))]
    assert again.entries("order", "new") == [] and again.counts("order") == {"matched": 1}


def test_a_step_is_whole_or_nothing(tmp_path):
    journal = Journal(tmp_path / "j")
    with pytest.raises(ZeroDivisionError), journal.step():
        journal.add("order", "1", "new", {})
        journal.set_fact("x", 1)
        raise ZeroDivisionError
    assert journal.get("order", "1") is None and journal.fact("x") is None
    with journal.step():
        journal.set_fact("x", 1)
    assert journal.fact("x") == 1


def test_blocks(tmp_path):
    journal = Journal(tmp_path / "j")
    for number in range(10):
        journal.add_block(number, bytes([number]), keep=3)
    assert [number for number, _ in journal.blocks()] == [9, 8, 7, 6]
    journal.drop_blocks(7)
    assert journal.blocks() == [(7, b"\7"), (6, b"\6")]


_KILLED = """
import os, signal, sys
from hpu.chain_integration.roles.journal import Journal
journal = Journal(sys.argv[1])
journal.add("order", "1", "new", {})
with journal.step():
    journal.move("order", "1", "new", "matched")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_inside_a_step(tmp_path):
    done = subprocess.run([sys.executable, "-c", _KILLED, tmp_path / "j"], timeout=60)
    assert done.returncode == -9
    assert Journal(tmp_path / "j").get("order", "1") == ("new", {})


def test_a_full_disk(tmp_path):
    journal = Journal(tmp_path / "j")
    journal._database.execute("pragma max_page_count = 20")
    with pytest.raises(JournalError, match=r"cannot be written: database or disk is full"):
        journal.add("order", "1", "new", {"big": bytes(1 << 20)})
    assert journal.get("order", "1") is None
    journal.add("order", "1", "new", {})


def test_files_that_are_no_journal(tmp_path):
    (tmp_path / "text").write_text("no database at all, but long enough to be one" * 100)
    with pytest.raises(JournalError, match="cannot be opened: file is not a database"):
        Journal(tmp_path / "text")
    with sqlite3.connect(tmp_path / "new") as database:
        database.execute("pragma user_version = 99")
    with pytest.raises(JournalError, match="is of version 99, not 1"):
        Journal(tmp_path / "new")
