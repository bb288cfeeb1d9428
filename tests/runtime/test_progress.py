"""Progress bars appear after two seconds, and not before."""

import pytest

from hpu.runtime import progress
from hpu.runtime.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_short_work_shows_nothing(clock, capsys):
    with Progress() as shown:
        shown("running", 1, 2)
        clock[0] = 1.9
        shown("running", 2, 2)
    assert capsys.readouterr().err == ""


def test_long_work_shows_a_bar(clock):
    shown = Progress()
    with shown:
        clock[0] = 2.5
        shown("running", 1, 4)
        task = shown._bar.tasks[0]
        assert (task.description, task.completed, task.total) == ("running", 1, 4)
        shown("simulating cycles", 12345, 0)
        (task,) = shown._bar.tasks
        assert (task.description, task.total) == ("simulating cycles: 12,345", None)
