"""The retriever: takes orders, searches the resource table, asks suppliers, and matches.

States of an order in the journal:

    new (its content is awaited) → open → matched → done
                     ↓               ↓
                   failed          failed
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from hpu.chain_integration.chain.contract import Event
from hpu.chain_integration.chain.errors import RevertedError
from hpu.chain_integration.roles.base import BUSY, STAKE_FACTOR, Role, held, open_order, tend
from hpu.chain_integration.roles.content import Content
from hpu.chain_integration.roles.dashboard import dashboard
from hpu.chain_integration.roles.ledger import NodeRow, State
from hpu.chain_integration.roles.orders import Acceptance, Order, OrderError
from hpu.chain_integration.roles.telling import Telling
from hpu.chain_integration.store.http import (
    MALFORMED,
    PeerError,
    RefusalError,
    Reply,
    Request,
    answer_blob,
    call,
    reply_json,
)

__all__ = ["CANDIDATES", "Candidate", "Retriever", "ranked"]

#: Suppliers that a buyer seals an order's key to at most.
CANDIDATES = 8
#: Seconds of the chain's time after which a supplier that is still checking is passed over.
_PATIENCE = 120
#: Seconds after which the whole resource table is read again.
_REFRESH = 600
#: Reasons of the market after which an order cannot be matched any more.
_FINAL = ("buyer's balance", "has expired", "was matched", "buyer's signature", "owners ask")


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A node that could take an order. ``delay`` is its measured response time in seconds."""

    address: str
    node: NodeRow
    delay: float

    @property
    def worth(self) -> float:
        """Less is better: what a T·H costs, more for a bad rating and a slow answer."""
        return (1 + self.node.price) / max(self.node.rating, 1) * (1 + self.delay)


def ranked(
    nodes: list[tuple[str, NodeRow]], order: Order, delays: dict[str, float]
) -> list[Candidate]:
    """The nodes that may take ``order``, the best first."""
    return sorted(
        (
            Candidate(address, node, delays.get(address, 0.0))
            for address, node in nodes
            if node.power
            and order.config in (bytes(32), node.config)
            and order.region in (bytes(32), node.region)
            and node.price <= order.price
            and node.free >= STAKE_FACTOR * order.quote
        ),
        key=lambda candidate: (candidate.worth, candidate.address),
    )


class Retriever(Role):
    """See the module.

    Parameters
    ----------
    url:
        Where suppliers fetch the content of orders from.
    stopwatch:
        Seconds, to measure how long suppliers take to answer.
    """

    name = "retriever"

    def __init__(self, *, url: str, stopwatch: Callable[[], float] = time.monotonic, **common: Any):
        super().__init__(**common)
        self.url, self._stopwatch = url, stopwatch
        self.telling = Telling(self.ledger)
        self._delays: dict[str, float] = {}
        self._nodes: dict[str, NodeRow] = {}
        self._stale: set[str] = set()
        self._nodes_at = 0

    # Messages.

    def answer(self, request: Request) -> Reply:
        """Answer buyers and suppliers, and whoever looks at the dashboard."""
        if request.path.startswith("/blobs/"):
            return self._blob(request)
        if (request.method, request.path) == ("POST", "/orders"):
            return self._take_order(request.json)
        if (request.method, request.path) == ("POST", "/candidates"):
            return reply_json(self._candidates(request.json))
        if request.path.startswith("/orders/"):
            return reply_json(self._status(request.path.removeprefix("/orders/")))
        if request.path == "/nodes":
            return reply_json([self._row(*row) for row in self.nodes()])
        if request.path == "/":
            page = dashboard(self.telling.history, "HAI network")
            return Reply(page.encode(), type="text/html")
        return super().answer(request)

    def _blob(self, request: Request) -> Reply:
        reply = answer_blob(self.store, request, self._wanted)
        if request.method == "PUT":
            self.each("order", ("new",), self._open)
        return reply

    def _wanted(self, cid: str) -> bool:
        """Whether an order that its buyer can pay waits for this content."""
        return any(
            cid in data["content"].values()
            for _name, _state, data in self.journal.entries("order", "new")
        )

    def _take_order(self, message: Any) -> Reply:
        order, signature, name = open_order(self.ledger, message)
        known = self.journal.get("order", name.hex())
        if known is None:
            self._check(order, name)
            content = Content.from_json(message.get("content"))
            data = {
                "order": order.to_json(),
                "signature": signature,
                "content": content.to_json(),
                "keys": _keys(message.get("keys")),
                "asked": {},
                "refused": {},
                "accepted": {},
            }
            self.journal.add("order", name.hex(), "new", data, now=self.ledger.now())
            self._open(name.hex(), data)
        return reply_json(self._status(name.hex()), 202)

    def _check(self, order: Order, name: bytes) -> None:
        if self.ledger.job(name).state != 0:
            raise RefusalError("the order was matched or cancelled before.", 409)
        if self.ledger.balance(order.buyer) < held(order):
            raise RefusalError(
                f"the buyer's balance must be at least {held(order)} HAI-wei; deposit more.", 402
            )

    def _candidates(self, message: Any) -> list[dict[str, Any]]:
        order = Order.from_json(message)
        found = ranked(self.nodes(), order, self._delays)[:CANDIDATES]
        return [self._row(candidate.address, candidate.node) for candidate in found]

    def _row(self, address: str, node: NodeRow) -> dict[str, Any]:
        row = {key: _plain(value) for key, value in dataclasses.asdict(node).items()}
        return {"address": address, **row, "delay": self._delays.get(address)}

    def _status(self, name: str) -> dict[str, Any]:
        known = self.journal.get("order", name)
        if known is None:
            raise RefusalError("this order is not known here.", 404)
        state, data = known
        missing = [cid for cid in data["content"].values() if cid not in self.store]
        return {
            "id": name,
            "state": state,
            "missing": missing,
            "reason": data.get("reason", ""),
            "suppliers": list(data["accepted"]),
            "refused": data["refused"],
        }

    def nodes(self) -> list[tuple[str, NodeRow]]:
        """The resource table: rows are read again when an event names them, all now and then."""
        now = self.ledger.now()
        if now - self._nodes_at > _REFRESH:
            self._nodes, self._nodes_at = dict(self.ledger.nodes()), now
            self._stale.clear()
        while self._stale:
            address = self._stale.pop()
            self._nodes[address] = self.ledger.node(address)
        return list(self._nodes.items())

    # The chain.

    def take(self, event: Event) -> None:
        """Note matches, and which rows of the resource table are not as they were."""
        if event.name == "Matched":
            self.journal.move("order", event["id"].hex(), "open", "matched")
        elif event.address == self.ledger.contracts["registry"].address:
            self._stale.add(event["node"])

    def advance(self) -> None:
        """Match open orders, and see to it that matched ones end."""
        self.telling.update()
        self.each("order", ("new",), self._wait)
        self.each("order", ("open",), self._match)
        self.each("order", ("matched",), self._tend)

    def _wait(self, name: str, data: dict[str, Any]) -> None:
        if self.ledger.now() > int(data["order"]["expiry"]):
            self._fail(name, "new", "the order's content did not come before it expired.")

    def _open(self, name: str, data: dict[str, Any]) -> None:
        if all(cid in self.store for cid in data["content"].values()):
            self.journal.move("order", name, "new", "open")

    def _fail(self, name: str, before: str, reason: str) -> None:
        if self.journal.move("order", name, before, "failed", reason=reason):
            self._forget(name)
        self.log.info("order %s failed: %s", name[:10], reason)

    def _match(self, name: str, data: dict[str, Any]) -> None:
        """Ask suppliers until as many accept as the order wants, then match."""
        order, now = Order.from_json(data["order"]), self.ledger.now()
        if now > order.expiry:
            self._fail(name, "open", "no suppliers were found before the order expired.")
            return
        for address, signed in list(data["accepted"].items()):
            if now > int(signed["acceptance"]["expiry"]):
                del data["accepted"][address]
        self._ask_around(ranked(self.nodes(), order, self._delays), name, data, now)
        self.journal.note("order", name, **{k: data[k] for k in ("asked", "refused", "accepted")})
        if len(data["accepted"]) >= order.redundancy:
            self._send(name, order, data)

    def _ask_around(
        self, candidates: list[Candidate], name: str, data: dict[str, Any], now: int
    ) -> None:
        """Ask those again that were checking, then others until enough accept or are checking."""
        wanted = int(data["order"]["redundancy"])
        able = [each for each in candidates if each.address in data["keys"]]
        for candidate in sorted(able, key=lambda each: each.address not in data["asked"]):
            known = candidate.address in data["asked"]
            if known or len(data["accepted"]) + _checking(data, now) < wanted:
                self._ask(candidate, name, data, now)

    def _ask(self, candidate: Candidate, name: str, data: dict[str, Any], now: int) -> None:
        address = candidate.address
        if address in data["accepted"] or address in data["refused"]:
            return
        started = self._stopwatch()
        try:
            reply = call(self.wire, candidate.node.endpoint, "POST", "/offers", self._offer(data))
            self._note_reply(address, name, data, reply, now)
        except (RefusalError, OrderError) as error:
            if getattr(error, "status", 0) == BUSY:
                data["asked"].pop(address, None)
            else:
                data["refused"][address] = str(error)
        except PeerError as error:
            data["refused"][address] = str(error)
            self._delays[address] = max(1.0, 2 * self._delays.get(address, 0.0))
        except MALFORMED:
            data["refused"][address] = "its answer is none."
        else:
            passed = self._stopwatch() - started
            self._delays[address] = (3 * self._delays.get(address, passed) + passed) / 4

    def _note_reply(
        self, address: str, name: str, data: dict[str, Any], reply: Any, now: int
    ) -> None:
        data["asked"].setdefault(address, now)
        if reply.get("state") != "accepted":
            return
        acceptance = Acceptance.from_json(reply["acceptance"]["acceptance"])
        signature = bytes.fromhex(reply["acceptance"]["signature"])
        right = (bytes.fromhex(name), address, self.ledger.address)
        if (acceptance.order, acceptance.supplier, acceptance.retriever) != right:
            raise OrderError("the acceptance must be of this order, supplier and retriever.")
        if acceptance.signer(self.ledger.domain, signature) != address:
            raise OrderError("the acceptance's signature is not the supplier's.")
        data["accepted"][address] = reply["acceptance"]

    def _offer(self, data: dict[str, Any]) -> dict[str, Any]:
        return {
            "order": data["order"],
            "signature": data["signature"].hex(),
            "content": data["content"],
            "keys": data["keys"],
            "retriever": self.ledger.address,
            "url": self.url,
        }

    def _send(self, name: str, order: Order, data: dict[str, Any]) -> None:
        chosen = list(data["accepted"].items())[: order.redundancy]
        acceptances = [Acceptance.from_json(signed["acceptance"]).values for _a, signed in chosen]
        signatures = [bytes.fromhex(signed["signature"]) for _a, signed in chosen]
        try:
            self.ledger.market(
                "match_order", order.values, data["signature"], acceptances, signatures
            )
        except RevertedError as error:
            if self.ledger.job(bytes.fromhex(name)).state == 0:
                self._reconsider(name, data, error)
                return
        self.journal.move("order", name, "open", "matched")

    def _reconsider(self, name: str, data: dict[str, Any], error: RevertedError) -> None:
        """What the market refused is over, or is tried again with new acceptances."""
        if any(reason in error.reason for reason in _FINAL):
            self._fail(name, "open", f"{error.reason}.")
        else:
            self.journal.note("order", name, accepted={}, asked={})

    def _forget(self, name: str) -> None:
        """Delete the content of an order that is over."""
        known = self.journal.get("order", name)
        for cid in known[1]["content"].values() if known else ():
            self.store.delete(cid)

    def _tend(self, name: str, _data: dict[str, Any]) -> None:
        order = bytes.fromhex(name)
        job = self.ledger.job(order)
        if job.state in State.ENDS:
            self.journal.move("order", name, "matched", "done", ended=State.text(job.state))
            self._forget(name)
        else:
            tend(self.ledger, order, job, self.ledger.now())


def _checking(data: dict[str, Any], now: int) -> int:
    """Suppliers that are checking an order and have time left for it."""
    return sum(
        now - since <= _PATIENCE
        for address, since in data["asked"].items()
        if address not in data["accepted"] and address not in data["refused"]
    )


def _keys(found: Any) -> dict[str, str]:
    """The order's key, wrapped for each candidate.

    Raises
    ------
    RefusalError
        When it is something else.
    """
    if not isinstance(found, dict) or not 0 < len(found) <= CANDIDATES:
        raise RefusalError(f"an order's key must be wrapped for 1 to {CANDIDATES} suppliers.")
    return {str(address): bytes.fromhex(wrapped).hex() for address, wrapped in found.items()}


def _plain(value: Any) -> Any:
    return "0x" + value.hex() if isinstance(value, bytes) else value
