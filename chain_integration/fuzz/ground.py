"""The chain that is fuzzed: every contract, ten accounts with tokens, and what happened so far."""

import dataclasses
from collections import Counter
from typing import Any

from eth_abi import encode
from eth_utils import keccak

from hpu.chain_integration.chain.allocation import ALLOCATIONS, SUPPLY
from hpu.chain_integration.chain.connect import Connection, connect
from hpu.chain_integration.chain.contract import Receipt
from hpu.chain_integration.chain.deploy import Deployment, deploy
from hpu.chain_integration.chain.errors import RevertedError
from hpu.chain_integration.fuzz.traces import Variant
from hpu.chain_integration.proofs.merkle import Tree
from hpu.chain_integration.roles.orders import Acceptance, Domain, Order

__all__ = ["HAI", "STATES", "Ground", "Placed"]

HAI = 10**18
DAY = 86400
GAS = 10_000_000
POWER = 10**12
#: A resource proof of an array of this size: rows of the right length, but of wrong numbers.
EDGE = 256
CYCLES = 10**5
ROWS = Tree.of([bytes(5 * EDGE)] * EDGE)
CONFIG, KEY, REGION = b"\x0c" * 32, b"\x0e" * 32, b"\x0f" * 32
_RESULT = "(bytes32,bytes32,(bytes32,bytes32),bytes32,bytes32,uint256)"

STATES = (
    *("UNKNOWN", "MATCHED", "COMMITTED", "REVEALED", "CONTESTED", "DISPUTED", "DEMANDED"),
    *("SETTLED", "EXPIRED", "REFUNDED", "CANCELLED"),
)


@dataclasses.dataclass
class Placed:
    """An order that was matched, and what its suppliers keep to themselves."""

    id: bytes
    order: Order
    suppliers: list[str]
    chosen: dict[str, tuple[Variant, int]] = dataclasses.field(default_factory=dict)
    agreed: set[str] = dataclasses.field(default_factory=set)
    claims: Variant | None = None
    challenges: int = 0

    def result(self, supplier: str) -> tuple[Any, ...]:
        """The struct ``Result`` that the supplier committed to."""
        variant, work = self.chosen[supplier]
        content = (self.order.model, self.order.input)
        return (*content, variant.outcome, b"\x05" * 32, b"\x06" * 32, work)

    def salt(self, supplier: str) -> bytes:
        """The supplier's secret."""
        return keccak(self.id + bytes.fromhex(supplier[2:]))

    def commitment(self, supplier: str) -> bytes:
        """What the supplier commits to."""
        kinds = ["bytes32", "address", _RESULT, "bytes32"]
        values = [self.id, supplier, self.result(supplier), self.salt(supplier)]
        return keccak(encode(kinds, values))


class Ground:
    """Deploys everything, gives everybody tokens and approvals, and registers five nodes."""

    def __init__(self) -> None:
        self.connection: Connection = connect()
        self.keys = {str(key.address): key for key in self.connection.accounts()}
        self.accounts = list(self.keys)
        begun = self.connection.time() - 8 * 365 * DAY
        self.contracts: Deployment = deploy(self.connection, self.accounts[0], start=begun)
        self.domain = Domain(self.connection.chain_id, self.contracts["market"].address)
        self.places = [contract.address for contract in self.contracts.contracts.values()]
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self._share_out()
        self._register()
        self.forget()

    def forget(self) -> None:
        """Start anew with an empty book of what happened."""
        self.placed: list[Placed] = []
        self.gifts: Counter[str] = Counter()
        self.proposals = 0

    def _share_out(self) -> None:
        first, *others = self.accounts
        self.must(first, "release_founders", "release")
        self.must(first, "release_foundation", "release")
        for account in others:
            self.must(first, "token", "transfer", account, 4_000_000 * HAI)
        for account in self.accounts:
            for name in ("market", "registry", "vote"):
                place = self.contracts[name].address
                self.must(account, "token", "approve", place, SUPPLY)
            self.must(account, "market", "deposit", 1_000_000 * HAI)

    def _register(self) -> None:
        nodes = self.accounts[4:9]
        for node in nodes:
            self.must(node, "registry", "register", offer(), 100_000 * HAI)
        for node in nodes:
            self.must(node, "resources", "challenge", EDGE)
        self.connection.mine(2)
        for node in nodes:
            self.must(node, "resources", "commit", ROWS.root, bytes(32), CYCLES, 10**8)
        for number, node in enumerate(nodes):
            for verifier in (nodes[number - 1], nodes[number - 2]):
                self.must(verifier, "resources", "accept", node, ROWS.root)
        self.connection.advance(3601)
        for node in nodes:
            self.must(node, "resources", "finish", node)

    def now(self) -> int:
        """Time of the latest block."""
        return self.connection.time()

    def do(self, account: str, contract: str, name: str, *arguments: Any) -> Receipt | None:
        """A transaction; nothing when the contract refuses it."""
        key = f"{contract}.{name}"
        try:
            receipt = self.contracts[contract].send(account, name, *arguments, gas=GAS)
        except RevertedError as error:
            self.refused[f"{key}: {error.reason}"] += 1
            return None
        self.done[key] += 1
        return receipt

    def must(self, account: str, contract: str, name: str, *arguments: Any) -> Receipt:
        """A transaction that the contract must take."""
        return self.contracts[contract].send(account, name, *arguments, gas=GAS)

    def ask(self, contract: str, name: str, *arguments: Any) -> Any:
        """A call."""
        return self.contracts[contract].call(name, *arguments)

    def state(self, placed: Placed) -> str:
        """Name of the order's state."""
        return STATES[self.ask("market", "job", placed.id)["state"]]

    def sign(self, order: Order, acceptances: list[Acceptance]) -> tuple[Any, ...]:
        """The arguments of a match."""
        return (
            order.values,
            order.sign(self.domain, self.keys[order.buyer]),
            [acceptance.values for acceptance in acceptances],
            [each.sign(self.domain, self.keys[each.supplier]) for each in acceptances],
        )


def offer(price: int = 2 * HAI) -> tuple[Any, ...]:
    """What a node registers with."""
    return CONFIG, KEY, REGION, POWER, price, "https://node.example.net:8443"


def releases() -> list[str]:
    """The contracts that hold the allocation."""
    return [allocation.contract for allocation in ALLOCATIONS]
