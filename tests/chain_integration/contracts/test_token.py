"""The token, and the allocation of its supply."""

import pytest

from hpu.chain_integration.chain.allocation import ALLOCATIONS, SUPPLY
from hpu.chain_integration.chain.compile import compiled
from hpu.chain_integration.chain.contract import create
from hpu.chain_integration.chain.errors import RevertedError

MOST = 2**256 - 1
NOBODY = "0x" + "00" * 20


@pytest.fixture
def token(chain, accounts):
    return create(chain, accounts[0], compiled("token"), [accounts[0]], [SUPPLY])


def test_the_supply_is_allocated_as_promised(deployed):
    assert sum(allocation.percent for allocation in ALLOCATIONS) == 100
    token = deployed["token"]
    made = token.events("Transfer", first=deployed.block, sender=NOBODY)
    assert [(e["receiver"], e["value"]) for e in made] == [
        (deployed[allocation.contract].address, allocation.amount) for allocation in ALLOCATIONS
    ]
    assert token.call("totalSupply") == sum(e["value"] for e in made) == 10**28


def test_it_is_described(token):
    assert [token.call(name) for name in ("name", "symbol", "decimals")] == ["HAI", "HAI", 18]


def test_transfers_move_tokens_and_say_so(token, accounts):
    giver, taker, *_ = accounts
    receipt = token.send(giver, "transfer", taker, 7)
    assert receipt.event("Transfer").fields == {"sender": giver, "receiver": taker, "value": 7}
    assert token.call("balanceOf", taker) == 7
    assert token.call("balanceOf", giver) == SUPPLY - 7
    assert token.call("transfer", taker, 7, caller=giver) is True
    token.send(giver, "transfer", taker, 0)
    token.send(taker, "transfer", taker, 7)
    assert token.call("balanceOf", taker) == 7


def test_an_allowance_is_used_up(token, accounts):
    owner, spender, taker, *_ = accounts
    approved = token.send(owner, "approve", spender, 5).event("Approval")
    assert approved.fields == {"owner": owner, "spender": spender, "value": 5}
    token.send(spender, "transferFrom", owner, taker, 3)
    assert token.call("allowance", owner, spender) == 2
    with pytest.raises(RevertedError, match=r"transferFrom: the allowance is too low\.$"):
        token.send(spender, "transferFrom", owner, taker, 3)
    token.send(owner, "approve", spender, MOST)
    token.send(spender, "transferFrom", owner, taker, 3)
    assert token.call("allowance", owner, spender) == MOST


def test_what_would_lose_tokens_is_refused(token, accounts):
    giver, taker, *_ = accounts
    with pytest.raises(RevertedError, match="the balance is too low"):
        token.send(taker, "transfer", giver, 1)
    for place in (NOBODY, token.address):
        with pytest.raises(RevertedError, match="tokens sent there would be lost"):
            token.send(giver, "transfer", place, 1)


def test_it_is_made_with_the_whole_supply_or_not_at_all(chain, accounts):
    artifact, one = compiled("token"), accounts[0]
    for holders, amounts, reason in [
        ([one], [SUPPLY - 1], "the amounts are not the supply"),
        ([one], [], "a holder has no amount"),
        ([NOBODY], [SUPPLY], "a holder is missing"),
    ]:
        with pytest.raises(RevertedError, match=reason):
            create(chain, one, artifact, holders, amounts)
