"""The chain as one account sees it: the contracts, the chain's clock, and the events in order."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from eth_abi import encode
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

from hpu.chain_integration.chain.connect import Connection
from hpu.chain_integration.chain.contract import Contract, Event, Receipt
from hpu.chain_integration.chain.deploy import Deployment
from hpu.chain_integration.chain.errors import RevertedError
from hpu.chain_integration.roles.history import STATES
from hpu.chain_integration.roles.journal import Journal
from hpu.chain_integration.roles.orders import Domain

__all__ = [
    "WATCHED",
    "Clock",
    "Job",
    "Ledger",
    "NodeRow",
    "Result",
    "Share",
    "State",
    "Watcher",
]

#: Blocks whose events are asked for at once.
_SPAN = 2_000
#: Blocks back to which a fork is followed.
_DEPTH = 10_000
#: Contracts whose events roles follow.
WATCHED = ("registry", "market", "sampling", "resources", "disputes")


class State:
    """The market's states, by name."""

    MATCHED, COMMITTED, REVEALED, CONTESTED, DISPUTED, DEMANDED = range(1, 7)
    SETTLED, EXPIRED, REFUNDED, CANCELLED = range(7, 11)
    ENDS = (SETTLED, EXPIRED, REFUNDED, CANCELLED)

    @staticmethod
    def text(state: int) -> str:
        """The state in a word."""
        return STATES[state]


@dataclasses.dataclass(frozen=True)
class Job:
    """An order from its match on, as ``market.job`` gives it; times in seconds."""

    buyer: str
    retriever: str
    state: int
    suppliers: int
    left: int
    committed: int
    revealed: int
    agreed: int
    royalties: int
    quote: int
    matched: int
    deadline: int
    ends: int
    anchor: int
    table: int


@dataclasses.dataclass(frozen=True)
class Share:
    """One supplier's part of an order, as ``market.share`` gives it."""

    supplier: str
    committed: int
    removed: bool
    price: int
    power: int
    work: int
    proof: bytes


@dataclasses.dataclass(frozen=True)
class NodeRow:
    """A row of the resource table, as ``registry.node`` gives it."""

    config: bytes
    key: bytes
    region: bytes
    capability: int
    price: int
    endpoint: str
    number: int
    since: int
    stake: int
    locked: int
    power: int
    rating: int

    @property
    def free(self) -> int:
        """Stake that is not locked."""
        return self.stake - self.locked


@dataclasses.dataclass(frozen=True)
class Result:
    """What a supplier commits to and reveals; ``work`` in 1e-18 T·H."""

    model: bytes
    input: bytes
    output: bytes
    trace: bytes
    usage: bytes
    sealed: bytes
    work: int

    @property
    def outcome(self) -> tuple[bytes, bytes]:
        """Roots of output and trace."""
        return self.output, self.trace

    @property
    def values(self) -> tuple[Any, ...]:
        """As the contract's struct."""
        return (self.model, self.input, self.outcome, self.usage, self.sealed, self.work)

    def commitment(self, order: bytes, supplier: str, salt: bytes) -> bytes:
        """``keccak256(abi_encode(order, supplier, result, salt))``."""
        struct = "(bytes32,bytes32,(bytes32,bytes32),bytes32,bytes32,uint256)"
        values = [order, supplier, self.values, salt]
        return keccak(encode(["bytes32", "address", struct, "bytes32"], values))

    def to_entry(self) -> dict[str, Any]:
        """As a journal keeps it: a number there has 64 bits at most."""
        return dataclasses.asdict(self) | {"work": str(self.work)}

    @classmethod
    def from_entry(cls, entry: dict[str, Any]) -> "Result":
        """What :meth:`to_entry` gave."""
        return cls(**entry | {"work": int(entry["work"])})

    @classmethod
    def from_event(cls, fields: dict[str, Any]) -> "Result":
        """The result in a ``Revealed`` event."""
        outcome = fields["outcome"]
        rest = {name: fields[name] for name in ("model", "input", "usage", "sealed", "work")}
        return cls(output=outcome["output"], trace=outcome["trace"], **rest)


class Clock:
    """The chain's time: the newest block's, and what has passed since that block was first seen.

    This computer's date plays no part; only a stopwatch does, which a test can replace.
    """

    def __init__(self, connection: Connection, stopwatch: Callable[[], float] = time.monotonic):
        self._connection, self._stopwatch = connection, stopwatch
        self._newest, self._seen = 0, 0.0

    def now(self) -> int:
        """Seconds."""
        newest, passed = self._connection.time(), self._stopwatch()
        if newest != self._newest:
            self._newest, self._seen = newest, passed
        return newest + int(passed - self._seen)


class Ledger:
    """The contracts with an account that pays, signs and is paid.

    Parameters
    ----------
    clock:
        The chain's clock; a new one when not given.
    """

    def __init__(self, contracts: Deployment, account: LocalAccount, clock: Clock | None = None):
        self.contracts, self.account, self.address = contracts, account, account.address
        self.connection = contracts.connection
        self.clock = clock or Clock(self.connection)
        self.domain = Domain(self.connection.chain_id, contracts["market"].address)

    def now(self) -> int:
        """The chain's time in seconds."""
        return self.clock.now()

    def job(self, order: bytes) -> Job:
        """An order; state 0 before its match."""
        return Job(**self.contracts["market"].call("job", order))

    def share(self, order: bytes, supplier: str | None = None) -> Share:
        """A supplier's part of an order, this account's when none is named."""
        return Share(**self.contracts["market"].call("share", order, supplier or self.address))

    def node(self, address: str | None = None) -> NodeRow:
        """A row of the resource table; all zero when there is none."""
        return NodeRow(**self.contracts["registry"].call("node", address or self.address))

    def nodes(self) -> list[tuple[str, NodeRow]]:
        """The whole table."""
        registry = self.contracts["registry"]
        addresses = [registry.call("nodes", k) for k in range(registry.call("count"))]
        return [(address, self.node(address)) for address in addresses]

    def balance(self, address: str | None = None) -> int:
        """What the market holds for an account, in HAI-wei."""
        return self.contracts["market"].call("balances", address or self.address)

    def tokens(self, address: str | None = None) -> int:
        """What an account holds itself, in HAI-wei."""
        return self.contracts["token"].call("balanceOf", address or self.address)

    def verifiers(self, order: bytes) -> list[str]:
        """Who was drawn to verify an order."""
        return self.contracts["sampling"].call("verifiers", order)

    def drawn(self, order: bytes) -> bool:
        """Whether an order's verifiers were drawn."""
        return any(self.contracts["sampling"].call("seeds", order))

    def market(self, name: str, *arguments: Any) -> Receipt:
        """Send a transaction to the market.

        Raises
        ------
        RevertedError
            When the market refuses.
        """
        return self.contracts["market"].send(self.account, name, *arguments)

    def try_market(self, name: str, *arguments: Any, contract: str = "market") -> bool:
        """As :meth:`market`; False when the contract refuses, as when another was faster."""
        try:
            self.contracts[contract].send(self.account, name, *arguments)
        except RevertedError:
            return False
        return True

    def approve(self, contract: Contract, amount: int) -> None:
        """Let a contract take ``amount`` of this account's tokens, when it may not yet."""
        token = self.contracts["token"]
        if token.call("allowance", self.address, contract.address) < amount:
            token.send(self.account, "approve", contract.address, amount)

    def deposit(self, amount: int) -> None:
        """Move tokens into the market."""
        self.approve(self.contracts["market"], amount)
        self.market("deposit", amount)

    def events(self, order: bytes, name: str) -> list[Event]:
        """The market's events of one kind about an order."""
        return self.contracts["market"].events(name, id=order)

    def results(self, order: bytes) -> dict[str, Result]:
        """What the suppliers of an order revealed."""
        found = self.events(order, "Revealed")
        return {event["supplier"]: Result.from_event(event["result"]) for event in found}


class Watcher:
    """Events of contracts, each once and in order, also over restarts and forks.

    The journal keeps which blocks were taken in, with their hashes. When the chain has another
    block in the place of one of them, it is read again from the last block in common; events are
    then told again, so what is done about them must be harmless to do twice.

    Parameters
    ----------
    confirmations:
        Blocks that must follow a block before its events are told.
    first:
        The first block that is read.
    """

    def __init__(
        self,
        connection: Connection,
        contracts: Sequence[Contract],
        journal: Journal,
        *,
        confirmations: int = 0,
        first: int = 0,
    ):
        self._connection, self._contracts, self._journal = connection, contracts, journal
        self._confirmations, self._before = confirmations, first - 1

    def poll(self) -> Iterator[list[Event]]:
        """New events, a span of blocks after the other; a span is noted when the next is asked for.

        Raises
        ------
        UnreachableError
            When the node does not answer; nothing is lost, the next poll goes on from there.
        """
        last = self._connection.height() - self._confirmations
        first = self._common(last) + 1
        while first <= last:
            end = min(last, first + _SPAN - 1)
            digest = self._hash(end)
            found = [
                event
                for contract in self._contracts
                for event in contract.events(first=first, last=end)
            ]
            yield sorted(found, key=lambda event: (event.block, event.place))
            self._journal.add_block(end, digest, keep=_DEPTH)
            first = end + 1

    def _common(self, last: int) -> int:
        """The last block taken in that the chain still has; those after it are forgotten.

        A node that is behind says nothing about the blocks that it does not have yet.
        """
        newest = self._journal.blocks(1)
        if newest and newest[0][0] > last:
            return newest[0][0]
        if newest and self._hash(newest[0][0]) == newest[0][1]:
            return newest[0][0]
        for number, digest in self._journal.blocks():
            if self._hash(number) == digest:
                self._journal.drop_blocks(number)
                return number
        self._journal.drop_blocks(-1)
        return self._before

    def _hash(self, number: int) -> bytes:
        return bytes.fromhex(self._connection.block(number)["hash"][2:])
