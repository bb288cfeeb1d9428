"""The verifier: a registered node that computes drawn orders again, and disputes what is wrong.

States of a check in the journal:

    drawn → agreed or passed
      ↓
    disputed → over
"""

import functools
from collections.abc import Callable
from typing import Any

from hpu.chain_integration.chain.connect import Connection
from hpu.chain_integration.chain.contract import Event
from hpu.chain_integration.proofs.crh import crh
from hpu.chain_integration.proofs.trace import Trace
from hpu.chain_integration.proofs.usage import check_usage, read_usage
from hpu.chain_integration.roles.base import Role
from hpu.chain_integration.roles.content import INPUT, MODEL, decode_tensors, usage_cid
from hpu.chain_integration.roles.engine import Engine, Work
from hpu.chain_integration.roles.grouping import Grouping
from hpu.chain_integration.roles.jobs import Immediate, Jobs
from hpu.chain_integration.roles.ledger import Result, State
from hpu.chain_integration.roles.orders import KeyRequest
from hpu.chain_integration.roles.proving import Proving
from hpu.chain_integration.roles.quarrel import play
from hpu.chain_integration.store.cid import parse_cid
from hpu.chain_integration.store.http import (
    MALFORMED,
    PeerError,
    Reply,
    Request,
    answer_blob,
    call,
    fetch,
    reply_json,
)
from hpu.chain_integration.store.seal import Reader, open_sealed
from hpu.hw.config import CONFIGS, Config
from hpu.runtime.errors import HpuError

__all__ = ["Verifier", "time_seed"]


def time_seed(connection: Connection, order: bytes, block: int) -> bytes:
    """What an order's proof of elapsed time starts from: nobody knows it before the match.

    Parameters
    ----------
    block:
        Number of the block with the match.
    """
    return crh(order + bytes.fromhex(connection.block(block)["hash"][2:]))


class Verifier(Role):
    """See the module.

    Parameters
    ----------
    engine:
        This node's own device.
    checker:
        Gives what computes another node's configuration again; the functional device by default.
    jobs:
        Says when computations are done.
    """

    name = "verifier"

    def __init__(
        self,
        *,
        engine: Engine,
        checker: Callable[[Config], Engine] = Engine,
        jobs: Jobs | None = None,
        **common: Any,
    ):
        super().__init__(**common)
        self.engine, self.jobs = engine, jobs or Immediate()
        self._checker = functools.cache(checker)
        self.reader = Reader(bytes(self.ledger.account.key))
        self.proving, self.grouping = Proving(self), Grouping(self)

    def answer(self, request: Request) -> Reply:
        """Give the rows of the last resource proof, and content by its hash."""
        if request.path == "/proofs/resource":
            return reply_json(self.proving.rows())
        if request.path.startswith("/blobs/"):
            return answer_blob(self.store, request, lambda _cid: False)
        return super().answer(request)

    def take(self, event: Event) -> None:
        """Note that this node was drawn, and others' resource proofs."""
        self.proving.take(event)
        if event.name == "Drawn" and self.ledger.address in self.ledger.verifiers(event["id"]):
            self.journal.add("check", event["id"].hex(), "drawn", {}, now=self.ledger.now())

    def advance(self) -> None:
        """Check what this node was drawn for; prove what its device can do, and check others."""
        self.proving.advance()
        self.grouping.advance()
        self.each("check", ("drawn",), self._verify)
        self.each("check", ("disputed",), self._dispute)

    def _verify(self, name: str, data: dict[str, Any]) -> None:
        order = bytes.fromhex(name)
        job = self.ledger.job(order)
        if job.state in State.ENDS or self.ledger.now() > job.ends:
            self.journal.move("check", name, "drawn", "passed", reason="its time was over")
        elif job.state == State.REVEALED:
            self._recompute(name, order)

    def _recompute(self, name: str, order: bytes) -> None:
        """Compute the order again; stand by the result, or bet against it."""
        results = {
            supplier: result
            for supplier, result in self.ledger.results(order).items()
            if not self.ledger.share(order, supplier).removed
        }
        opened = self._content_of(order, list(results))
        config = self.config_of(next(iter(results)))
        if opened is None or config is None:
            return
        checker = self._checker(config)
        work: Work | None = self.jobs.result(f"verify {name}", lambda: checker.run(*opened))
        if work is None:
            return
        self.jobs.forget(f"verify {name}")
        self.metrics.proofs.inc()
        for supplier, result in results.items():
            if result.outcome != work.outcome:
                self._challenge(name, order, supplier, result, work)
                return
        self._judge(name, order, results, work)

    def _judge(self, name: str, order: bytes, results: dict[str, Result], work: Work) -> None:
        """The results are right; agree when what the suppliers say they used is, too."""
        for supplier, result in results.items():
            try:
                problem = self._usage_problem(order, supplier, result, work)
            except PeerError:
                return  # it may answer later
            if problem:
                self.log.warning("order %s, usage of %s: %s", name[:10], supplier, problem)
                self.journal.move("check", name, "drawn", "passed", reason=problem)
                return
        verdict = "agreed" if self.ledger.try_market("agree", order) else "passed"
        self.journal.move("check", name, "drawn", verdict)

    def _usage_problem(self, order: bytes, supplier: str, result: Result, work: Work) -> str:
        """What is wrong with the space-time proof of a supplier; empty when nothing is."""
        try:
            url = self.ledger.node(supplier).endpoint
            usage = read_usage(fetch(self.wire, url, usage_cid(result.usage)))
        except PeerError:
            raise
        except HpuError as error:
            return str(error)
        block = self.ledger.events(order, "Matched")[-1].block
        seed = time_seed(self.ledger.connection, order, block)
        config, cycles = work.network.config, work.usage.cycles
        wrong = check_usage(usage, result.usage, config, cycles, seed)
        if not wrong and usage.work != result.work:
            wrong = f"{usage.work:,} is proven, not the {result.work:,} revealed"
        return wrong

    def config_of(self, node: str) -> Config | None:
        """The configuration of a node, when it is one of those that are known here."""
        digest = self.ledger.node(node).config
        return next((each for each in CONFIGS.values() if each.digest() == digest), None)

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
        opened = self._content_of(order, list(self.ledger.results(order)))
        return None if opened is None else self._trace(f"dispute {name}", *opened)

    def _trace(self, job: str, model: bytes, tensors: dict[str, Any]) -> Trace | None:
        """What every layer gives by this node's device; None while it computes."""
        work: Work | None = self.jobs.result(job, lambda: self.engine.run(model, tensors))
        return None if work is None else work.trace

    def _content_of(
        self, order: bytes, suppliers: list[str]
    ) -> tuple[bytes, dict[str, Any]] | None:
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
            except (HpuError, *MALFORMED) as error:
                self.log.info("order %s at %s: %s", order.hex()[:10], url, error)
        return None
