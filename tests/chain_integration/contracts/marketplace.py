"""A market with its registry on a chain in process, and what the tests of both do with it."""

import dataclasses
from pathlib import Path
from typing import Any

from eth_abi import encode
from eth_account.signers.local import LocalAccount
from eth_utils import keccak
from web3.utils.address import get_create_address

from hpu.chain_integration.chain.abi import Interface
from hpu.chain_integration.chain.compile import Artifact, compiled, compiled_source
from hpu.chain_integration.chain.connect import Connection, connect
from hpu.chain_integration.chain.contract import Contract, Receipt
from hpu.chain_integration.chain.send import sender_of
from hpu.chain_integration.roles.orders import Acceptance, Domain, Order

HAI = 10**18
SUPPLY = 10**10 * HAI
STAKE = 1000 * HAI
BALANCE = 10**6 * HAI
GAS = 8_000_000
CONFIG, KEY, REGION = b"\x0c" * 32, b"\x0e" * 32, b"\x0f" * 32
MODEL, INPUT = b"\x01" * 32, b"\x02" * 32
POWER = 10**12
RESULT = "(bytes32,bytes32,(bytes32,bytes32),bytes32,bytes32,uint256)"
(UNKNOWN, MATCHED, COMMITTED, REVEALED, CONTESTED, DISPUTED, DEMANDED, SETTLED, EXPIRED) = range(9)
REFUNDED, CANCELLED = 9, 10
ENDED, LATE, LIED = 1, 2, 4

#: A contract that owns contents and opens no dispute by itself: the test gives the verdicts.
COURT = """
# pragma version 0.4.3
struct Outcome:
    output: bytes32
    trace: bytes32

struct Dispute:
    order: bytes32
    model: bytes32
    input: bytes32
    accused: address
    challenger: address
    given: Outcome
    claimed: Outcome

interface IMarket:
    def resolve(id: bytes32, guilty: address, proven: bool): nonpayable

struct Terms:
    owner: address
    fee: uint256

terms: public(HashMap[bytes32, Terms])
opened: public(HashMap[bytes32, Dispute])
hasty: public(bool)

@external
def be_hasty():
    self.hasty = True

@external
def ask(content: bytes32, owner: address, fee: uint256):
    self.terms[content] = Terms(owner=owner, fee=fee)

@external
def open(dispute: Dispute):
    self.opened[dispute.order] = dispute
    if self.hasty:
        extcall IMarket(msg.sender).resolve(dispute.order, dispute.accused, True)

@external
def verdict(market: address, id: bytes32, guilty: address, proven: bool):
    extcall IMarket(market).resolve(id, guilty, proven)
"""


def offer(**changes: Any) -> tuple[Any, ...]:
    """What a node registers with."""
    fields = {
        "config": CONFIG,
        "key": KEY,
        "region": REGION,
        "capability": POWER,
        "price": 2 * HAI,
        "endpoint": "https://node-1.example.net:8443",
    }
    return tuple({**fields, **changes}.values())


def result(
    output: int = 1, work: int = HAI, model: bytes = MODEL, input: bytes = INPUT, trace: int = 1
) -> tuple[Any, ...]:
    """What a supplier reveals; ``output`` and ``trace`` stand for roots."""
    outcome = (bytes([output]) * 32, bytes([trace]) * 32)
    return (model, input, outcome, b"\x05" * 32, b"\x06" * 32, work)


def commitment(id: bytes, supplier: str, shown: tuple[Any, ...], salt: bytes) -> bytes:
    """What a supplier commits to before it reveals ``shown`` and ``salt``."""
    kinds = ["bytes32", "address", RESULT, "bytes32"]
    return keccak(encode(kinds, [id, supplier, shown, salt]))


@dataclasses.dataclass
class Marketplace:
    """The contracts, and accounts with tokens: everybody approved registry and market."""

    folder: Path
    chain: Connection = dataclasses.field(default_factory=connect)

    def __post_init__(self) -> None:
        self.keys = {account.address: account for account in self.chain.accounts()}
        self.accounts = list(self.keys)
        self.deployer, self.treasury, self.buyer, self.retriever, *self.nodes = self.accounts
        self.resources = self.deployer
        self.token = self.make("token", [self.deployer], [SUPPLY])
        court = self.folder / "court.vy"
        court.write_text(COURT)
        self.court = self._made(compiled_source(court))
        at = [get_create_address(self.deployer, 2 + k) for k in range(5)]  # type: ignore[arg-type]
        registry, orders, openings, sampling, market = at
        token, court = self.token.address, self.court.address
        self.registry = self.make("registry", token, market, self.resources, court)
        self.orders = self.make("orders", market, registry)
        self.openings = self.make("openings")
        self.sampling = self.make("sampling", market, registry)
        others = (token, registry, orders, court, court, openings, sampling, self.treasury)
        self.market = self.make("market", *others)
        assert self.market.address == market
        self.domain = Domain(self.chain.chain_id, market)
        for account in self.accounts[1:]:
            self.do(self.token, self.deployer, "transfer", account, SUPPLY // 10)
        for account in self.accounts:
            self.do(self.token, account, "approve", registry, SUPPLY)
            self.do(self.token, account, "approve", market, SUPPLY)

    def make(self, name: str, *arguments: Any) -> Contract:
        """Create a contract."""
        return self._made(compiled(name), *arguments)

    def _made(self, artifact: Artifact, *arguments: Any) -> Contract:
        code = artifact.bytecode + Interface(artifact.title, artifact.abi).constructor.encode(
            arguments
        )
        raw = sender_of(self.chain, self.deployer).send(None, code, GAS)
        return Contract(self.chain, artifact, raw["contractAddress"])

    def do(self, contract: Contract, account: str, name: str, *arguments: Any) -> Receipt:
        """A transaction of ``account``."""
        return contract.send(account, name, *arguments, gas=GAS)

    # Nodes.

    def register(self, account: str, stake: int = STAKE, power: int = POWER, **fields: Any) -> str:
        """Enter a node in the table, with a resource proof that lasts for a year."""
        self.do(self.registry, account, "register", offer(**fields), stake)
        if power:
            self.prove(account, power)
        return account

    def prove(self, account: str, power: int = POWER, seconds: int = 365 * 86400) -> None:
        self.do(self.registry, self.resources, "prove", account, power, self.now + seconds)

    @property
    def now(self) -> int:
        """Time of the latest block."""
        return self.chain.time()

    # Orders.

    def order(self, **changes: Any) -> Order:
        """An order of the buyer's that expires in an hour."""
        fields = {
            "buyer": self.buyer,
            "model": MODEL,
            "config": CONFIG,
            "input": INPUT,
            "region": REGION,
            "redundancy": 1,
            "price": 3 * HAI,
            "quote": 100 * HAI,
            "fees": 0,
            "deadline": 1000,
            "expiry": self.now + 3600,
            "salt": 1,
        }
        return Order(**{**fields, **changes})

    def acceptance(self, order: Order, supplier: str, **changes: Any) -> Acceptance:
        """A supplier's acceptance, for the retriever, at 2 HAI a T·H."""
        fields = {
            "order": order.digest(self.domain),
            "supplier": supplier,
            "retriever": self.retriever,
            "price": 2 * HAI,
            "expiry": self.now + 3600,
        }
        return Acceptance(**{**fields, **changes})

    def key(self, account: str) -> LocalAccount:
        return self.keys[account]

    def match_arguments(
        self, order: Order, acceptances: list[Acceptance]
    ) -> tuple[Any, bytes, Any, list[bytes]]:
        """All signed as it should be."""
        return (
            order.values,
            order.sign(self.domain, self.key(order.buyer)),
            [acceptance.values for acceptance in acceptances],
            [a.sign(self.domain, self.key(a.supplier)) for a in acceptances],
        )

    def match(self, order: Order, suppliers: list[str], prices: list[int] | None = None) -> bytes:
        """Match an order; the id."""
        acceptances = [
            self.acceptance(order, supplier, price=price)
            for supplier, price in zip(suppliers, prices or [2 * HAI] * len(suppliers), strict=True)
        ]
        arguments = self.match_arguments(order, acceptances)
        self.do(self.market, self.retriever, "match_order", *arguments)
        return order.digest(self.domain)

    def commit(self, id: bytes, supplier: str, shown: tuple[Any, ...]) -> None:
        sealed = commitment(id, supplier, shown, b"\x07" * 32)
        self.do(self.market, supplier, "commit", id, sealed)

    def reveal(self, id: bytes, supplier: str, shown: tuple[Any, ...]) -> None:
        self.do(self.market, supplier, "reveal", id, shown, b"\x07" * 32)

    def deliver(self, id: bytes, shown: dict[str, tuple[Any, ...]]) -> None:
        """All suppliers commit and reveal."""
        for supplier, what in shown.items():
            self.commit(id, supplier, what)
        for supplier, what in shown.items():
            self.reveal(id, supplier, what)

    def state(self, id: bytes) -> int:
        return self.job(id)["state"]

    def job(self, id: bytes) -> dict[str, Any]:
        """The order's fields by name."""
        return self.market.call("job", id)

    def after(self, seconds: int) -> None:
        """Let time pass."""
        self.chain.advance(seconds)

    def at(self, time: int) -> None:
        """The next transaction is in a block of this time."""
        self.chain.request("evm_setNextBlockTimestamp", time)

    # Money.

    def balance(self, account: str) -> int:
        """What an account has in the market."""
        return self.market.call("balances", account)

    def stake(self, node: str) -> tuple[int, int]:
        """A node's whole stake, and what of it is locked."""
        row = self.registry.call("node", node)
        return row["stake"], row["locked"]

    def check_money(self, orders: list[bytes]) -> None:
        """Every token that market and registry hold belongs to somebody."""
        owed = sum(self.balance(account) for account in self.accounts)
        owed += sum(self.market.call("held", id) for id in orders)
        assert self.token.call("balanceOf", self.market.address) == owed
        staked = sum(self.stake(account)[0] for account in self.accounts)
        staked += sum(self.registry.call("unbonding", account)[0] for account in self.accounts)
        assert self.token.call("balanceOf", self.registry.address) == staked
