"""What happened on the chain, told from its events: nodes, orders, proofs, payments."""

import dataclasses
from collections.abc import Mapping
from typing import Any

__all__ = ["Event", "History", "NodeStory", "OrderStory", "Payment", "Proof"]


@dataclasses.dataclass(frozen=True)
class Event:
    """An event of a contract; ``time`` is its block's, in seconds."""

    name: str
    args: Mapping[str, Any]
    block: int
    time: int


@dataclasses.dataclass
class NodeStory:
    """A node as the events tell it; amounts in HAI-wei."""

    address: str
    region: bytes = b""
    price: int = 0
    endpoint: str = ""
    stake: int = 0
    power: int = 0
    proven_until: int = 0
    earned: int = 0
    slashed: int = 0
    orders: int = 0


@dataclasses.dataclass
class OrderStory:
    """An order as the events tell it."""

    id: bytes
    buyer: str
    retriever: str
    suppliers: list[str]
    held: int
    state: str
    matched: int
    changed: int
    paid: int = 0
    refunded: int = 0


@dataclasses.dataclass(frozen=True)
class Proof:
    """One of the four proofs, as it was recorded."""

    kind: str
    who: str
    what: str
    text: str
    block: int
    time: int


@dataclasses.dataclass(frozen=True)
class Payment:
    """Money that moved, in HAI-wei; negative when it was taken."""

    order: bytes
    account: str
    amount: int
    reason: str
    time: int


#: Names of the market's states, by their numbers.
STATES = (
    *("none", "matched", "committed", "revealed", "contested", "disputed", "demanded"),
    *("settled", "expired", "refunded", "cancelled"),
)


class History:
    """Takes events in their order."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeStory] = {}
        self.orders: dict[bytes, OrderStory] = {}
        self.proofs: list[Proof] = []
        self.payments: list[Payment] = []
        self.time = self.block = 0

    def take(self, event: Event) -> None:
        """Take in one event; those that tell nothing here are passed over."""
        self.time, self.block = event.time, event.block
        tell = getattr(self, f"_on_{event.name.lower()}", None)
        if tell is not None:
            tell(event, event.args)

    def _node(self, address: str) -> NodeStory:
        return self.nodes.setdefault(address, NodeStory(address))

    def _prove(self, event: Event, kind: str, who: str, what: bytes | str, text: str) -> None:
        name = what if isinstance(what, str) else what.hex()
        self.proofs.append(Proof(kind, who, name, text, event.block, event.time))

    def _on_registered(self, event: Event, args: Mapping[str, Any]) -> None:
        self._on_updated(event, args)
        self._node(args["node"]).stake += args["stake"]

    def _on_updated(self, _event: Event, args: Mapping[str, Any]) -> None:
        node, offer = self._node(args["node"]), args["offer"]
        node.region, node.price = bytes(offer["region"]), offer["price"]
        node.endpoint = offer["endpoint"]

    def _on_stakeadded(self, _event: Event, args: Mapping[str, Any]) -> None:
        self._node(args["node"]).stake += args["amount"]

    def _on_slashed(self, event: Event, args: Mapping[str, Any]) -> None:
        node = self._node(args["node"])
        node.stake -= args["amount"]
        node.slashed += args["amount"]
        self.payments.append(Payment(b"", node.address, -args["amount"], "slashed", event.time))

    def _on_stakewithdrawn(self, _event: Event, args: Mapping[str, Any]) -> None:
        self._node(args["node"]).stake -= args["amount"]

    def _on_proven(self, event: Event, args: Mapping[str, Any]) -> None:
        node = self._node(args["node"])
        node.power, node.proven_until = args["power"], args["expires"]
        if node.power:
            text = f"{node.power / 1e12:.4g} TOPS until {node.proven_until}"
            self._prove(event, "resource", node.address, "", text)

    def _on_matched(self, event: Event, args: Mapping[str, Any]) -> None:
        name, suppliers = bytes(args["id"]), list(args["suppliers"])
        self.orders[name] = OrderStory(
            id=name,
            buyer=args["buyer"],
            retriever=args["retriever"],
            suppliers=suppliers,
            held=args["held"],
            state="matched",
            matched=event.time,
            changed=event.time,
        )
        for supplier in suppliers:
            self._node(supplier).orders += 1
        text = f"{len(suppliers)} of {len(suppliers)} suppliers, {args['held'] / 1e18:g} HAI held"
        self._prove(event, "transaction", args["retriever"], name, text)

    def _on_statechanged(self, event: Event, args: Mapping[str, Any]) -> None:
        order = self.orders.get(bytes(args["id"]))
        if order is not None:
            order.state, order.changed = STATES[args["state"]], event.time

    def _on_revealed(self, event: Event, args: Mapping[str, Any]) -> None:
        name, result = bytes(args["id"]), args["result"]
        usage = f"{result['work'] / 1e18:.3e} T·H, usage {bytes(result['usage']).hex()[:16]}…"
        self._prove(event, "space-time", args["supplier"], name, usage)
        outcome = result["outcome"]
        text = (
            f"output {bytes(outcome['output']).hex()[:16]}…, "
            f"trace {bytes(outcome['trace']).hex()[:16]}…"
        )
        self._prove(event, "result", args["supplier"], name, text)

    def _on_agreed(self, event: Event, args: Mapping[str, Any]) -> None:
        self._prove(
            event, "result", args["verifier"], bytes(args["id"]), "computed again: the same"
        )

    def _on_resolved(self, event: Event, args: Mapping[str, Any]) -> None:
        how = "proven on chain" if args["proven"] else "given up or too late"
        self._prove(event, "result", args["guilty"], bytes(args["id"]), f"dispute lost: {how}")

    def _on_paid(self, event: Event, args: Mapping[str, Any]) -> None:
        name, amount = bytes(args["order"]), args["amount"]
        self.payments.append(Payment(name, args["account"], amount, args["reason"], event.time))
        order = self.orders.get(name)
        if order is not None and args["account"] == order.buyer:
            order.refunded += amount
        elif order is not None:
            order.paid += amount
        if order is not None and args["account"] in order.suppliers:
            self._node(args["account"]).earned += amount
