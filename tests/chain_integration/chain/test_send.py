"""Transactions over a node that drops, lags, forgets and forks; errors as sentences."""

import pytest
import requests
from web3.providers.base import BaseProvider

from hpu.chain_integration.chain.allocation import SUPPLY
from hpu.chain_integration.chain.compile import compiled
from hpu.chain_integration.chain.connect import Connection, connect
from hpu.chain_integration.chain.contract import Contract, create
from hpu.chain_integration.chain.errors import ChainError, RevertedError, UnreachableError

SENT = "eth_sendRawTransaction"


class Node(BaseProvider):
    """A node whose answers a test spoils: ``spoil(method, params, answer)`` may give another.

    ``answer`` is a function that lets the node do what it was asked.
    """

    def __init__(self, provider):
        super().__init__()
        self.provider = provider
        self.asked = []
        self.spoil = lambda method, params, answer: answer()

    def make_request(self, method, params):
        self.asked.append(method)
        return self.spoil(method, params, lambda: self.provider.make_request(method, params))


class Ground:
    """A token behind a node that can be spoilt."""

    def __init__(self, patience=3.0, confirmations=0):
        true = connect()
        self.true = true
        self.owner, self.taker, self.poor = true.accounts(3)
        made = create(true, self.owner, compiled("token"), [self.owner.address], [SUPPLY])
        self.node = Node(true.provider)
        self.link = Connection(
            self.node, name="node", patience=patience, confirmations=confirmations
        )
        self.token = Contract(self.link, compiled("token"), made.address)

    def pay(self, amount=5):
        return self.token.send(self.owner, "transfer", self.taker.address, amount)

    def paid(self):
        place = Contract(self.true, compiled("token"), self.token.address)
        return place.call("balanceOf", self.taker.address)


def times(count, method, spoilt):
    """Spoil the first ``count`` requests for ``method``."""
    left = [count]

    def spoil(asked, params, answer):
        if asked == method and left[0]:
            left[0] -= 1
            return spoilt(answer)
        return answer()

    return spoil


def drop(answer):
    raise requests.ConnectionError("dropped")


def drop_the_answer(answer):
    answer()
    raise requests.Timeout("too slow")


def garbage(answer):
    return {"html": "502"}


def error(text):
    return lambda answer: {"error": {"code": -32000, "message": text}}


@pytest.mark.parametrize("spoilt", [drop, drop_the_answer, garbage])
@pytest.mark.parametrize(
    "method", [SENT, "eth_estimateGas", "eth_getTransactionReceipt", "eth_getTransactionCount"]
)
def test_a_dropped_request_is_sent_again_and_nobody_is_paid_twice(method, spoilt):
    ground = Ground()
    ground.node.spoil = times(2, method, spoilt)
    receipt = ground.pay()
    assert ground.paid() == 5
    assert receipt.event("Transfer")["value"] == 5
    ground.pay()
    assert ground.paid() == 10


def test_a_node_that_never_answers_is_given_up():
    ground = Ground(patience=0.3)
    ground.node.spoil = times(10**6, SENT, drop)
    with pytest.raises(UnreachableError) as caught:
        ground.pay()
    assert str(caught.value) == (
        "node gives no answer to eth_sendRawTransaction (ConnectionError);"
        " check that the node runs and can be reached."
    )
    assert ground.paid() == 0


def test_what_must_not_be_repeated_is_not():
    ground = Ground(patience=0.3)
    ground.node.spoil = times(10**6, "evm_mine", drop_the_answer)
    with pytest.raises(UnreachableError):
        ground.link.advance(10)
    assert ground.node.asked.count("evm_mine") == 1


def test_a_transaction_that_the_node_forgot_is_sent_again():
    ground = Ground()
    ground.node.spoil = times(1, SENT, lambda answer: {"result": "0x" + "00" * 32})
    ground.pay()
    assert ground.paid() == 5
    assert ground.node.asked.count(SENT) >= 2


def test_a_transaction_that_is_never_mined_is_given_up():
    ground = Ground(patience=0.3)
    ground.node.spoil = times(10**6, SENT, lambda answer: {"result": "0x" + "00" * 32})
    with pytest.raises(UnreachableError, match="into a block in time; it may still do so"):
        ground.pay()


def test_after_a_fork_the_lost_transactions_are_sent_again():
    ground = Ground()
    ground.pay(1)
    before = ground.true.request("evm_snapshot")
    ground.pay(2)
    ground.pay(3)
    ground.true.request("evm_revert", before)
    ground.true.mine(4)  # the other branch is longer
    assert ground.paid() == 1
    ground.pay(4)
    assert ground.paid() == 1 + 2 + 3 + 4


def test_a_fork_before_the_confirmations_changes_nothing_for_the_sender():
    ground = Ground(confirmations=2)
    chain, before = ground.true, ground.true.request("evm_snapshot")
    seen = []

    def spoil(method, params, answer):
        if method == "eth_blockNumber" and not seen:
            seen.append(chain.request("evm_revert", before))
        elif method == "eth_getTransactionReceipt":
            chain.mine()
        return answer()

    ground.node.spoil = spoil
    receipt = ground.pay()
    assert seen == [True]
    assert ground.paid() == 5
    assert chain.height() - receipt.block >= 2


def test_a_node_that_lags_is_waited_for():
    ground = Ground()
    ground.pay()
    ground.node.spoil = times(3, "eth_blockNumber", lambda answer: {"result": "0x0"})
    assert ground.token.call("balanceOf", ground.taker.address) == 5
    assert ground.node.asked.count("eth_blockNumber") >= 4


def test_a_node_that_stays_behind_is_given_up():
    ground = Ground(patience=0.3)
    ground.pay()
    ground.node.spoil = times(10**6, "eth_blockNumber", lambda answer: {"result": "0x1"})
    with pytest.raises(UnreachableError, match="node is at block 1 and does not come to 2"):
        ground.token.call("balanceOf", ground.taker.address)


def test_a_stale_count_of_transactions_is_not_believed():
    ground = Ground()
    ground.pay()
    ground.node.spoil = times(2, "eth_getTransactionCount", lambda answer: {"result": "0x1"})
    ground.pay()
    assert ground.paid() == 10


def test_a_key_that_another_program_uses_too_goes_on():
    ground = Ground()
    ground.pay()
    other = Contract(ground.true, compiled("token"), ground.token.address)
    stale = hex(ground.true.provider.rpc.chain.nonce(ground.owner.address))
    other.send(ground.owner, "transfer", ground.taker.address, 7)
    ground.node.spoil = times(2, "eth_getTransactionCount", lambda answer: {"result": stale})
    ground.pay()
    assert ground.paid() == 5 + 7 + 5


def test_a_price_that_is_too_low_is_raised():
    ground = Ground()
    ground.node.spoil = times(2, SENT, error("replacement transaction underpriced"))
    receipt = ground.pay()
    sent = ground.true.request("eth_getTransactionByHash", receipt.transaction)
    assert int(sent["maxFeePerGas"], 16) > 2 * 10**9
    ground.node.spoil = times(5, SENT, error("replacement transaction underpriced"))
    with pytest.raises(ChainError, match="use its key in one program at a time"):
        ground.pay()


def test_an_account_without_coin_is_told_so():
    ground = Ground()
    ground.pay()
    ground.true.fund(ground.taker.address, 0)
    with pytest.raises(ChainError) as caught:
        ground.token.send(ground.taker, "transfer", ground.owner.address, 1)
    assert str(caught.value) == (
        f"the account {ground.taker.address} has too little native coin to pay the gas;"
        " send it some."
    )


def test_a_refusal_is_a_sentence():
    ground = Ground()
    with pytest.raises(RevertedError) as caught:
        ground.token.send(ground.poor, "transfer", ground.owner.address, 1)
    assert str(caught.value) == ("The token contract refused transfer: the balance is too low.")
    assert caught.value.reason == "the balance is too low"


def test_a_transaction_that_failed_in_its_block_is_a_refusal():
    ground = Ground()
    with pytest.raises(RevertedError, match="refused transfer: the balance is too low"):
        ground.token.send(ground.poor, "transfer", ground.owner.address, 1, gas=100_000)
    with pytest.raises(RevertedError, match="refused transfer: it ran out of gas"):
        ground.token.send(ground.owner, "transfer", ground.poor.address, 1, gas=30_000)


def test_other_errors_of_the_node_are_told():
    ground = Ground()
    ground.node.spoil = times(1, SENT, error("the mempool is closed today"))
    with pytest.raises(ChainError, match=r"^node refused transfer: the mempool is closed today\.$"):
        ground.pay()


def test_wrong_uses_of_a_contract_are_sentences():
    ground = Ground()
    token, taker = ground.token, ground.taker.address
    for use, message in [
        (lambda: token.call("nothing"), "The token contract has no function 'nothing'"),
        (lambda: token.call("balanceOf"), "balanceOf must have 1 arguments, not 0"),
        (lambda: token.call("balanceOf", 5), "an argument of balanceOf cannot be used"),
        (lambda: token.events("Nothing"), "The token contract has no event 'Nothing'"),
        (lambda: token.events("Transfer", value=5), "must be searched by one of"),
        (
            lambda: Contract(ground.link, compiled("token"), taker).call("totalSupply"),
            f"there is no token contract at {taker} on node",
        ),
    ]:
        with pytest.raises(ChainError) as caught:
            use()
        assert message in str(caught.value)


def test_a_connection_is_refused_with_a_sentence():
    for url in ("ftp://x", "127.0.0.1:8545", "http://"):
        with pytest.raises(ChainError, match=f"as an http:// or https:// URL, not '{url}'"):
            connect(url)
    with pytest.raises(UnreachableError, match=r"^http://127\.0\.0\.1:9 gives no answer to"):
        connect("http://127.0.0.1:9", patience=0.2)
