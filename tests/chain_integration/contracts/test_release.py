"""The schedules by which the allocation is released."""

import pytest

from hpu.chain_integration.chain.allocation import ALLOCATIONS
from hpu.chain_integration.chain.compile import compiled
from hpu.chain_integration.chain.contract import create
from hpu.chain_integration.chain.errors import RevertedError

DAY = 86400
AMOUNT = 10**28
NOBODY = "0x" + "00" * 20


def paid(days_after_lock: float, rate: int, amount: int = AMOUNT) -> int:
    """Naive: `rate` millionths of the amount on each whole day after the lock."""
    return min(amount, sum(amount * rate // 10**6 for _ in range(int(days_after_lock))))


class Ground:
    """A token whose whole supply one release holds; the test's account is vote and market."""

    def __init__(self, chain, accounts, *, beneficiary, lock, rate):
        self.chain, self.owner = chain, accounts[0]
        start = chain.time()
        place = create(chain, self.owner, compiled("token"), [self.owner], [AMOUNT])
        self.token = place
        values = (beneficiary, AMOUNT, start, lock, rate)
        self.release = create(
            chain,
            self.owner,
            compiled("release"),
            place.address,
            self.owner,
            place.address,
            *values,
        )
        self.start = start
        place.send(self.owner, "transfer", self.release.address, AMOUNT)

    def until(self, seconds):
        """Let the next block be so many seconds after the start."""
        self.chain.request("evm_setNextBlockTimestamp", self.start + seconds)


@pytest.fixture
def ground(chain, accounts):
    return Ground(chain, accounts, beneficiary=accounts[3], lock=30 * DAY, rate=100)


def test_nothing_is_paid_before_the_lock_is_over(ground, accounts):
    ground.until(31 * DAY - 2)
    ground.chain.request("evm_mine")
    assert ground.release.call("due") == 0
    with pytest.raises(RevertedError, match="nothing is due yet"):
        ground.release.send(accounts[5], "release")


@pytest.mark.parametrize("days", [31, 32.99, 130, 10029, 10030, 10031, 40000])
def test_the_schedule_is_paid_to_the_second(ground, accounts, days):
    ground.until(int(days * DAY))
    receipt = ground.release.send(accounts[5], "release", gas=200_000)
    due = paid(days - 30, 100)
    assert receipt.event("Released").fields == {"beneficiary": accounts[3], "amount": due}
    assert ground.token.call("balanceOf", accounts[3]) == due
    assert ground.release.call("locked") == AMOUNT - due


def test_paying_often_pays_no_more(ground, accounts):
    for day in (31, 35, 36, 80):
        ground.until(day * DAY)
        ground.release.send(accounts[5], "release", gas=200_000)
    assert ground.token.call("balanceOf", accounts[3]) == paid(50, 100)
    assert ground.release.call("released") == paid(50, 100)


def test_what_is_sent_to_it_is_due_at_once(ground, accounts):
    ground.until(31 * DAY)
    ground.release.send(accounts[5], "release", gas=200_000)
    ground.token.send(accounts[3], "transfer", ground.release.address, 5)
    assert ground.release.call("due") == 5


def test_a_schedule_is_decided_once_by_the_vote_alone(chain, accounts):
    ground = Ground(chain, accounts, beneficiary=NOBODY, lock=0, rate=0)
    release, vote, other = ground.release, accounts[0], accounts[4]
    assert release.call("due") == 0
    for caller, beneficiary, lock, rate, reason in [
        (other, other, 0, 10, "only the vote decides"),
        (vote, NOBODY, 0, 10, "the beneficiary is missing"),
        (vote, other, 0, 0, "the schedule cannot be kept"),
        (vote, other, 0, 10**6 + 1, "the schedule cannot be kept"),
        (vote, other, 101 * 365 * DAY, 10, "the schedule cannot be kept"),
    ]:
        with pytest.raises(RevertedError, match=reason):
            release.send(caller, "decide", beneficiary, lock, rate)
    receipt = release.send(vote, "decide", other, DAY, 10)
    assert receipt.event("Decided").fields == {"beneficiary": other, "lock": DAY, "rate": 10}
    with pytest.raises(RevertedError, match="the schedule is decided already"):
        release.send(vote, "decide", other, DAY, 10)
    ground.until(12 * DAY)
    release.send(accounts[5], "release", gas=200_000)
    assert ground.token.call("balanceOf", other) == paid(11, 10)


def test_the_vote_cannot_redirect_what_has_a_beneficiary(chain, accounts):
    ground = Ground(chain, accounts, beneficiary=accounts[3], lock=0, rate=0)
    with pytest.raises(RevertedError, match="the beneficiary is fixed"):
        ground.release.send(accounts[0], "decide", accounts[4], 0, 10)


def test_the_deployed_schedules_are_those_of_the_allocation(deployed, accounts):
    years = {"founders": 5, "development": 4, "foundation": 3, "operations": 0}
    rates = {"founders": 100, "development": 100, "foundation": 100, "operations": 2}
    for allocation in ALLOCATIONS:
        release = deployed[allocation.contract]
        days = 365 * (6 - years.get(allocation.name, 6))
        expected = paid(days, rates.get(allocation.name, 0), allocation.amount)
        assert release.call("amount") - release.call("locked") == expected
        beneficiary = NOBODY if allocation.name == "miners" else accounts[0]
        assert release.call("beneficiary") == beneficiary


def test_the_treasury_takes_its_fees_out_of_the_market(deployed, accounts):
    release = deployed["release_foundation"]
    assert deployed["market"].call("treasury") == release.address
    assert release.call("market") == deployed["market"].address
    release.send(accounts[5], "collect")
    release.send(accounts[5], "release")
    assert release.call("due") == 0
