"""A chain in process: transactions, one block for each, receipts, events and a clock."""

import bisect
import dataclasses
from collections.abc import Callable
from typing import Any

from eth_abi import decode
from eth_abi.exceptions import DecodingError
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from eth_utils import keccak, to_checksum_address
from hexbytes import HexBytes

from hpu.chain_integration.chain.world import Log, Message, Outcome, World

__all__ = ["BASE_FEE", "CHAIN_ID", "GAS_LIMIT", "Block", "Chain", "RefusedError", "Transaction"]

#: The number that tools for development chains expect.
CHAIN_ID = 31337
#: Gas that a block, and so a transaction, may use.
GAS_LIMIT = 30_000_000
#: Price of a unit of gas in wei, the same in every block.
BASE_FEE = 10**9
#: Time of the first block on the virtual clock.
GENESIS_TIME = 1_800_000_000
_ERROR = bytes.fromhex("08c379a0")  # Error(string)
_PANIC = bytes.fromhex("4e487b71")  # Panic(uint256)


class RefusedError(Exception):
    """A request that the chain refuses, with JSON-RPC's code for it and the revert data."""

    def __init__(self, message: str, *, code: int = -32000, data: bytes | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


@dataclasses.dataclass(frozen=True)
class Transaction:
    """A transaction of type 2 (EIP-1559), signed, or from an account that the chain unlocks."""

    sender: str
    to: str | None
    data: bytes
    gas: int
    nonce: int
    value: int
    max_fee: int
    tip: int
    hash: bytes
    signature: tuple[int, int, int] = (0, 0, 0)

    @property
    def price(self) -> int:
        """Wei for a unit of gas."""
        return min(self.max_fee, BASE_FEE + self.tip)


@dataclasses.dataclass(frozen=True)
class Block:
    """One block with at most one transaction; ``first_log`` numbers its events on the chain."""

    number: int
    timestamp: int
    hash: bytes
    parent: bytes
    first_log: int
    transaction: Transaction | None = None
    outcome: Outcome | None = None


@dataclasses.dataclass(frozen=True)
class _Snapshot:
    blocks: int
    messages: int
    nonces: dict[str, int]
    coins: dict[str, int]
    offset: int


class Chain:
    """Blocks over a :class:`World`; each transaction is put into a block at once.

    Parameters
    ----------
    clock:
        Seconds now; without it time is virtual: a second passes with each block, and more only
        by :meth:`advance`.
    """

    def __init__(self, *, chain_id: int = CHAIN_ID, clock: Callable[[], float] | None = None):
        self.chain_id = chain_id
        self.world = World(chain_id=chain_id)
        self.blocks: list[Block] = []
        self.places: dict[bytes, int] = {}  # hash of a transaction → number of its block
        self.logs: list[tuple[int, Log]] = []  # number of the block, event
        self._clock = clock
        self._offset = 0
        self._next_time: int | None = None
        self._nonces: dict[str, int] = {}
        self._coins: dict[str, int] = {}
        self._snapshots: list[_Snapshot] = []
        self._append(None, None)

    @property
    def latest(self) -> Block:
        """The last block."""
        return self.blocks[-1]

    def nonce(self, address: str) -> int:
        """How many transactions the account has sent."""
        return self._nonces.get(address, 0)

    def coins(self, address: str) -> int:
        """Native coin in wei: it pays gas, and nothing else."""
        return self._coins.get(address, 0)

    def set_coins(self, address: str, amount: int) -> None:
        """Give an account native coin."""
        self._coins[address] = amount

    def advance(self, seconds: int) -> int:
        """Let the clock gain ``seconds``; returns all that it gained so far."""
        self._offset += seconds
        return self._offset

    def set_next_time(self, timestamp: int) -> None:
        """The next block's time, and the clock's from then on."""
        if timestamp <= self.latest.timestamp:
            raise RefusedError(f"the time must be after {self.latest.timestamp}, not {timestamp}")
        self._next_time = timestamp

    def mine(self, count: int = 1) -> None:
        """Append ``count`` empty blocks."""
        for _ in range(count):
            self._append(None, None)

    def send_raw(self, raw: bytes) -> bytes:
        """Put a signed transaction into a block; returns its hash.

        Raises
        ------
        RefusedError
            When it is damaged, for another chain, known, out of order, or not covered.
        """
        return self._include(_decoded(raw, self.chain_id))

    def send_unsigned(self, **fields: Any) -> bytes:
        """Put a transaction into a block that nobody signed, numbered as its sender's next one."""
        nonce = self.nonce(fields["sender"])
        identity = keccak(repr((self.chain_id, nonce, sorted(fields.items()))).encode())
        return self._include(Transaction(nonce=nonce, hash=identity, **fields))

    def call(self, message: Message) -> Outcome:
        """What ``message`` would do in the next block."""
        self._show_next()
        return self.world.call(message, nonce=self.nonce(message.sender))

    def estimate(self, message: Message) -> int:
        """Least gas with which ``message`` succeeds, found to within 1 %.

        Raises
        ------
        RefusedError
            When it fails with all the gas of a block.
        """
        outcome = self.call(message)
        if not outcome.success:
            raise failure(outcome)
        low, high = outcome.gas_used - 1, outcome.gas_used
        while not self.call(dataclasses.replace(message, gas=high)).success:
            low, high = high, min(message.gas, high + high // 4)
        while high - low > high // 100:
            middle = (low + high) // 2
            good = self.call(dataclasses.replace(message, gas=middle)).success
            low, high = (low, middle) if good else (middle, high)
        return high

    def snapshot(self) -> int:
        """Remember the chain as it is; returns the number to go back to it."""
        self._snapshots.append(
            _Snapshot(
                len(self.blocks),
                self.world.height(),
                dict(self._nonces),
                dict(self._coins),
                self._offset,
            )
        )
        return len(self._snapshots)

    def revert(self, number: int) -> bool:
        """Go back to a snapshot, which is used up, as are later ones; false when there is none."""
        if not 1 <= number <= len(self._snapshots):
            return False
        kept = self._snapshots[number - 1]
        del self._snapshots[number - 1 :]
        self.world.rewind(kept.messages)
        for block in self.blocks[kept.blocks :]:
            if block.transaction is not None:
                del self.places[block.transaction.hash]
        if len(self.blocks) > kept.blocks:
            del self.logs[self.blocks[kept.blocks].first_log :]
            del self.blocks[kept.blocks :]
        self._nonces, self._coins = dict(kept.nonces), dict(kept.coins)
        self._offset = kept.offset
        return True

    def logs_between(self, first: int, last: int) -> list[tuple[int, int, Log]]:
        """Events of the blocks from ``first`` to ``last``: block, place on the chain, event."""
        start = bisect.bisect_left(self.logs, first, key=lambda entry: entry[0])
        end = bisect.bisect_right(self.logs, last, key=lambda entry: entry[0])
        return [(*self.logs[place][:1], place, self.logs[place][1]) for place in range(start, end)]

    def _include(self, transaction: Transaction) -> bytes:
        self._check(transaction)
        message = Message(transaction.sender, transaction.to, transaction.data, transaction.gas)
        self._show_next()
        outcome = self.world.execute(message, nonce=transaction.nonce)
        self._pay(transaction, outcome)
        self._append(transaction, outcome)
        return transaction.hash

    def _pay(self, transaction: Transaction, outcome: Outcome) -> None:
        sender = transaction.sender
        self._nonces[sender] = transaction.nonce + 1
        self._coins[sender] = self.coins(sender) - outcome.gas_used * transaction.price
        if transaction.value and transaction.to and outcome.success:
            self._coins[sender] -= transaction.value
            self._coins[transaction.to] = self.coins(transaction.to) + transaction.value

    def _check(self, transaction: Transaction) -> None:
        if transaction.hash in self.places:
            raise RefusedError("already known")
        expected = self.nonce(transaction.sender)
        if transaction.nonce != expected:
            word = "low" if transaction.nonce < expected else "high"
            raise RefusedError(
                f"nonce too {word}: next nonce {expected}, tx nonce {transaction.nonce}"
            )
        if transaction.gas > GAS_LIMIT:
            raise RefusedError("exceeds block gas limit")
        if transaction.max_fee < BASE_FEE:
            raise RefusedError("max fee per gas less than block base fee")
        cost = transaction.value + transaction.gas * transaction.max_fee
        if self.coins(transaction.sender) < cost:
            raise RefusedError("insufficient funds for gas * price + value")
        if transaction.value and (transaction.to is None or self.world.code(transaction.to)):
            raise RefusedError("contracts on this chain take no native coin")

    def _append(self, transaction: Transaction | None, outcome: Outcome | None) -> None:
        number = len(self.blocks)
        parent = self.blocks[-1].hash if self.blocks else bytes(32)
        time = self._time()
        if self._next_time is not None:
            self._offset += time - self._plain_time()
            self._next_time = None
        here = self.world.block_hash(number)
        first = len(self.logs)
        self.blocks.append(Block(number, time, here, parent, first, transaction, outcome))
        if transaction is not None and outcome is not None:
            self.places[transaction.hash] = number
            self.logs += [(number, log) for log in outcome.logs]

    def _show_next(self) -> None:
        self.world.set_block(number=len(self.blocks), timestamp=self._time(), gas_limit=GAS_LIMIT)

    def _time(self) -> int:
        """The next block's time."""
        return self._plain_time() if self._next_time is None else self._next_time

    def _plain_time(self) -> int:
        if self._clock is None:
            return GENESIS_TIME + len(self.blocks) + self._offset
        last = self.blocks[-1].timestamp if self.blocks else 0
        return max(last, int(self._clock()) + self._offset)


def failure(outcome: Outcome) -> RefusedError:
    """The error of a message that did not succeed, worded as Ethereum's nodes word it."""
    if outcome.halt:
        return RefusedError(outcome.halt)
    reason = reason_of(outcome.output)
    message = f"execution reverted: {reason}" if reason else "execution reverted"
    return RefusedError(message, code=3, data=outcome.output)


def reason_of(output: bytes) -> str:
    """The words of revert data, or nothing."""
    try:
        if output[:4] == _ERROR:
            return decode(["string"], output[4:])[0]
        if output[:4] == _PANIC:
            return f"panic {decode(['uint256'], output[4:])[0]:#04x}"
    except (DecodingError, UnicodeDecodeError):
        pass
    return ""


def _decoded(raw: bytes, chain_id: int) -> Transaction:
    try:
        fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        sender = Account.recover_transaction(raw)
    except Exception as error:  # the library has no common class for what it cannot read
        raise RefusedError(f"the transaction cannot be read: {error}") from error
    if fields["type"] != 2:
        raise RefusedError("the transaction must be of type 2 (EIP-1559)")
    if fields["chainId"] != chain_id:
        raise RefusedError(f"the transaction is for chain {fields['chainId']}, not {chain_id}")
    to = bytes(fields["to"])
    return Transaction(
        sender=sender,
        to=to_checksum_address(to) if to else None,
        data=bytes(fields["data"]),
        gas=fields["gas"],
        nonce=fields["nonce"],
        value=fields["value"],
        max_fee=fields["maxFeePerGas"],
        tip=fields["maxPriorityFeePerGas"],
        hash=keccak(raw),
        signature=(fields["v"], fields["r"], fields["s"]),
    )
