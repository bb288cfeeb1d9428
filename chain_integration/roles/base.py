"""What all roles have: a ledger, a journal, a store, messages, and steps."""

import logging
from collections.abc import Callable
from typing import Any

from hpu.chain_integration.chain.contract import Event
from hpu.chain_integration.chain.errors import ChainError, RevertedError, UnreachableError
from hpu.chain_integration.roles.journal import Journal
from hpu.chain_integration.roles.ledger import WATCHED, Job, Ledger, State, Watcher
from hpu.chain_integration.roles.metrics import Metrics
from hpu.chain_integration.roles.orders import Order
from hpu.chain_integration.roles.quarrel import call_time
from hpu.chain_integration.store.blobs import BlobStore
from hpu.chain_integration.store.http import RefusalError, Reply, Request, Wire, reply_json
from hpu.runtime.errors import HpuError

__all__ = ["BUSY", "Role", "contest", "held", "open_order", "order_name", "tend"]

#: The market's collateral of a buyer in basis points, and stake per quote; see market.vy.
BOND_RATE, STAKE_FACTOR = 500, 2
#: Status of a refusal that may be another one soon.
BUSY = 503


def order_name(order: bytes) -> str:
    """An order's id as text."""
    return order.hex()


def held(order: Order) -> int:
    """What the market locks of the buyer's balance at most: quotes, collateral, owners' fees."""
    quotes = order.quote * order.redundancy
    return quotes + quotes * BOND_RATE // 10000 + order.fees


def open_order(ledger: Ledger, data: Any) -> tuple[Order, bytes, bytes]:
    """A signed order in a message: the order, its signature, its id.

    Raises
    ------
    OrderError
        When it is none.
    RefusalError
        When the signature is not its buyer's, it has expired, or was matched or cancelled before.
    """
    if not isinstance(data, dict) or not isinstance(data.get("signature"), str):
        raise RefusalError("a message with an order must have its signature.")
    order = Order.from_json(data.get("order"))
    try:
        signature = bytes.fromhex(data["signature"].removeprefix("0x"))
    except ValueError:
        raise RefusalError("a signature must be hexadecimal.") from None
    if order.signer(ledger.domain, signature) != order.buyer:
        raise RefusalError("the order's signature is not its buyer's.", 403)
    if ledger.now() > order.expiry:
        raise RefusalError("the order has expired.", 410)
    return order, signature, order.digest(ledger.domain)


def tend(ledger: Ledger, order: bytes, job: Job, now: int) -> None:
    """Do what anybody may when an order's time is over, and draw its verifiers when it is time."""
    if job.state == State.REVEALED and now > job.ends:
        ledger.try_market("settle", [order])
    elif job.state not in State.ENDS and job.state != State.REVEALED and now > job.ends:
        ledger.try_market("expire", order)
    elif job.state == State.DISPUTED:
        call_time(ledger, order, now)
    elif job.state == State.CONTESTED:
        contest(ledger, order)
    elif job.state == State.REVEALED and not ledger.drawn(order):
        ledger.try_market("draw", order, contract="sampling")


def contest(ledger: Ledger, order: bytes) -> None:
    """Set two suppliers with different results against each other."""
    results = {
        supplier: result
        for supplier, result in ledger.results(order).items()
        if not ledger.share(order, supplier).removed
    }
    (accused, given), *others = results.items()
    for challenger, claimed in others:
        if claimed.outcome != given.outcome:
            content = (order, given.model, given.input)
            pair = (accused, given.outcome, challenger, claimed.outcome)
            ledger.try_market("contest", *content, *pair)
            return


class Role:
    """One role. It answers while it steps: only the journal makes one wait for the other, so two
    roles that ask each other in their steps both get their answers.

    Parameters
    ----------
    ledger, wire, store, journal:
        The chain as its account sees it, messages, content, and what it must not forget.
    """

    name = "role"

    def __init__(self, *, ledger: Ledger, wire: Wire, store: BlobStore, journal: Journal):
        self.ledger, self.wire, self.store, self.journal = ledger, wire, store, journal
        contracts = ledger.contracts
        self._watcher = Watcher(
            ledger.connection,
            [contracts[name] for name in WATCHED],
            journal,
            confirmations=ledger.connection.confirmations,
            first=contracts.block,
        )
        self.metrics = Metrics(self.name)
        self.log = logging.getLogger(f"hpu.{self.name}")

    def step(self) -> None:
        """Take in the chain's events, then do what is due for every order; never waits.

        Raises
        ------
        UnreachableError
            When the chain's node does not answer. What was done stays done.
        """
        for events in self._watcher.poll():
            with self.journal.step():
                for event in events:
                    self.take(event)
        self.advance()
        self._measure()

    def take(self, event: Event) -> None:
        """Note what an event means for this role; it may be told more than once."""

    def advance(self) -> None:
        """Do what is due."""

    def each(self, kind: str, states: tuple[str, ...], act: Callable[..., None]) -> None:
        """Call ``act(name, data)`` for the entries in these states; one failure stops no other.

        Raises
        ------
        UnreachableError
            When the chain's node does not answer: then no other would do better.
        """
        for name, _state, data in self.journal.entries(kind, *states):
            try:
                act(name, data)
            except UnreachableError:
                raise
            except (ChainError, HpuError) as error:
                self.metrics.failures.inc()
                self.log.warning("%s %s: %s", kind, name[:10], error)

    def handle(self, request: Request) -> Reply:
        """Answer a message.

        Raises
        ------
        RefusalError
            When it is not granted.
        """
        self.metrics.requests.inc()
        if request.path == "/metrics":
            return Reply(self.metrics.text(), type="text/plain")
        if request.path == "/health":
            return reply_json({"role": self.name, "account": self.ledger.address})
        return self.answer(request)

    def answer(self, request: Request) -> Reply:
        """Answer what is not common to all roles."""
        raise RefusalError(f"there is no {request.path}.", 404)

    def _measure(self) -> None:
        blocks = self.journal.blocks(1)
        self.metrics.block.set(blocks[0][0] if blocks else 0)
        self.metrics.stored.set(self.store.size)
        for state, count in self.journal.counts("order").items():
            self.metrics.orders.labels(state).set(count)

    def collect_earnings(self, least: int) -> None:
        """Withdraw the market's balance once it is at least ``least`` HAI-wei."""
        balance = self.ledger.balance()
        self.metrics.balance.set(balance / 1e18)
        if balance >= least > 0:
            try:
                self.ledger.market("withdraw", balance)
            except RevertedError as error:
                self.log.warning("withdrawal: %s", error)
