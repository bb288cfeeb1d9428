"""The buyer: orders a computation, gets the result or the money back.

States of an order in the journal:

    signed → matched → fetched → done
        ↓        ↓         ↓
      over     over      done

``over`` means that there will be no result, and that the escrow came back or was never locked.
"""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpu.chain_integration.chain.contract import Event
from hpu.chain_integration.roles.availability import assembled, parts
from hpu.chain_integration.roles.base import Role, held, order_name, tend
from hpu.chain_integration.roles.content import (
    INPUT,
    MODEL,
    OUTPUT,
    decode_tensors,
    encode_tensors,
    sealed_cid,
)
from hpu.chain_integration.roles.engine import Network, model_document, read_network
from hpu.chain_integration.roles.ledger import Job, Result, State
from hpu.chain_integration.roles.orders import Order
from hpu.chain_integration.store.cid import ContentError, cid_text
from hpu.chain_integration.store.http import (
    MALFORMED,
    PeerError,
    RefusalError,
    Request,
    call,
    fetch,
)
from hpu.chain_integration.store.seal import Reader, SealError, new_key, open_sealed, seal, wrap
from hpu.runtime.errors import HpuError
from hpu.runtime.source import configuration

__all__ = ["Buyer", "BuyerError", "Wish"]

#: Seconds of the chain's time for one retriever to match an order, before the next one is asked.
_PATIENCE = 300
#: Seconds after which an output that cannot be fetched is demanded on the chain.
_UNAVAILABLE = 600
#: Seconds that drawn verifiers have before the buyer confirms without them.
_VERIFICATION = 1800


class BuyerError(HpuError):
    """An order that cannot be placed, or has no result to fetch."""


@dataclasses.dataclass(frozen=True)
class Wish:
    """Terms of an order; amounts in HAI-wei.

    ``price``: most per T·H. ``quote``: most per supplier. ``fees``: most for the owners of model
    and input. ``deadline``: seconds to compute. ``patience``: seconds to find suppliers.
    """

    price: int
    quote: int
    config: str = "hai-v1"
    redundancy: int = 1
    fees: int = 0
    region: str = ""
    deadline: int = 600
    patience: int = 3600


class Buyer(Role):
    """See the module.

    Parameters
    ----------
    retrievers:
        Where retrievers answer; when one does not, the next one is asked.
    """

    name = "buyer"

    def __init__(self, *, retrievers: Sequence[str], **common: Any):
        super().__init__(**common)
        self.retrievers = list(retrievers)
        self.reader = Reader(bytes(self.ledger.account.key))

    # Placing.

    def submit(self, model: bytes, feeds: Mapping[str, Any], wish: Wish) -> bytes:
        """Order ``model`` (ONNX, quantised) on ``feeds``; the order's id.

        The order is signed and kept here; :meth:`step` gives it to a retriever and does the rest.

        Raises
        ------
        HpuError
            When the model or the feeds cannot be used.
        BuyerError
            When the balance in the market is too small, or no retriever knows a supplier.
        """
        document = model_document(model, feeds)
        network = read_network(document, configuration(wish.config))
        tensors = network.quantised(feeds)
        order = self._order(network, tensors, wish)
        needed = held(order)
        if self.ledger.balance() < needed:
            raise BuyerError(
                f"the order needs {needed / 1e18:g} HAI in the market (quotes, collateral, fees) "
                f"and there are {self.ledger.balance() / 1e18:g}; deposit more."
            )
        key = new_key()
        data = {
            "order": order.to_json(),
            "signature": order.sign(self.ledger.domain, self.ledger.account).hex(),
            "content": {
                MODEL: cid_text(self.store.put(seal(key, document, MODEL))),
                INPUT: cid_text(self.store.put(seal(key, encode_tensors(tensors), INPUT))),
            },
            "key": wrap(key, self.reader.public),
            "keys": self._keys_for(order, key),
            "config": wish.config,
            "asked": {},
        }
        name = order.digest(self.ledger.domain)
        self.journal.add("order", order_name(name), "signed", data, now=self.ledger.now())
        return name

    def _order(self, network: Network, tensors: dict[str, np.ndarray], wish: Wish) -> Order:
        return Order(
            buyer=self.ledger.address,
            model=network.root,
            config=network.config.digest(),
            input=network.input_root(tensors),
            region=wish.region.encode().ljust(32, b"\0"),
            redundancy=wish.redundancy,
            price=wish.price,
            quote=wish.quote,
            fees=wish.fees,
            deadline=wish.deadline,
            expiry=self.ledger.now() + wish.patience,
            salt=int.from_bytes(os.urandom(32), "big"),
        )

    def _keys_for(self, order: Order, key: bytes) -> dict[str, str]:
        """The key wrapped for suppliers that retrievers propose, their keys read from the chain."""
        problem = "no retriever is known"
        for url in self.retrievers:
            try:
                found = call(self.wire, url, "POST", "/candidates", order.to_json())
                rows = [(row["address"], self.ledger.node(row["address"])) for row in found]
                addresses = {address: wrap(key, row.key).hex() for address, row in rows}
            except MALFORMED:
                problem = f"{url} proposes what are no nodes"
                continue
            except HpuError as error:
                problem = str(error).rstrip(".")
                continue
            if len(addresses) >= order.redundancy:
                return addresses
            problem = f"only {len(addresses)} suppliers would take it"
        raise BuyerError(f"the order cannot be placed: {problem}.")

    def cancel(self, order: bytes) -> None:
        """Take an order back that is not matched yet.

        Raises
        ------
        RevertedError
            When it was matched before.
        """
        self.ledger.market("cancel", self._entry(order).values)

    def _entry(self, order: bytes) -> Order:
        return Order.from_json(self._known(order)[1]["order"])

    def _known(self, order: bytes) -> tuple[str, dict[str, Any]]:
        found = self.journal.get("order", order_name(order))
        if found is None:
            raise BuyerError(f"order {order_name(order)} is not one of this buyer's.")
        return found

    # The chain.

    def take(self, event: Event) -> None:
        """Note that an order of this buyer was matched."""
        if event.name == "Matched" and event["buyer"] == self.ledger.address:
            self.journal.move("order", event["id"].hex(), "signed", "matched")
        elif event.name == "Cancelled" and event["buyer"] == self.ledger.address:
            self.journal.move("order", event["id"].hex(), "signed", "over", reason="cancelled")

    def advance(self) -> None:
        """Give orders to retrievers, fetch results, confirm, and end what is late."""
        self.each("order", ("signed",), self._place)
        self.each("order", ("matched", "fetched"), self._pursue)

    def _place(self, name: str, data: dict[str, Any]) -> None:
        """Post the order to a retriever, to the next one when it is not matched for too long."""
        now = self.ledger.now()
        if now > int(data["order"]["expiry"]):
            self.journal.move("order", name, "signed", "over", reason="nobody matched it in time")
            return
        for url in self.retrievers:
            since = data["asked"].get(url)
            if since is not None and now - since > _PATIENCE:
                continue
            try:
                self._post(url, data)
            except (PeerError, RefusalError, *MALFORMED) as error:
                self.log.info("order %s at %s: %s", name[:10], url, error)
                continue
            if since is None:
                data["asked"][url] = now
                self.journal.note("order", name, asked=data["asked"])
            return

    def _post(self, url: str, data: dict[str, Any]) -> None:
        message = {key: data[key] for key in ("order", "signature", "content", "keys")}
        reply = call(self.wire, url, "POST", "/orders", message)
        if reply["state"] == "failed":
            raise RefusalError(reply["reason"])
        for cid in reply["missing"]:
            if cid in data["content"].values():
                put = Request("PUT", f"/blobs/{cid}", self.store.get(cid))
                if self.wire.request(url, put).status != 201:
                    raise PeerError(f"{url} did not take {cid}.")

    def _pursue(self, name: str, data: dict[str, Any]) -> None:
        order, now = bytes.fromhex(name), self.ledger.now()
        job = self.ledger.job(order)
        if job.state == State.SETTLED:
            self._settled(name, data, order)
        elif job.state in State.ENDS:
            self.journal.move("order", name, "matched", "over", reason=State.text(job.state))
            self.journal.move("order", name, "fetched", "over", reason=State.text(job.state))
        elif job.state == State.REVEALED and now <= job.ends:
            if self._get(name, data, order):
                if self._is_verified(name, data, order, job, now) and self.ledger.try_market(
                    "confirm", order
                ):
                    self.journal.move("order", name, "fetched", "done")
            else:
                self._demand(name, data, order, now)
        else:
            tend(self.ledger, order, job, now)

    def _is_verified(
        self, name: str, data: dict[str, Any], order: bytes, job: Job, now: int
    ) -> bool:
        """Whether a drawn verifier stands by the result, there is none, or none came in time."""
        since = data.get("revealed", now)
        self.journal.note("order", name, revealed=since)
        if not self.ledger.drawn(order):
            self.ledger.try_market("draw", order, contract="sampling")
            return False
        return job.agreed > 0 or not self.ledger.verifiers(order) or now - since > _VERIFICATION

    def _settled(self, name: str, data: dict[str, Any], order: bytes) -> None:
        """Paid already; the result is still wanted."""
        if self._get(name, data, order):
            self.journal.move("order", name, "fetched", "done")

    def _get(self, name: str, data: dict[str, Any], order: bytes) -> bool:
        """Have the sealed output here: that of any supplier, when it is what was revealed."""
        if "output" in data:
            return True
        for supplier, result in self.ledger.results(order).items():
            if not self._stands(order, supplier):
                continue
            try:
                cid = cid_text(sealed_cid(result.sealed))
                sealed = fetch(self.wire, self.ledger.node(supplier).endpoint, cid)
                self._check_output(data, sealed, result)
                self.store.put_as(cid, sealed)
            except (PeerError, ContentError, SealError, BuyerError) as error:
                self.log.warning("order %s, %s: %s", name[:10], supplier, error)
                continue
            return self.journal.move("order", name, "matched", "fetched", output=cid)
        return False

    def _check_output(self, data: dict[str, Any], sealed: bytes, result: Result) -> None:
        tensors = decode_tensors(open_sealed(self._key(data), sealed, OUTPUT))
        network = self._network(data)
        network.check_outputs(tensors)
        if network.output_root(tensors) != result.output:
            raise BuyerError("the output is not what the supplier revealed.")

    def _demand(self, name: str, data: dict[str, Any], order: bytes, now: int) -> None:
        """Have a supplier show the output on the chain, after a while without it."""
        since = data.setdefault("missing", now)
        self.journal.note("order", name, missing=since)
        if now - since < _UNAVAILABLE:
            return
        suppliers = [who for who in self.ledger.results(order) if self._stands(order, who)]
        shapes = self._network(data).output_shapes
        answers = self._answers(order, suppliers[0])
        sizes = {tensor: math.prod(shape) for tensor, shape in shapes.items()}
        left = [part for part in parts(sizes) if part not in answers]
        if left:
            wanted = dict(zip(("tensor", "first", "leaves"), left[0], strict=True))
            self.ledger.market("demand", order, suppliers[0], wanted)
            return
        document = encode_tensors(assembled(shapes, answers))
        cid = self.store.put(seal(self._key(data), document, OUTPUT))
        self.journal.move("order", name, "matched", "fetched", output=cid_text(cid))

    def _stands(self, order: bytes, supplier: str) -> bool:
        return not self.ledger.share(order, supplier).removed

    def _answers(self, order: bytes, supplier: str) -> dict[tuple[int, int, int], bytes]:
        """What a supplier showed on the chain, by the part that was demanded."""
        asked = [event for event in self.ledger.events(order, "Demanded")]
        shown = [event for event in self.ledger.events(order, "Answered")]
        pairs = zip(asked, shown, strict=False)
        return {
            tuple(demand["wanted"][key] for key in ("tensor", "first", "leaves")): answer["data"]
            for demand, answer in pairs
            if demand["supplier"] == supplier
        }  # type: ignore[misc]

    def _network(self, data: dict[str, Any]) -> Network:
        document = open_sealed(self._key(data), self.store.get(data["content"][MODEL]), MODEL)
        return read_network(document, configuration(data["config"]))

    def _key(self, data: dict[str, Any]) -> bytes:
        return self.reader.unwrap(data["key"])

    # Results.

    def status(self, order: bytes) -> dict[str, Any]:
        """State here and on the chain, suppliers, and the reason when there will be no result."""
        state, data = self._known(order)
        job = self.ledger.job(order)
        return {
            "id": order_name(order),
            "state": state,
            "chain": State.text(job.state),
            "reason": data.get("reason", ""),
            "ends": job.ends,
        }

    def fetch(self, order: bytes) -> dict[str, np.ndarray]:
        """The outputs by name, as a session gives them.

        Raises
        ------
        BuyerError
            When there is no result yet, or will be none.
        """
        state, data = self._known(order)
        if "output" not in data:
            why = data.get("reason") or "it is not computed yet"
            raise BuyerError(f"order {order_name(order)[:10]} has no result ({state}: {why}).")
        sealed = self.store.get(data["output"])
        tensors = decode_tensors(open_sealed(self._key(data), sealed, OUTPUT))
        return self._network(data).dequantised(tensors)
