"""Transactions that arrive once, whatever the node does with them in between.

A transaction is signed once and its bytes are sent again until it has a receipt: a node that
dropped the answer, lost the transaction, or went back to before it gets the same bytes, which no
chain takes twice.
"""

import dataclasses
import threading
from collections import OrderedDict
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_utils import keccak

from hpu.chain_integration.chain.connect import Connection, Pauses
from hpu.chain_integration.chain.errors import ChainError, RpcError, UnreachableError

__all__ = ["Sender", "sender_of"]

_KEPT = 64  # transactions that are sent again when the chain forgets them
_ATTEMPTS = 5  # numbers or prices tried before giving up
_SPARE = 1.25  # gas limit over the estimate: the state may change until then


@dataclasses.dataclass(frozen=True)
class _Fees:
    most: int
    tip: int

    def raised(self) -> "_Fees":
        """What a node takes instead of a transaction that it has already: an eighth more."""
        return _Fees(self.most + self.most // 8 + 1, self.tip + self.tip // 8 + 1)


class Sender:
    """One account's transactions, one after the other."""

    def __init__(self, connection: Connection, account: LocalAccount | str) -> None:
        self._connection = connection
        self._account = account
        self._address = account if isinstance(account, str) else account.address
        self._lock = threading.Lock()
        self._next = 0
        self._sent: OrderedDict[int, str] = OrderedDict()  # number → signed bytes

    def send(self, to: str | None, data: bytes, gas: int | None) -> dict[str, Any]:
        """Send a transaction; the node's receipt, of a transaction that succeeded.

        Raises
        ------
        RpcError
            When it reverts, with the revert data where the node tells them.
        UnreachableError
            When it has no receipt within the patience.
        """
        fields: dict[str, Any] = {"from": self._address, "data": "0x" + data.hex(), "value": "0x0"}
        if to is not None:
            fields["to"] = to
        with self._lock:
            self._connection.catch_up()
            self._send_forgotten()
            fields["gas"] = hex(gas or self._estimate(fields))
            receipt = self._wait(self._broadcast(fields))
            self._connection.seen = max(self._connection.seen, int(receipt["blockNumber"], 16))
        if int(receipt["status"], 16) != 1:
            raise self._why(fields, receipt)
        return receipt

    def _estimate(self, fields: dict[str, Any]) -> int:
        return int(int(self._connection.request("eth_estimateGas", fields), 16) * _SPARE)

    def _broadcast(self, fields: dict[str, Any]) -> str:
        """Hash of the transaction that the node took."""
        if isinstance(self._account, str):
            return self._connection.request("eth_sendTransaction", fields)
        key, fees, number = self._account, self._fees(), self._number()
        for _ in range(_ATTEMPTS):
            raw, identity = self._signed(key, fields, number, fees)
            error = self._offer(raw, identity)
            if error is None:
                self._keep(number, raw)
                return identity
            number, fees = self._correct(error, number, fees)
        raise ChainError(
            f"{self._connection.name} refuses the transactions of {self._address};"
            " use its key in one program at a time."
        )

    def _offer(self, raw: str, identity: str) -> RpcError | None:
        """Submit; nothing when the node has the transaction now, or had it before."""
        try:
            self._submit(raw)
        except RpcError as error:
            text = str(error).lower()
            if "already known" in text or "already imported" in text:
                return None
            if "nonce too low" in text and self._receipt(identity) is not None:
                return None
            return error
        return None

    def _correct(self, error: RpcError, number: int, fees: _Fees) -> tuple[int, _Fees]:
        """Number and fees to try next."""
        text = str(error).lower()
        if "nonce too low" in text:
            return max(self._number(), number + 1), fees
        if "underpriced" in text:
            return number, fees.raised()
        if "insufficient funds" in text:
            raise ChainError(
                f"the account {self._address} has too little native coin to pay the gas;"
                " send it some."
            ) from error
        raise error

    def _signed(
        self, key: LocalAccount, fields: dict[str, Any], number: int, fees: _Fees
    ) -> tuple[str, str]:
        """The signed bytes and their hash."""
        transaction = {
            "type": 2,
            "chainId": self._connection.chain_id,
            "nonce": number,
            "value": 0,
            "data": fields["data"],
            "gas": int(fields["gas"], 16),
            "maxFeePerGas": fees.most,
            "maxPriorityFeePerGas": fees.tip,
        }
        if "to" in fields:
            transaction["to"] = fields["to"]
        raw = bytes(key.sign_transaction(transaction).raw_transaction)
        return "0x" + raw.hex(), "0x" + keccak(raw).hex()

    def _submit(self, raw: str) -> None:
        self._connection.request("eth_sendRawTransaction", raw)

    def _keep(self, number: int, raw: str) -> None:
        self._sent[number] = raw
        self._next = number + 1
        while len(self._sent) > _KEPT:
            self._sent.popitem(last=False)

    def _number(self) -> int:
        """Number of the next transaction: the node's count, or more when it lags."""
        return max(self._next, self._count())

    def _count(self) -> int:
        answer = self._connection.request("eth_getTransactionCount", self._address, "pending")
        return int(answer, 16)

    def _send_forgotten(self) -> None:
        """Send again what the chain went back to before."""
        if not self._sent:
            return
        for number in range(self._count(), self._next):
            if number in self._sent:
                self._submit_again(self._sent[number])

    def _submit_again(self, raw: str) -> None:
        try:
            self._submit(raw)
        except RpcError:
            # It is there already, or cannot be any more; the receipt decides.
            return

    def _fees(self) -> _Fees:
        base = int(self._connection.block()["baseFeePerGas"], 16)
        tip = int(self._connection.request("eth_maxPriorityFeePerGas"), 16)
        return _Fees(2 * base + tip, tip)

    def _wait(self, identity: str) -> dict[str, Any]:
        """The receipt, once it has its confirmations."""
        pauses = Pauses(self._connection)
        while True:
            receipt = self._receipt(identity)
            if receipt is not None and self._confirmed(receipt):
                return receipt
            if not pauses.another():
                raise UnreachableError(
                    f"{self._connection.name} did not put the transaction {identity} into a block"
                    " in time; it may still do so."
                )
            if receipt is None and self._sent:
                self._submit_again(next(reversed(self._sent.values())))

    def _receipt(self, identity: str) -> dict[str, Any] | None:
        return self._connection.request("eth_getTransactionReceipt", identity)

    def _confirmed(self, receipt: dict[str, Any]) -> bool:
        if not self._connection.confirmations:
            return True
        depth = self._connection.height() - int(receipt["blockNumber"], 16)
        return depth >= self._connection.confirmations

    def _why(self, fields: dict[str, Any], receipt: dict[str, Any]) -> RpcError:
        """The revert of a transaction in a block, found by asking for it again."""
        unlimited = {name: value for name, value in fields.items() if name != "gas"}
        try:
            self._connection.request("eth_call", unlimited, "latest")
        except RpcError as error:
            return error
        used, limit = int(receipt["gasUsed"], 16), int(fields["gas"], 16)
        reason = "the state changed before it was mined"
        if used * 64 >= limit * 63:  # an inner call leaves its caller a 64th of the gas
            reason = "it ran out of gas"
        return RpcError(f"execution reverted: {reason}", code=3)


_new = threading.Lock()


def sender_of(connection: Connection, account: LocalAccount | str) -> Sender:
    """The one sender of ``account`` on ``connection``."""
    address = account if isinstance(account, str) else account.address
    with _new:
        if address not in connection.senders:
            connection.senders[address] = Sender(connection, account)
        return connection.senders[address]
