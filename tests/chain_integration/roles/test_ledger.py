"""The chain's clock, and events told once, in order, through forks, lags and drops."""

import dataclasses

import pytest

from hpu.chain_integration.chain.contract import Event
from hpu.chain_integration.chain.errors import UnreachableError
from hpu.chain_integration.roles.journal import Journal
from hpu.chain_integration.roles.ledger import Clock, Result, Watcher


class Chain:
    """Blocks that are named by letters; each has an event of two contracts."""

    def __init__(self, names: str):
        self.names, self.shown = names, len(names)
        self.drops = 0

    def height(self) -> int:
        return self.shown - 1

    def block(self, number: int) -> dict:
        if self.drops:
            self.drops -= 1
            raise UnreachableError("no answer.")
        return {"hash": "0x" + self.names[number].encode().hex(), "timestamp": 100 + number}

    def time(self) -> int:
        return 100 + self.height()


@dataclasses.dataclass
class Contract:
    """The events of one contract on :class:`Chain`."""

    chain: Chain
    place: int

    def events(self, *, first: int, last: int) -> list[Event]:
        return [
            Event(self.chain.names[number], {}, "0x", number, self.place, "0x")
            for number in range(first, last + 1)
        ]


def watcher(chain: Chain, journal: Journal, **options) -> Watcher:
    return Watcher(chain, [Contract(chain, 1), Contract(chain, 0)], journal, **options)


def told(found: Watcher) -> str:
    events = [event for events in found.poll() for event in events]
    assert [event.place for event in events] == [0, 1] * (len(events) // 2)
    return "".join(event.name for event in events[::2])


def test_each_event_is_told_once_also_after_a_restart(tmp_path):
    chain = Chain("abc")
    assert told(watcher(chain, Journal(tmp_path / "j"))) == "abc"
    again = watcher(chain, Journal(tmp_path / "j"))
    assert told(again) == ""
    chain.names, chain.shown = "abcde", 5
    assert told(again) == "de"


def test_a_fork_is_told_from_the_last_common_block_on():
    chain = Chain("a")
    found = watcher(chain, Journal(":memory:"))
    for names in ("a", "ab", "abcd"):
        chain.names, chain.shown = names, len(names)
        told(found)
    chain.names = "abXYZ"
    assert told(found) == "XY"
    chain.shown = 5
    assert told(found) == "Z"
    chain.names = "QRSTUV"
    chain.shown = 6
    assert told(found) == "QRSTUV"


def test_a_node_that_lags_is_waited_for():
    chain = Chain("abcdef")
    found = watcher(chain, Journal(":memory:"))
    assert told(found) == "abcdef"
    chain.shown = 2
    assert told(found) == ""
    chain.names, chain.shown = "abcdefg", 7
    assert told(found) == "g"


def test_nothing_is_lost_when_the_node_drops():
    chain, journal = Chain("abc"), Journal(":memory:")
    found = watcher(chain, journal)
    chain.drops = 1
    with pytest.raises(UnreachableError):
        told(found)
    assert told(found) == "abc"
    chain.names, chain.shown = "abcde", 5
    poll = found.poll()
    assert [event.name for event in next(poll)][::2] == ["d", "e"]
    poll.close()  # the program ends before the events are worked off
    assert told(found) == "de"


def test_confirmations():
    chain = Chain("abcdef")
    assert told(watcher(chain, Journal(":memory:"), confirmations=2)) == "abcd"
    assert told(watcher(chain, Journal(":memory:"), confirmations=9)) == ""


def test_the_clock_is_the_chain_s():
    chain, passed = Chain("abc"), [1000.0]
    clock = Clock(chain, lambda: passed[0])
    assert clock.now() == 102
    passed[0] += 7.5
    assert clock.now() == 109
    chain.names, chain.shown = "abcd", 4
    assert clock.now() == 103


def test_results_survive_the_journal():
    result = Result(*(bytes([k]) * 32 for k in range(6)), work=2**95)
    journal = Journal(":memory:")
    journal.add("order", "1", "new", {"result": result.to_entry()})
    _state, data = journal.get("order", "1")
    assert Result.from_entry(data["result"]) == result
