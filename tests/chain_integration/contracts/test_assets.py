"""Models and data sets as ERC-721 tokens."""

import pytest
from eth_utils import keccak

from hpu.chain_integration.chain.compile import compiled, compiled_source
from hpu.chain_integration.chain.contract import create
from hpu.chain_integration.chain.errors import RevertedError

NOBODY = "0x" + "00" * 20
CONTENT, SALT = b"\x0c" * 32, b"\x5a" * 32
TOKEN = int.from_bytes(CONTENT, "big")
URI = "ipfs://bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"

#: Takes tokens, refuses them by a wrong answer, or by a revert.
RECEIVER = """
# pragma version 0.4.3
answer: public(bytes4)
seen: public(Bytes[1024])
giver: public(address)
operator: public(address)

@external
def say(answer: bytes4):
    self.answer = answer

@external
def onERC721Received(
    operator: address, giver: address, token: uint256, data: Bytes[1024]
) -> bytes4:
    assert self.answer != empty(bytes4), "not today"
    self.operator = operator
    self.giver = giver
    self.seen = data
    return self.answer
"""


def promised(owner, content=CONTENT, salt=SALT):
    """Naive: the hash of content, owner and salt."""
    return keccak(content + bytes(12) + bytes.fromhex(owner[2:]) + salt)


@pytest.fixture
def assets(chain, accounts):
    return create(chain, accounts[0], compiled("assets"))


def register(assets, owner, content=CONTENT, fee=7):
    assets.send(owner, "promise", promised(owner, content))
    assets.connection.advance(60)
    return assets.send(owner, "register", content, fee, URI, SALT)


def test_a_content_gets_its_owner_and_fee(assets, accounts):
    owner = accounts[1]
    assert assets.call("terms", CONTENT) == (NOBODY, 0)
    receipt = register(assets, owner)
    assert receipt.event("Transfer").fields == {
        "sender": NOBODY,
        "receiver": owner,
        "token_id": TOKEN,
    }
    assert receipt.event("Registered").fields == {
        "owner": owner,
        "token": TOKEN,
        "fee": 7,
        "uri": URI,
    }
    assert assets.call("terms", CONTENT) == (owner, 7)
    assert assets.call("ownerOf", TOKEN) == owner
    assert assets.call("balanceOf", owner) == 1
    assert assets.call("tokenURI", TOKEN) == URI


def test_a_content_is_registered_once(assets, accounts):
    register(assets, accounts[1])
    with pytest.raises(RevertedError, match="the content has an owner"):
        register(assets, accounts[2])


def test_only_who_promised_in_time_registers(assets, accounts):
    owner, thief, *_ = accounts
    chain = assets.connection

    def refused(caller, reason):
        with pytest.raises(RevertedError, match=reason):
            assets.send(caller, "register", CONTENT, 7, URI, SALT)

    refused(owner, "it must be promised first")
    assets.send(owner, "promise", promised(owner))
    with pytest.raises(RevertedError, match="it was promised before"):
        assets.send(thief, "promise", promised(owner))
    refused(owner, "the promise is too young")
    chain.advance(60)
    refused(thief, "it must be promised first")
    chain.advance(86400)
    refused(owner, "the promise is too old")


def test_the_fee_is_the_owners_to_change(assets, accounts):
    owner, friend, other, *_ = accounts
    register(assets, owner)
    assets.send(owner, "approve", friend, TOKEN)
    assets.send(friend, "set_fee", TOKEN, 9)
    assert assets.call("terms", CONTENT) == (owner, 9)
    with pytest.raises(RevertedError, match="the caller may not move the token"):
        assets.send(other, "set_fee", TOKEN, 0)


@pytest.mark.parametrize("how", ["owner", "approved", "operator"])
def test_transfers_by_those_allowed(assets, accounts, how):
    owner, friend, taker, other = accounts[:4]
    register(assets, owner)
    caller = owner if how == "owner" else friend
    if how == "approved":
        event = assets.send(owner, "approve", friend, TOKEN).event("Approval")
        assert event.fields == {"owner": owner, "approved": friend, "token_id": TOKEN}
    if how == "operator":
        event = assets.send(owner, "setApprovalForAll", friend, True).event("ApprovalForAll")
        assert event.fields == {"owner": owner, "operator": friend, "approved": True}
    with pytest.raises(RevertedError, match="the caller may not move the token"):
        assets.send(other, "transferFrom", owner, taker, TOKEN)
    event = assets.send(caller, "transferFrom", owner, taker, TOKEN).event("Transfer")
    assert event.fields == {"sender": owner, "receiver": taker, "token_id": TOKEN}
    assert assets.call("ownerOf", TOKEN) == taker
    assert [assets.call("balanceOf", account) for account in (owner, taker)] == [0, 1]
    assert assets.call("getApproved", TOKEN) == NOBODY
    assert assets.call("terms", CONTENT) == (taker, 7)
    with pytest.raises(RevertedError, match="the caller may not move the token"):
        assets.send(caller, "transferFrom", taker, owner, TOKEN)


def test_wrong_transfers_and_approvals_are_refused(assets, accounts):
    owner, friend, other, *_ = accounts
    register(assets, owner)
    for giver, taker, reason in [
        (other, friend, "the token is not the giver's"),
        (owner, NOBODY, "the receiver is missing"),
    ]:
        with pytest.raises(RevertedError, match=reason):
            assets.send(owner, "transferFrom", giver, taker, TOKEN)
    with pytest.raises(RevertedError, match="the caller may not approve"):
        assets.send(other, "approve", other, TOKEN)
    assets.send(owner, "approve", friend, TOKEN)
    with pytest.raises(RevertedError, match="the caller may not approve"):
        assets.send(friend, "approve", other, TOKEN)


def test_what_does_not_exist_is_refused(assets, accounts):
    for name, arguments, reason in [
        ("balanceOf", (NOBODY,), "the owner is missing"),
        ("ownerOf", (5,), "there is no such token"),
        ("getApproved", (5,), "there is no such token"),
        ("tokenURI", (5,), "there is no such token"),
    ]:
        with pytest.raises(RevertedError, match=reason):
            assets.call(name, *arguments)
    with pytest.raises(RevertedError, match="there is no such token"):
        assets.send(accounts[0], "transferFrom", accounts[0], accounts[1], 5)


def test_contracts_are_asked_before_they_get_a_token(assets, accounts, chain, tmp_path):
    owner, friend, *_ = accounts
    source = tmp_path / "receiver.vy"
    source.write_text(RECEIVER)
    receiver = create(chain, owner, compiled_source(source))
    register(assets, owner)
    assets.send(owner, "approve", friend, TOKEN)
    arguments = (owner, receiver.address, TOKEN, b"hello")
    with pytest.raises(RevertedError, match="not today"):
        assets.send(friend, "safeTransferFrom", *arguments)
    receiver.send(owner, "say", b"\x01\x02\x03\x04")
    with pytest.raises(RevertedError, match="the receiver does not take tokens"):
        assets.send(friend, "safeTransferFrom", *arguments)
    receiver.send(owner, "say", keccak(b"onERC721Received(address,address,uint256,bytes)")[:4])
    assets.send(friend, "safeTransferFrom", *arguments)
    seen = [receiver.call(name) for name in ("operator", "giver", "seen")]
    assert seen == [friend, owner, b"hello"]
    assert assets.call("ownerOf", TOKEN) == receiver.address


def test_contracts_without_an_answer_get_none_and_accounts_do(assets, accounts):
    owner, taker, *_ = accounts
    register(assets, owner)
    with pytest.raises(RevertedError):
        assets.send(owner, "safeTransferFrom", owner, assets.address, TOKEN)
    assets.send(owner, "safeTransferFrom", owner, taker, TOKEN)
    assert assets.call("ownerOf", TOKEN) == taker


def test_it_says_what_it_is(assets):
    known = {"01ffc9a7": True, "80ac58cd": True, "5b5e139f": True, "ffffffff": False}
    for number, expected in known.items():
        assert assets.call("supportsInterface", bytes.fromhex(number)) is expected
