"""The verifier: a registered node that computes drawn orders again, and disputes what is wrong.

States of a check in the journal:

    drawn → agreed or passed
      ↓
    disputed → over
"""

from typing import Any

from hpu.chain_integration.chain.contract import Event
from hpu.chain_integration.proofs.trace import Trace
from hpu.chain_integration.roles.base import Role
from hpu.chain_integration.roles.content import INPUT, MODEL, decode_tensors
from hpu.chain_integration.roles.engine import Engine, Work
from hpu.chain_integration.roles.jobs import Immediate, Jobs
from hpu.chain_integration.roles.ledger import Job, Result, State
from hpu.chain_integration.roles.orders import KeyRequest
from hpu.chain_integration.roles.quarrel import play
from hpu.chain_integration.store.cid import ContentError, parse_cid
from hpu.chain_integration.store.http import PeerError, RefusalError, call, fetch
from hpu.chain_integration.store.seal import Reader, SealError, open_sealed

__all__ = ["Verifier"]


class Verifier(Role):
    """See the module. ``engine`` computes; ``jobs`` says when."""

    name = "verifier"

    def __init__(self, *, engine: Engine, jobs: Jobs | None = None, **common: Any):
        super().__init__(**common)
        self.engine, self.jobs = engine, jobs or Immediate()
        self.reader = Reader(bytes(self.ledger.account.key))

    def take(self, event: Event) -> None:
        """Note that this node was drawn."""
        if event.name == "Drawn" and self.ledger.address in self.ledger.verifiers(event["id"]):
            self.journal.add("check", event["id"].hex(), "drawn", {}, now=self.ledger.now())

    def advance(self) -> None:
        """Check what this node was drawn for."""
        self.each("check", ("drawn",), self._verify)
        self.each("check", ("disputed",), self._dispute)

    def _verify(self, name: str, data: dict[str, Any]) -> None:
        order = bytes.fromhex(name)
        job = self.ledger.job(order)
        if job.state in State.ENDS or self.ledger.now() > job.ends:
            self.journal.move("check", name, "drawn", "passed", reason="its time was over")
        elif job.state == State.REVEALED:
            self._check(name, order, job)

    def _check(self, name: str, order: bytes, job: Job) -> None:
        """Compute the order again; stand by the result, or bet against it."""
        results = self.ledger.results(order)
        opened = self._content(order, list(results))
        if opened is None:
            return
        work: Work | None = self.jobs.result(f"verify {name}", lambda: self.engine.run(*opened))
        if work is None:
            return
        self.jobs.forget(f"verify {name}")
        self.metrics.proofs.inc()
        for supplier, result in results.items():
            if self.ledger.share(order, supplier).removed:
                continue
            if result.outcome != work.outcome:
                self._challenge(name, order, supplier, result, work)
                return
        verdict = "agreed" if self.ledger.try_market("agree", order) else "passed"
        self.journal.move("check", name, "drawn", verdict)

    def _challenge(
        self, name: str, order: bytes, supplier: str, result: Result, work: Work
    ) -> None:
        self.log.warning("order %s: the result of %s is wrong", name[:10], supplier)
        self.ledger.market(
            *("challenge", order, result.model, result.input),
            *(supplier, result.outcome, work.outcome),
        )
        self.journal.move("check", name, "drawn", "disputed", accused=supplier)

    def _dispute(self, name: str, data: dict[str, Any]) -> None:
        """Make the next move against a supplier that gave a wrong result."""
        order = bytes.fromhex(name)
        job = self.ledger.job(order)
        if job.state != State.DISPUTED:
            self.journal.move("check", name, "disputed", "over")
            return
        play(self.ledger, order, lambda: self._retrace(name, order))

    def _retrace(self, name: str, order: bytes) -> Trace | None:
        opened = self._content(order, list(self.ledger.results(order)))
        return None if opened is None else self._trace(f"dispute {name}", *opened)

    def _trace(self, job: str, model: bytes, tensors: dict[str, Any]) -> Trace | None:
        """What every layer gives by this node's device; None while it computes."""
        work: Work | None = self.jobs.result(job, lambda: self.engine.run(model, tensors))
        return None if work is None else work.trace

    def _content(self, order: bytes, suppliers: list[str]) -> tuple[bytes, dict[str, Any]] | None:
        """Model and input of an order, from the first supplier that gives the key."""
        request = KeyRequest(order, self.ledger.address)
        signature = request.sign(self.ledger.domain, self.ledger.account)
        message = {"request": request.to_json(), "signature": signature.hex()}
        for supplier in suppliers:
            url = self.ledger.node(supplier).endpoint
            try:
                found = call(self.wire, url, "POST", f"/orders/{order.hex()}/key", message)
                key = self.reader.unwrap(bytes.fromhex(found["key"]))
                sealed = {
                    kind: fetch(self.wire, url, parse_cid(str(found["content"][kind])))
                    for kind in (MODEL, INPUT)
                }
                model = open_sealed(key, sealed[MODEL], MODEL)
                return model, decode_tensors(open_sealed(key, sealed[INPUT], INPUT))
            except (
                PeerError,
                RefusalError,
                ContentError,
                SealError,
                KeyError,
                ValueError,
            ) as error:
                self.log.info("order %s at %s: %s", order.hex()[:10], url, error)
        return None
