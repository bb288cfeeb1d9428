"""Ethereum's JSON-RPC over a :class:`Chain`: the methods that clients of contracts use."""

import functools
import threading
from collections.abc import Callable
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils import is_hex_address, to_checksum_address

from hpu.chain_integration.chain import blocks as chain_blocks
from hpu.chain_integration.chain.blocks import BASE_FEE, GAS_LIMIT, Block, Chain, RefusedError
from hpu.chain_integration.chain.world import Log, Message

__all__ = ["Rpc", "development_accounts"]

_checksummed = functools.lru_cache(maxsize=4096)(to_checksum_address)
_PHRASE = "test test test test test test test test test test test junk"
_COINS = 10_000 * 10**18
_EMPTY_TREE = "0x" + "00" * 32


def development_accounts(count: int = 10) -> list[LocalAccount]:
    """The accounts that development chains give coin to; everybody knows their keys."""
    Account.enable_unaudited_hdwallet_features()
    return [
        Account.from_mnemonic(_PHRASE, account_path=f"m/44'/60'/0'/0/{index}")
        for index in range(count)
    ]


class Rpc:
    """Answers requests; safe to call from several threads."""

    def __init__(self, chain: Chain, *, unlocked: list[str] | None = None) -> None:
        """``unlocked`` lists accounts whose transactions need no signature; they get coin."""
        self.chain = chain
        self._lock = threading.RLock()
        self._unlocked = list(unlocked or [])
        for address in self._unlocked:
            chain.set_coins(address, _COINS)

    def answer(self, method: str, params: Any) -> dict[str, Any]:
        """The ``result`` or the ``error`` of one request."""
        handler = _METHODS.get(method)
        if handler is None:
            return _error(-32601, f"the method {method} does not exist on this chain")
        with self._lock:
            try:
                return {"result": handler(self, *params)}
            except RefusedError as refusal:
                data = None if refusal.data is None else "0x" + refusal.data.hex()
                return _error(refusal.code, str(refusal), data)
            except (TypeError, ValueError, KeyError, AttributeError) as error:
                return _error(-32602, f"the parameters of {method} cannot be used: {error}")

    # What the chain is.

    def _accounts(self) -> list[str]:
        return self._unlocked

    def _chain_id(self) -> str:
        return hex(self.chain.chain_id)

    def _version(self) -> str:
        return str(self.chain.chain_id)

    def _client(self) -> str:
        return "HAI HPU chain"

    def _height(self) -> str:
        return hex(self.chain.latest.number)

    def _gas_price(self) -> str:
        return hex(BASE_FEE)

    def _tip(self) -> str:
        return hex(0)

    def _fee_history(self, count: str | int, newest: str, shares: Any = ()) -> dict[str, Any]:
        last = self._number(newest)
        number = min(_integer(count), last + 1)
        history: dict[str, Any] = {
            "oldestBlock": hex(last - number + 1),
            "baseFeePerGas": [hex(BASE_FEE)] * (number + 1),
            "gasUsedRatio": [
                _gas_used(block) / GAS_LIMIT
                for block in self.chain.blocks[last - number + 1 : last + 1]
            ],
        }
        if shares:
            history["reward"] = [[hex(0)] * len(shares)] * number
        return history

    # Accounts.

    def _balance(self, address: str, _block: Any = "latest") -> str:
        return hex(self.chain.coins(_address(address)))

    def _code(self, address: str, _block: Any = "latest") -> str:
        return _data(self.chain.world.code(_address(address)))

    def _storage(self, address: str, key: str, _block: Any = "latest") -> str:
        return f"0x{self.chain.world.storage(_address(address), _integer(key)):064x}"

    def _nonce(self, address: str, _block: Any = "latest") -> str:
        return hex(self.chain.nonce(_address(address)))

    # Messages.

    def _call(self, fields: dict[str, Any], block: Any = "latest", *_more: Any) -> str:
        if self._number(block) != self.chain.latest.number:
            raise RefusedError("this chain answers calls at the latest block only")
        outcome = self.chain.call(_message(fields))
        if not outcome.success:
            raise chain_blocks.failure(outcome)
        return _data(outcome.output)

    def _estimate(self, fields: dict[str, Any], _block: Any = "latest") -> str:
        return hex(self.chain.estimate(_message(fields)))

    def _send_raw(self, raw: str) -> str:
        return _data(self.chain.send_raw(bytes.fromhex(raw.removeprefix("0x"))))

    def _send(self, fields: dict[str, Any]) -> str:
        message = _message(fields)
        if message.sender not in self._unlocked:
            raise RefusedError(f"the account {message.sender} must sign its transactions itself")
        gas = _integer(fields["gas"]) if "gas" in fields else self.chain.estimate(message)
        sent = self.chain.send_unsigned(
            sender=message.sender,
            to=message.to,
            data=message.data,
            gas=gas,
            value=_integer(fields.get("value", 0)),
            max_fee=_integer(fields.get("maxFeePerGas", BASE_FEE)),
            tip=_integer(fields.get("maxPriorityFeePerGas", 0)),
        )
        return _data(sent)

    # Blocks, transactions and events.

    def _block_by_number(self, which: Any, full: bool = False) -> dict[str, Any] | None:
        number = self._number(which)
        return self._block(number, full) if number < len(self.chain.blocks) else None

    def _block_by_hash(self, hash_: str, full: bool = False) -> dict[str, Any] | None:
        wanted = bytes.fromhex(hash_.removeprefix("0x"))
        found = (block.number for block in reversed(self.chain.blocks) if block.hash == wanted)
        number = next(found, None)
        return None if number is None else self._block(number, full)

    def _block(self, number: int, full: bool) -> dict[str, Any]:
        block = self.chain.blocks[number]
        sent = block.transaction
        inside = [] if sent is None else [_transaction(block) if full else _data(sent.hash)]
        return {
            "number": hex(block.number),
            "hash": _data(block.hash),
            "parentHash": _data(block.parent),
            "timestamp": hex(block.timestamp),
            "gasLimit": hex(GAS_LIMIT),
            "gasUsed": hex(_gas_used(block)),
            "baseFeePerGas": hex(BASE_FEE),
            "transactions": inside,
            "difficulty": "0x0",
            "extraData": "0x",
            "logsBloom": "0x" + "00" * 256,
            "miner": "0x" + "00" * 20,
            "mixHash": _data(block.hash),
            "nonce": "0x" + "00" * 8,
            "receiptsRoot": _EMPTY_TREE,
            "sha3Uncles": _EMPTY_TREE,
            "size": "0x0",
            "stateRoot": _EMPTY_TREE,
            "transactionsRoot": _EMPTY_TREE,
            "uncles": [],
        }

    def _transaction_by_hash(self, hash_: str) -> dict[str, Any] | None:
        block = self._block_of(hash_)
        return None if block is None else _transaction(block)

    def _receipt(self, hash_: str) -> dict[str, Any] | None:
        block = self._block_of(hash_)
        if block is None or block.transaction is None or block.outcome is None:
            return None
        sent, outcome = block.transaction, block.outcome
        receipt = {
            "transactionHash": _data(sent.hash),
            "transactionIndex": "0x0",
            "blockHash": _data(block.hash),
            "blockNumber": hex(block.number),
            "from": sent.sender,
            "to": sent.to,
            "contractAddress": outcome.created,
            "cumulativeGasUsed": hex(outcome.gas_used),
            "gasUsed": hex(outcome.gas_used),
            "effectiveGasPrice": hex(sent.price),
            "status": hex(int(outcome.success)),
            "type": "0x2",
            "logsBloom": "0x" + "00" * 256,
            "logs": [
                _event(block, block.first_log + index, log)
                for index, log in enumerate(outcome.logs)
            ],
        }
        if not outcome.success:
            receipt["revertReason"] = str(chain_blocks.failure(outcome))
        return receipt

    def _logs(self, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        first = self._number(wanted.get("fromBlock", "latest"))
        last = self._number(wanted.get("toBlock", "latest"))
        addresses = wanted.get("address") or []
        if isinstance(addresses, str):
            addresses = [addresses]
        chosen = {_address(address) for address in addresses}
        topics = [_alternatives(topic) for topic in wanted.get("topics") or []]
        return [
            _event(self.chain.blocks[number], place, log)
            for number, place, log in self.chain.logs_between(first, last)
            if (not chosen or log.address in chosen) and _matches(log.topics, topics)
        ]

    # The clock, and going back.

    def _increase_time(self, seconds: str | int) -> str:
        return hex(self.chain.advance(_integer(seconds)))

    def _set_next_time(self, timestamp: str | int) -> None:
        self.chain.set_next_time(_integer(timestamp))

    def _mine(self, count: str | int = 1, *_more: Any) -> str:
        self.chain.mine(_integer(count))
        return "0x0"

    def _snapshot(self) -> str:
        return hex(self.chain.snapshot())

    def _revert(self, number: str) -> bool:
        return self.chain.revert(_integer(number))

    def _unlock(self, address: str) -> None:
        self._unlocked.append(_address(address))

    def _set_balance(self, address: str, amount: str) -> None:
        self.chain.set_coins(_address(address), _integer(amount))

    def _block_of(self, hash_: str) -> Block | None:
        number = self.chain.places.get(bytes.fromhex(hash_.removeprefix("0x")))
        return None if number is None else self.chain.blocks[number]

    def _number(self, which: Any) -> int:
        if which == "earliest":
            return 0
        if which in (None, "latest", "pending", "safe", "finalized"):
            return self.chain.latest.number
        return _integer(which)


_METHODS: dict[str, Callable[..., Any]] = {
    "eth_accounts": Rpc._accounts,
    "eth_blockNumber": Rpc._height,
    "eth_call": Rpc._call,
    "eth_chainId": Rpc._chain_id,
    "eth_estimateGas": Rpc._estimate,
    "eth_feeHistory": Rpc._fee_history,
    "eth_gasPrice": Rpc._gas_price,
    "eth_getBalance": Rpc._balance,
    "eth_getBlockByHash": Rpc._block_by_hash,
    "eth_getBlockByNumber": Rpc._block_by_number,
    "eth_getCode": Rpc._code,
    "eth_getLogs": Rpc._logs,
    "eth_getStorageAt": Rpc._storage,
    "eth_getTransactionByHash": Rpc._transaction_by_hash,
    "eth_getTransactionCount": Rpc._nonce,
    "eth_getTransactionReceipt": Rpc._receipt,
    "eth_maxPriorityFeePerGas": Rpc._tip,
    "eth_sendRawTransaction": Rpc._send_raw,
    "eth_sendTransaction": Rpc._send,
    "evm_increaseTime": Rpc._increase_time,
    "evm_mine": Rpc._mine,
    "anvil_impersonateAccount": Rpc._unlock,
    "anvil_mine": Rpc._mine,
    "evm_revert": Rpc._revert,
    "evm_setNextBlockTimestamp": Rpc._set_next_time,
    "evm_snapshot": Rpc._snapshot,
    "anvil_setBalance": Rpc._set_balance,
    "net_version": Rpc._version,
    "web3_clientVersion": Rpc._client,
}


def _message(fields: dict[str, Any]) -> Message:
    to = fields.get("to")
    data = fields.get("data") or fields.get("input") or "0x"
    return Message(
        _address(fields.get("from", "0x" + "00" * 20)),
        None if not to else _address(to),
        bytes.fromhex(data.removeprefix("0x")),
        min(GAS_LIMIT, _integer(fields.get("gas", GAS_LIMIT))),
    )


def _transaction(block: Block) -> dict[str, Any]:
    sent = block.transaction
    if sent is None:
        raise ValueError(f"block {block.number} has no transaction")
    parity, r, s = sent.signature
    return {
        "hash": _data(sent.hash),
        "type": "0x2",
        "from": sent.sender,
        "to": sent.to,
        "input": _data(sent.data),
        "gas": hex(sent.gas),
        "gasPrice": hex(sent.price),
        "maxFeePerGas": hex(sent.max_fee),
        "maxPriorityFeePerGas": hex(sent.tip),
        "nonce": hex(sent.nonce),
        "value": hex(sent.value),
        "accessList": [],
        "blockHash": _data(block.hash),
        "blockNumber": hex(block.number),
        "transactionIndex": "0x0",
        "v": hex(parity),
        "yParity": hex(parity),
        "r": hex(r),
        "s": hex(s),
    }


def _event(block: Block, place: int, log: Log) -> dict[str, Any]:
    sent = block.transaction
    return {
        "address": log.address,
        "topics": list(log.topics),
        "data": _data(log.data),
        "blockNumber": hex(block.number),
        "blockHash": _data(block.hash),
        "transactionHash": None if sent is None else _data(sent.hash),
        "transactionIndex": "0x0",
        "logIndex": hex(place - block.first_log),
        "removed": False,
    }


def _alternatives(topic: Any) -> set[str]:
    """The values that a filter's topic allows; none stands for any."""
    if topic is None:
        return set()
    return {each.lower() for each in ([topic] if isinstance(topic, str) else topic)}


def _matches(topics: tuple[str, ...], wanted: list[set[str]]) -> bool:
    if len(wanted) > len(topics):
        return False
    return all(
        not allowed or topic in allowed for allowed, topic in zip(wanted, topics, strict=False)
    )


def _gas_used(block: Block) -> int:
    return 0 if block.outcome is None else block.outcome.gas_used


def _address(text: str) -> str:
    if not isinstance(text, str) or not is_hex_address(text):
        raise ValueError(f"an address must have 40 hexadecimal digits, not {text!r}")
    return _checksummed(text)


def _integer(value: str | int) -> int:
    return value if isinstance(value, int) else int(value, 0)


def _data(value: bytes) -> str:
    return "0x" + value.hex()


def _error(code: int, message: str, data: str | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"error": error}
