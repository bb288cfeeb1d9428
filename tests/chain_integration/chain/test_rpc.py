"""The chain in process as Ethereum's JSON-RPC, alone and through web3."""

import pytest
from web3 import Web3
from web3.exceptions import ContractLogicError

from hpu.chain_integration.chain.allocation import SUPPLY
from hpu.chain_integration.chain.blocks import BASE_FEE, GENESIS_TIME
from hpu.chain_integration.chain.compile import compiled
from hpu.chain_integration.chain.connect import connect, in_process
from hpu.chain_integration.chain.contract import create


@pytest.fixture
def link():
    return connect()


@pytest.fixture
def rpc(link):
    return link.provider.rpc


@pytest.fixture
def keys(link):
    return link.accounts(3)


@pytest.fixture
def token(link, keys):
    return create(link, keys[0], compiled("token"), [keys[0].address], [SUPPLY])


def transfer(key, token, amount=1, **changes):
    """A signed transfer, raw."""
    data = token.interface.function("transfer", 2).encode(["0x" + "22" * 20, amount])
    fields = {
        "type": 2,
        "chainId": 31337,
        "nonce": 1,
        "to": token.address,
        "value": 0,
        "data": data,
        "gas": 100_000,
        "maxFeePerGas": 2 * BASE_FEE,
        "maxPriorityFeePerGas": 0,
    }
    return "0x" + bytes(key.sign_transaction({**fields, **changes}).raw_transaction).hex()


def test_web3_uses_a_contract(link, keys, token):
    w3 = link.w3
    assert isinstance(w3, Web3) and w3.is_connected()
    contract = w3.eth.contract(address=token.address, abi=compiled("token").abi)
    taker = keys[1].address
    sent = contract.functions.transfer(taker, 5).transact({"from": keys[0].address})
    receipt = w3.eth.wait_for_transaction_receipt(sent)
    (event,) = contract.events.Transfer().process_receipt(receipt)
    assert event["args"]["value"] == 5
    assert contract.functions.balanceOf(taker).call() == 5
    assert w3.eth.get_transaction(sent)["from"] == keys[0].address
    assert w3.eth.get_block("latest", full_transactions=True).transactions[0]["hash"] == sent
    with pytest.raises(ContractLogicError, match="the balance is too low"):
        contract.functions.transfer(taker, 5).call({"from": keys[2].address})
    assert w3.eth.fee_history(2, "latest", [50])["baseFeePerGas"][0] == BASE_FEE


def test_a_transaction_is_taken_once(rpc, keys, token):
    raw = transfer(keys[0], token)
    sent = rpc.answer("eth_sendRawTransaction", [raw])["result"]
    assert rpc.answer("eth_getTransactionReceipt", [sent])["result"]["status"] == "0x1"
    again = rpc.answer("eth_sendRawTransaction", [raw])["error"]
    assert again["message"] == "already known"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"nonce": 0}, "nonce too low: next nonce 1, tx nonce 0"),
        ({"nonce": 5}, "nonce too high: next nonce 1, tx nonce 5"),
        ({"chainId": 1}, "the transaction is for chain 1, not 31337"),
        ({"gas": 40_000_000}, "exceeds block gas limit"),
        ({"maxFeePerGas": BASE_FEE - 1}, "max fee per gas less than block base fee"),
        ({"value": 10**23}, "insufficient funds for gas * price + value"),
        ({"value": 1}, "contracts on this chain take no native coin"),
    ],
)
def test_wrong_transactions_are_refused(rpc, keys, token, changes, message):
    before = rpc.chain.latest
    raw = transfer(keys[0], token, **changes)
    assert rpc.answer("eth_sendRawTransaction", [raw])["error"]["message"] == message
    assert rpc.chain.latest is before


def test_a_damaged_transaction_is_refused(rpc, keys, token):
    raw = transfer(keys[0], token)
    for text in (raw[:-8], "0x02", "0x"):
        message = rpc.answer("eth_sendRawTransaction", [text])["error"]["message"]
        assert message.startswith("the transaction cannot be read: ")


def test_gas_is_paid_for(rpc, keys, token):
    def coins():
        return int(rpc.answer("eth_getBalance", [keys[0].address, "latest"])["result"], 16)

    before = coins()
    raw = transfer(keys[0], token, maxPriorityFeePerGas=7)
    sent = rpc.answer("eth_sendRawTransaction", [raw])["result"]
    receipt = rpc.answer("eth_getTransactionReceipt", [sent])["result"]
    price = int(receipt["effectiveGasPrice"], 16)
    assert price == BASE_FEE + 7
    assert before - coins() == int(receipt["gasUsed"], 16) * price


def test_coin_goes_from_account_to_account(rpc, keys, token):
    raw = transfer(keys[0], token, to="0x" + "33" * 20, value=5, data=b"")
    rpc.answer("eth_sendRawTransaction", [raw])
    assert rpc.answer("eth_getBalance", ["0x" + "33" * 20])["result"] == "0x5"


def test_a_failed_transaction_has_a_receipt_with_the_reason(rpc, keys, token):
    raw = transfer(keys[0], token, amount=SUPPLY + 1)
    sent = rpc.answer("eth_sendRawTransaction", [raw])["result"]
    receipt = rpc.answer("eth_getTransactionReceipt", [sent])["result"]
    assert receipt["status"] == "0x0" and receipt["logs"] == []
    assert receipt["revertReason"] == "execution reverted: the balance is too low"
    assert rpc.chain.nonce(keys[0].address) == 2


def test_only_unlocked_accounts_send_without_a_signature(rpc, token):
    stranger = "0x" + "44" * 20
    fields = {"from": stranger, "to": token.address, "data": "0x"}
    message = rpc.answer("eth_sendTransaction", [fields])["error"]["message"]
    assert message == f"the account {stranger} must sign its transactions itself"


def test_an_estimate_is_enough_and_hardly_more(rpc, keys, token):
    data = "0x" + token.interface.function("transfer", 2).encode([keys[1].address, 5]).hex()
    fields = {"from": keys[0].address, "to": token.address, "data": data}
    gas = int(rpc.answer("eth_estimateGas", [fields])["result"], 16)
    assert "result" in rpc.answer("eth_call", [{**fields, "gas": hex(gas)}])
    assert "error" in rpc.answer("eth_call", [{**fields, "gas": hex(gas * 98 // 100)}])


def test_events_are_found_by_place_topic_and_block(rpc, link, keys, token):
    owner, one, two = (key.address for key in keys)
    blocks = [token.send(owner, "transfer", taker, 1).block for taker in (one, two, one)]
    token.send(owner, "approve", one, 1)

    def found(**wanted):
        return len(rpc.answer("eth_getLogs", [{"fromBlock": "0x0", **wanted}])["result"])

    topic = token.interface.event("Transfer").topic
    word = "0x" + "0" * 24 + one[2:].lower()
    assert found() == 5  # and the supply's
    assert found(address=token.address) == 5
    assert found(address=[owner, token.address]) == 5
    assert found(address=owner) == 0
    assert found(topics=[topic]) == 4
    assert found(topics=[topic, None, word]) == 2
    assert found(topics=[topic, None, [word, "0x" + "0" * 24 + two[2:].lower()]]) == 3
    assert found(topics=[None, None, word]) == 3
    assert found(fromBlock=hex(blocks[1]), toBlock=hex(blocks[2])) == 2
    assert found(topics=[topic, None, None, None]) == 0


def test_the_clock_is_virtual_and_can_be_moved(link):
    assert link.time() == GENESIS_TIME
    link.advance(3600)
    assert link.time() == GENESIS_TIME + 3601
    link.mine(5)
    assert (link.height(), link.time()) == (6, GENESIS_TIME + 3606)
    link.request("evm_setNextBlockTimestamp", GENESIS_TIME + 9000)
    link.mine(2)
    assert link.time() == GENESIS_TIME + 9001
    with pytest.raises(Exception, match=f"the time must be after {GENESIS_TIME + 9001}"):
        link.request("evm_setNextBlockTimestamp", 5)


def test_with_a_clock_time_is_the_clocks():
    now = [1000.0]
    link = in_process(clock=lambda: now[0])
    now[0] = 1500.9
    link.mine()
    assert link.time() == 1500
    link.advance(100)
    assert link.time() == 1601
    now[0] = 1510.9
    link.mine()
    assert link.time() == 1611  # the clock goes on from there


def test_a_snapshot_brings_everything_back(link, keys, token):
    owner, taker = keys[0].address, keys[1].address
    number = link.request("evm_snapshot")
    before = (link.block(), link.coins(owner), link.provider.rpc.chain.nonce(owner))
    receipt = token.send(owner, "transfer", taker, 5)
    link.advance(1000)
    assert link.request("evm_revert", number) is True
    link.seen = 0
    assert (link.block(), link.coins(owner), link.provider.rpc.chain.nonce(owner)) == before
    assert token.call("balanceOf", taker) == 0
    assert link.request("eth_getTransactionReceipt", receipt.transaction) is None
    assert token.events("Transfer", receiver=taker) == []
    assert link.request("evm_revert", number) is False


def test_bad_requests_are_answered(rpc):
    for method, params, message in [
        ("eth_nothing", [], "the method eth_nothing does not exist on this chain"),
        ("eth_getBalance", ["0x12"], "an address must have 40 hexadecimal digits, not '0x12'"),
        ("eth_getBalance", [], "the parameters of eth_getBalance cannot be used"),
        ("eth_sendRawTransaction", ["0xzz"], "the parameters of eth_sendRawTransaction"),
        ("eth_call", [{"to": "0x" + "11" * 20}, "0x5"], "at the latest block only"),
    ]:
        assert message in rpc.answer(method, params)["error"]["message"]
    assert rpc.answer("eth_getBlockByNumber", ["0x99", False])["result"] is None
    assert rpc.answer("eth_getTransactionReceipt", ["0x" + "00" * 32])["result"] is None
