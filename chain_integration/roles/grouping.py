"""A node in its region's group: it measures the others, keeps the book, or takes over."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hpu.chain_integration.chain.errors import RevertedError
from hpu.chain_integration.proofs.crh import crh
from hpu.chain_integration.store.cid import encode
from hpu.chain_integration.store.http import PeerError, RefusalError, call

if TYPE_CHECKING:
    from hpu.chain_integration.roles.verifier import Verifier

__all__ = ["Grouping"]

#: Seconds of the chain's time: between two looks at the group, between two signs of life of a
#: keeper, without which the best other may take over, and until a member is measured again.
_LOOK, _HEARTBEAT, _GRACE, _MEASURE = 300, 600, 1200, 86400
_NOWHERE = bytes(32)


class Grouping:
    """The locality group of one node.

    Parameters
    ----------
    role:
        The node.
    stopwatch:
        Seconds, to measure answers with.
    """

    def __init__(self, role: "Verifier", stopwatch: Callable[[], float] = time.monotonic):
        self.role, self.ledger, self._stopwatch = role, role.ledger, stopwatch
        self.contract = role.ledger.contracts["groups"]
        self._next = 0
        self._measured: dict[str, int] = {}

    def advance(self) -> None:
        """Look at the group now and then, and do what is this node's to do."""
        now = self.ledger.now()
        if now < self._next:
            return
        self._next = now + _LOOK
        region = self.ledger.node().region
        if region == _NOWHERE:
            return
        try:
            self._look(region, now)
        except RevertedError as error:  # another was faster, or the group is full
            self.role.log.info("group: %s", error)

    def _look(self, region: bytes, now: int) -> None:
        own = self.contract.call("region_of", self.ledger.address)
        if own != region:
            if own != _NOWHERE:
                self._send("leave")
            self._send("join", region)
        self._measure(region, now)
        group = self.contract.call("groups", region)
        if group["keeper"] == self.ledger.address:
            if now >= group["beat"] + _HEARTBEAT:
                self._send("beat", self._book(region))
        elif self._may_take_over(region, group, now):
            self._send("take_over")

    def _may_take_over(self, region: bytes, group: dict[str, Any], now: int) -> bool:
        late = now - group["beat"]
        best = late >= _GRACE and self.contract.call("best", region) == self.ledger.address
        return best or late >= 2 * _GRACE

    def _measure(self, region: bytes, now: int) -> None:
        """Time the answers of members that were not measured for a day, and report them."""
        for member in self.contract.call("members", region):
            if member == self.ledger.address or now < self._measured.get(member, 0) + _MEASURE:
                continue
            started = self._stopwatch()
            try:
                call(self.role.wire, self.ledger.node(member).endpoint, "GET", "/health")
            except (PeerError, RefusalError):
                continue
            passed = int(1000 * (self._stopwatch() - started))
            self._measured[member] = now
            self._send("report", member, passed)

    def _book(self, region: bytes) -> bytes:
        """The hash of the group's book, which is kept under it: who is in it, where, how good."""
        rows = {
            member: {"endpoint": node.endpoint, "power": node.power, "rating": node.rating}
            for member in self.contract.call("members", region)
            for node in [self.ledger.node(member)]
        }
        document = encode({"region": region, "members": rows})
        self.role.store.put(document, "dag-cbor")
        return crh(document)

    def _send(self, name: str, *arguments: Any) -> None:
        self.contract.send(self.ledger.account, name, *arguments)
