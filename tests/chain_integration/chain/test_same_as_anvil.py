"""The chain in process against anvil: the same transactions, receipts, events and gas."""

import pytest
from tests.chain_integration import anvil

from hpu.chain_integration.chain.allocation import SUPPLY
from hpu.chain_integration.chain.compile import compiled
from hpu.chain_integration.chain.connect import connect
from hpu.chain_integration.chain.contract import create
from hpu.chain_integration.chain.deploy import deploy
from hpu.chain_integration.chain.errors import RevertedError

BEGUN = 1_600_000_000
LATER = 1_900_000_000


def _story(made, one, two):
    return [
        ("release_founders", two, "release"),
        ("token", one, "transfer", two.address, 10**24),
        ("token", one, "approve", made["market"].address, 10**28),
        ("token", one, "approve", made["registry"].address, 10**28),
        ("market", one, "deposit", 10**22),
        ("market", one, "withdraw", 10**21),
        ("market", one, "withdraw", 9 * 10**21),
        ("registry", one, "register", (b"\1" * 32, *[b"\2" * 32] * 2, 5, 6, "http://x"), 10**23),
        ("groups", one, "join", b"\3" * 32),
        ("groups", one, "leave"),
        ("vote", two, "propose", made["release_miners"].address, two.address, 0, 1),
    ]


def story(link):
    """Addresses, gas and events of a deployment and some transactions, at times that are given."""
    one, two, *_ = link.accounts()
    first = link.height()
    made = deploy(link, one, start=BEGUN)
    told = [(name, contract.address) for name, contract in made.contracts.items()]
    for number, (contract, account, name, *arguments) in enumerate(_story(made, one, two)):
        link.request("evm_setNextBlockTimestamp", LATER + 60 * number)
        receipt = made[contract].send(account, name, *arguments, gas=2_000_000)
        events = [(event.name, event.fields, event.place) for event in receipt.events]
        told.append((contract, name, receipt.gas_used, events))
        assert link.block(receipt.block)["gasUsed"] == receipt.raw["gasUsed"]
    with pytest.raises(RevertedError) as caught:
        made["token"].send(two, "transferFrom", one.address, two.address, 1)
    told += [str(caught.value), len(made["token"].events(first=first))]
    told += [link.request("eth_getCode", made["market"].address, "latest")]
    data = "0x" + made["market"].interface.function("withdraw", 1).encode([0]).hex()
    fields = {"from": one.address, "to": made["market"].address, "data": data}
    return told, int(link.request("eth_estimateGas", fields), 16)


@pytest.fixture
def other():
    """A connection to anvil."""
    try:
        anvil.binary()
    except anvil.AbsentError as error:
        pytest.skip(str(error))
    with anvil.running() as link:
        yield link


@pytest.mark.slow
def test_the_same_happens_on_anvil(other):
    theirs, estimate = story(other)
    ours, our_estimate = story(connect())
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == other
    assert estimate == pytest.approx(our_estimate, rel=0.02)


@pytest.mark.slow
def test_after_a_fork_of_anvil_the_lost_transactions_are_sent_again(other):
    one, two, *_ = other.accounts()
    token = create(other, one, compiled("token"), [one.address], [SUPPLY])
    token.send(one, "transfer", two.address, 1)
    token.send(one, "transfer", two.address, 2)
    other.request("anvil_reorg", 2, [])
    assert token.call("balanceOf", two.address) == 0
    token.send(one, "transfer", two.address, 4)
    assert token.call("balanceOf", two.address) == 1 + 2 + 4
