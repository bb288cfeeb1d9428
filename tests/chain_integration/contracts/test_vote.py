"""The vote on the schedules that the allocation leaves open."""

import pytest

from hpu.chain_integration.chain.allocation import ALLOCATIONS, SUPPLY
from hpu.chain_integration.chain.errors import RevertedError

DAY = 86400
HAI = 10**18
NOBODY = "0x" + "00" * 20


class Ground:
    """A vote in which three accounts hold the tokens that circulate."""

    def __init__(self, deployed, accounts):
        self.chain, self.vote, self.token = deployed.connection, deployed["vote"], deployed["token"]
        self.miners, self.marketing = deployed["release_miners"], deployed["release_marketing"]
        self.founder, self.one, self.two, self.other = accounts[:4]
        deployed["release_founders"].send(self.founder, "release")
        for account in (self.one, self.two):
            self.token.send(self.founder, "transfer", account, 9_000_000 * HAI)
        for account in (self.founder, self.one, self.two):
            self.token.send(account, "approve", self.vote.address, SUPPLY)

    def propose(self, release=None, beneficiary=None, lock=0, rate=50):
        target = (release or self.miners).address
        values = (target, beneficiary or self.other, lock, rate)
        return self.vote.send(self.one, "propose", *values).event("Proposed")["number"]

    def give(self, voter, number, support, hai):
        return self.vote.send(voter, "vote", number, support, hai * HAI)

    def end(self):
        self.chain.advance(14 * DAY)


@pytest.fixture
def ground(deployed, accounts):
    return Ground(deployed, accounts)


def test_a_majority_with_quorum_decides(ground):
    number = ground.propose()
    event = ground.give(ground.one, number, True, 9_000_000).event("Voted")
    assert event.fields == {
        "number": number,
        "voter": ground.one,
        "support": True,
        "amount": 9_000_000 * HAI,
    }
    ground.give(ground.two, number, False, 8_000_000)
    with pytest.raises(RevertedError, match="the vote is not over"):
        ground.vote.send(ground.other, "execute", number)
    ground.end()
    ground.vote.send(ground.other, "execute", number)
    assert ground.miners.call("beneficiary") == ground.other
    assert ground.miners.call("rate") == 50
    with pytest.raises(RevertedError, match="it was carried out already"):
        ground.vote.send(ground.other, "execute", number)
    with pytest.raises(RevertedError, match="the schedule is decided already"):
        ground.propose()


def test_ties_and_minorities_decide_nothing(ground):
    for one, two in [(9_000_000, 9_000_000), (8_000_000, 9_000_000)]:
        number = ground.propose()
        ground.give(ground.one, number, True, one)
        ground.give(ground.two, number, False, two)
        ground.end()
        with pytest.raises(RevertedError, match="it was voted down"):
            ground.vote.send(ground.other, "execute", number)
        for voter in (ground.one, ground.two):
            ground.vote.send(ground.other, "withdraw", number, voter)
    assert ground.miners.call("rate") == 0


def test_too_few_decide_nothing(ground):
    number = ground.propose()
    quorum = ground.vote.call("proposals", number)["quorum"]
    circulating = ground.vote.call("circulating")
    assert quorum == circulating * 20 // 100
    ground.vote.send(ground.one, "vote", number, True, quorum - 1)
    ground.end()
    with pytest.raises(RevertedError, match="too few voted"):
        ground.vote.send(ground.other, "execute", number)


def test_what_circulates_is_what_no_schedule_holds_back(ground, deployed):
    locked = sum(deployed[a.contract].call("locked") for a in ALLOCATIONS)
    assert ground.vote.call("circulating") == SUPPLY - locked


def test_tokens_vote_once_and_come_back(ground):
    number, again = ground.propose(), ground.propose(ground.marketing, ground.founder)
    ground.give(ground.one, number, True, 9_000_000)
    assert ground.token.call("balanceOf", ground.one) == 0
    for voter, proposal in [(ground.one, number), (ground.one, again)]:
        with pytest.raises(RevertedError, match="the balance is too low"):
            ground.give(voter, proposal, True, 1)
    with pytest.raises(RevertedError, match="the vote is not over"):
        ground.vote.send(ground.one, "withdraw", number, ground.one)
    ground.end()
    with pytest.raises(RevertedError, match="there is no such vote now"):
        ground.give(ground.two, number, True, 1)
    receipt = ground.vote.send(ground.other, "withdraw", number, ground.one)
    assert receipt.event("Withdrawn")["amount"] == 9_000_000 * HAI
    assert ground.token.call("balanceOf", ground.one) == 9_000_000 * HAI
    with pytest.raises(RevertedError, match="nothing is held"):
        ground.vote.send(ground.other, "withdraw", number, ground.one)


def test_only_open_schedules_are_voted_on(ground, deployed):
    with pytest.raises(RevertedError, match="the release is not one of the allocation"):
        ground.propose(ground.token)
    with pytest.raises(RevertedError, match="the schedule is decided already"):
        ground.propose(deployed["release_founders"])
    with pytest.raises(RevertedError, match="there is no such vote now"):
        ground.give(ground.one, 7, True, 1)
    with pytest.raises(RevertedError, match="the vote is not over"):
        ground.vote.send(ground.one, "execute", 7)


def test_a_schedule_that_cannot_be_kept_is_not_carried_out(ground):
    number = ground.propose(ground.marketing, ground.other)
    ground.give(ground.one, number, True, 9_000_000)
    ground.end()
    with pytest.raises(RevertedError, match="the beneficiary is fixed"):
        ground.vote.send(ground.other, "execute", number)
    ground.vote.send(ground.other, "withdraw", number, ground.one)
