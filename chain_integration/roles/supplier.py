"""The supplier: accepts orders that pay, computes them on its HPU, and proves what it did.

States of an order in the journal:

    checking → accepted → matched → computed → committed → revealed → done
        ↓          ↓
     refused     lapsed (→ accepted again)

Only the chain decides what is due; the journal holds what must not be computed or drawn twice (the
result with its salt) and what the chain does not hold (content, keys).
"""

import dataclasses
import os
from typing import Any

from hpu.chain_integration.chain.contract import Event
from hpu.chain_integration.roles.availability import show
from hpu.chain_integration.roles.base import BUSY, STAKE_FACTOR, held, open_order, tend
from hpu.chain_integration.roles.content import (
    INPUT,
    MODEL,
    OUTPUT,
    Content,
    decode_tensors,
    encode_tensors,
)
from hpu.chain_integration.roles.engine import Work
from hpu.chain_integration.roles.ledger import Result, State
from hpu.chain_integration.roles.orders import Acceptance, KeyRequest, Order
from hpu.chain_integration.roles.quarrel import play
from hpu.chain_integration.roles.verifier import Verifier, time_seed
from hpu.chain_integration.store.cid import ContentError
from hpu.chain_integration.store.http import (
    PeerError,
    RefusalError,
    Reply,
    Request,
    fetch,
    reply_json,
)
from hpu.chain_integration.store.seal import SealError, open_sealed, seal, wrap
from hpu.runtime.errors import HpuError

__all__ = ["Supplier", "Terms"]


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a supplier takes.

    Parameters
    ----------
    most_orders:
        Orders that it has accepted or works on at the same time at most.
    least_deadline:
        Seconds that an order must give at least.
    offer:
        Seconds for which an acceptance holds.
    withdraw:
        HAI-wei of earnings from which on they are withdrawn; 0 for never.
    """

    most_orders: int = 8
    least_deadline: int = 10
    offer: int = 600
    withdraw: int = 0


class Supplier(Verifier):
    """See the module. It also verifies what it is drawn for."""

    name = "supplier"

    def __init__(self, *, terms: Terms | None = None, **common: Any):
        super().__init__(**common)
        self.terms = terms or Terms()

    # Messages.

    def answer(self, request: Request) -> Reply:
        """Answer retrievers, buyers and verifiers."""
        parts = request.path.strip("/").split("/")
        if (request.method, request.path) == ("POST", "/offers"):
            return self._offer(request.json)
        if parts[0] == "orders" and len(parts) == 2:
            return reply_json(self._status(parts[1]))
        if parts[0] == "orders" and len(parts) == 3 and parts[2] == "key":
            return reply_json(self._give_key(parts[1], request.json))
        return super().answer(request)

    def _offer(self, message: Any) -> Reply:
        order, signature, name = open_order(self.ledger, message)
        known = self.journal.get("order", name.hex())
        if known is None:
            return self._consider(order, signature, name.hex(), message)
        state, data = known
        if state == "refused":
            raise RefusalError(data["reason"], 409)
        if state == "checking":
            return reply_json({"state": "checking"}, 202)
        if state == "lapsed" or (state == "accepted" and self._is_over(data)):
            self._check_terms(order)
            self._accept(name.hex(), data, state)
            _state, data = self.journal.get("order", name.hex()) or known
        elif state != "accepted":
            raise RefusalError("the order is under way or over already.", 409)
        if data["retriever"] != message.get("retriever"):
            raise RefusalError("another retriever has this order's acceptance.", 409)
        return reply_json({"state": "accepted", "acceptance": data["acceptance"]})

    def _consider(self, order: Order, signature: bytes, name: str, message: Any) -> Reply:
        content = Content.from_json(message.get("content"))
        wrapped = bytes.fromhex(str(message.get("keys", {}).get(self.ledger.address, "")))
        self._check_terms(order)
        self._key(wrapped)
        data = {
            "order": order.to_json(),
            "content": content.to_json(),
            "wrapped": wrapped,
            "retriever": str(message.get("retriever")),
            "url": str(message.get("url")),
        }
        self.journal.add("order", name, "checking", data, now=self.ledger.now())
        return reply_json({"state": "checking"}, 202)

    def _check_terms(self, order: Order) -> None:
        """Refuse what does not pay, or what this node cannot take on.

        Raises
        ------
        RefusalError
            With the reason.
        """
        ledger, node = self.ledger, self.ledger.node()
        name = order.digest(ledger.domain)
        open_ones = self.journal.entries("order", "checking", "accepted", "matched", "computed")
        stakes = sum(STAKE_FACTOR * int(data["order"]["quote"]) for _n, state, data in open_ones
                     if state in ("checking", "accepted"))  # fmt: skip
        if len(open_ones) >= self.terms.most_orders:
            raise RefusalError("the node has as many orders as it takes.", BUSY)
        if node.free < stakes + STAKE_FACTOR * order.quote:
            raise RefusalError("the node has too little free stake.", BUSY)
        least = self.terms.least_deadline
        refusals = {
            "the order is for another configuration": order.config not in (bytes(32), node.config),
            "the order is for another region": order.region not in (bytes(32), node.region),
            f"the price must be at least {node.price} a T·H": order.price < node.price,
            f"the deadline must be at least {least} seconds": order.deadline < least,
            "the node has no valid resource proof": node.power == 0,
            "the buyer's balance is too small": ledger.balance(order.buyer) < held(order),
            "the order was matched or cancelled before": ledger.job(name).state != 0,
        }
        for reason, found in refusals.items():
            if found:
                raise RefusalError(f"{reason}.", 409)

    def _status(self, name: str) -> dict[str, Any]:
        known = self.journal.get("order", name)
        if known is None:
            raise RefusalError("this order is not known here.", 404)
        return {"state": known[0], "content": known[1]["content"]}

    def _give_key(self, name: str, message: Any) -> dict[str, Any]:
        """The order's key for a verifier that was drawn for it."""
        known = self.journal.get("order", name)
        if known is None:
            raise RefusalError("this order is not known here.", 404)
        request = KeyRequest.from_json(message.get("request"))
        signature = bytes.fromhex(str(message.get("signature")).removeprefix("0x"))
        if request.signer(self.ledger.domain, signature) != request.verifier:
            raise RefusalError("the request's signature is not the verifier's.", 403)
        order = bytes.fromhex(name)
        if request.order != order or request.verifier not in self.ledger.verifiers(order):
            raise RefusalError("the account is no verifier of this order.", 403)
        public = self.ledger.node(request.verifier).key
        wrapped = wrap(self._key(known[1]["wrapped"]), public)
        return {"key": wrapped.hex(), "content": known[1]["content"]}

    # The chain.

    def take(self, event: Event) -> None:
        """Note that an order was matched to this node, or what its buyer demands."""
        super().take(event)
        if event.name == "Matched" and self.ledger.address in event["suppliers"]:
            name = event["id"].hex()
            for before in ("accepted", "lapsed"):
                self.journal.move("order", name, before, "matched", block=event.block)

    def advance(self) -> None:
        """Check, compute, commit, reveal and be paid, as far as each order allows."""
        super().advance()
        self.each("order", ("checking",), self._check)
        self.each("order", ("accepted",), self._lapse)
        self.each("order", ("lapsed",), self._drop)
        self.each("order", ("matched", "computed", "committed", "revealed"), self._pursue)
        self.collect_earnings(self.terms.withdraw)

    def _check(self, name: str, data: dict[str, Any]) -> None:
        """Fetch an order's content, see that it is what the order says, and accept or refuse."""
        order = Order.from_json(data["order"])
        if self.ledger.now() > order.expiry:
            self._refuse(name, "the order has expired.")
            return
        try:
            self._fetch(data)
            model, tensors = self._content(data)
        except PeerError:
            return  # the retriever may answer later
        except (ContentError, SealError) as error:
            self._refuse(name, str(error))
            return
        job = f"check {name}"
        try:
            found = self.jobs.result(job, lambda: self.engine.roots(model, tensors))
        except HpuError as error:
            self._refuse(name, str(error))
            return
        if found is None:
            return
        self.jobs.forget(job)
        if found != (order.model, order.input):
            self._refuse(name, "the content is not what the order's roots say.")
            return
        self._accept(name, data, "checking")

    def _refuse(self, name: str, reason: str) -> None:
        for before in ("checking", "lapsed"):
            if self.journal.move("order", name, before, "refused", reason=reason):
                self._forget(name)
        self.log.info("order %s refused: %s", name[:10], reason)

    def _accept(self, name: str, data: dict[str, Any], before: str) -> None:
        ledger = self.ledger
        order = Order.from_json(data["order"])
        expiry = min(order.expiry, ledger.now() + self.terms.offer)
        acceptance = Acceptance(
            bytes.fromhex(name), ledger.address, data["retriever"], ledger.node().price, expiry
        )
        signature = acceptance.sign(ledger.domain, ledger.account)
        signed = {"acceptance": acceptance.to_json(), "signature": signature.hex()}
        self.journal.move("order", name, before, "accepted", acceptance=signed, now=ledger.now())

    def _lapse(self, name: str, data: dict[str, Any]) -> None:
        """Free the place of an order that nobody matched in time."""
        if self._is_over(data) and self.ledger.job(bytes.fromhex(name)).state == 0:
            self.journal.move("order", name, "accepted", "lapsed")

    def _drop(self, name: str, data: dict[str, Any]) -> None:
        if self.ledger.now() > int(data["order"]["expiry"]):
            self._refuse(name, "the order has expired.")

    def _is_over(self, data: dict[str, Any]) -> bool:
        return self.ledger.now() > int(data["acceptance"]["acceptance"]["expiry"])

    def _pursue(self, name: str, data: dict[str, Any]) -> None:
        """Do what the order's state on the chain asks of this supplier."""
        order, now = bytes.fromhex(name), self.ledger.now()
        job = self.ledger.job(order)
        if job.state in State.ENDS:
            self._finish(name)
        elif job.state == State.MATCHED and now <= job.ends:
            self._deliver(name, data, order)
        elif job.state == State.COMMITTED and now <= job.ends:
            self._reveal(name, data, order)
        elif job.state == State.DEMANDED and now <= job.ends:
            self._show(name, data, order)
        elif job.state == State.DISPUTED and now <= job.ends:
            self._defend(name, data, order)
        else:
            tend(self.ledger, order, job, now)

    def _finish(self, name: str) -> None:
        for before in ("matched", "computed", "committed", "revealed"):
            if self.journal.move("order", name, before, "done"):
                self._forget(name)

    def _forget(self, name: str) -> None:
        """Delete model and input of an order that is over; the result is kept for its buyer."""
        known = self.journal.get("order", name)
        for cid in known[1]["content"].values() if known else ():
            self.store.delete(cid)

    def _deliver(self, name: str, data: dict[str, Any], order: bytes) -> None:
        """Compute, and commit to the result; a device that cannot makes the node give up."""
        if self.ledger.share(order).committed:
            return
        if "result" not in data:
            try:
                found = self._compute(name, data)
            except HpuError as error:
                self.log.error("order %s given up: %s", name[:10], error)
                self.ledger.try_market("give_up", order)
                return
            if found is None:
                return
            data = data | found
        result = Result.from_entry(data["result"])
        self.ledger.market(
            "commit", order, result.commitment(order, self.ledger.address, data["salt"])
        )
        self.journal.move("order", name, "computed", "committed")

    def _compute(self, name: str, data: dict[str, Any]) -> dict[str, Any] | None:
        """The result, kept with its salt before anybody hears of it."""
        model, tensors = self._content(data)
        seed = time_seed(self.ledger.connection, bytes.fromhex(name), data["block"])
        job = lambda: self.engine.run(model, tensors, seed)  # noqa: E731
        work: Work | None = self.jobs.result(name, job)
        if work is None:
            return None
        self.metrics.seconds.inc(work.seconds)
        key = self._key(data["wrapped"])
        sealed = self.store.put(seal(key, encode_tensors(work.outputs), OUTPUT))
        self.store.put(work.usage.document, "dag-cbor")
        result = Result(
            model=work.network.root,
            input=work.network.input_root(tensors),
            output=work.outcome[0],
            trace=work.outcome[1],
            usage=work.usage.root,
            sealed=bytes(sealed.raw_digest),
            work=work.usage.work,
        )
        changes: dict[str, Any] = {"result": result.to_entry(), "salt": os.urandom(32)}
        self.journal.move("order", name, "matched", "computed", **changes)
        self.jobs.forget(name)
        return changes

    def _reveal(self, name: str, data: dict[str, Any], order: bytes) -> None:
        if self.ledger.share(order).work == 0 and "result" in data:
            self.ledger.market(
                "reveal", order, Result.from_entry(data["result"]).values, data["salt"]
            )
        for before in ("computed", "committed"):
            self.journal.move("order", name, before, "revealed")

    def _show(self, name: str, data: dict[str, Any], order: bytes) -> None:
        """Answer a buyer's demand for a part of the output, when it is for this supplier."""
        demand = self.ledger.events(order, "Demanded")[-1]
        if demand["supplier"] != self.ledger.address or "result" not in data:
            return
        trace = self._trace(f"demand {name}", *self._content(data))
        if trace is not None:
            wanted = demand["wanted"]
            shown = show(trace, wanted["tensor"], wanted["first"], wanted["leaves"])
            outcome = Result.from_entry(data["result"]).outcome
            self.ledger.market("answer", order, outcome, shown)

    def _defend(self, name: str, data: dict[str, Any], order: bytes) -> None:
        """Make the next move of a dispute that this supplier is a party of."""
        play(self.ledger, order, lambda: self._trace(f"dispute {name}", *self._content(data)))

    # Content.

    def _key(self, wrapped: bytes) -> bytes:
        return self.reader.unwrap(wrapped)

    def _fetch(self, data: dict[str, Any]) -> None:
        for cid in data["content"].values():
            if cid not in self.store:
                self.store.put_as(cid, fetch(self.wire, data["url"], cid, self.store.max_blob))

    def _content(self, data: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        """The order's model and input, opened."""
        key = self._key(data["wrapped"])
        model = open_sealed(key, self.store.get(data["content"][MODEL]), MODEL)
        tensors = open_sealed(key, self.store.get(data["content"][INPUT]), INPUT)
        return model, decode_tensors(tensors)
