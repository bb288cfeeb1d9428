"""Resource proofs as nodes give, check and renew them.

A node's own attempt is on the chain, and the chain says what is due. Checks of other nodes'
attempts are in the journal: new → accepted, refuted or passed.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from hpu.chain_integration.chain.contract import Event
from hpu.chain_integration.chain.errors import RevertedError
from hpu.chain_integration.proofs.resource import (
    Challenge,
    ResourceProof,
    check,
    edge_of,
    predicted_cycles,
    prove,
    seed_of,
    wrong_element,
)
from hpu.chain_integration.proofs.usage import check_usage, read_usage
from hpu.chain_integration.roles.content import usage_cid
from hpu.chain_integration.store.cid import ContentError, cid_text, parse_cid
from hpu.chain_integration.store.http import MALFORMED, PeerError, RefusalError, call, fetch
from hpu.runtime.errors import HpuError

if TYPE_CHECKING:
    from hpu.chain_integration.roles.verifier import Verifier

__all__ = ["RENEWAL", "Proving"]

#: Seconds before its end at which a proof is renewed; a proof is valid for a week.
RENEWAL = 2 * 86400
_NOTHING = bytes(32)
#: Stake that the resources contract locks for an attempt, and verifiers that it wants.
_STAKE, _NEEDED = 50 * 10**18, 2


class Proving:
    """The resource proofs of one node.

    Parameters
    ----------
    role:
        The node: its ledger, journal, store, device and messages.
    """

    def __init__(self, role: "Verifier"):
        self.role, self.ledger, self.journal = role, role.ledger, role.journal
        self.contract = role.ledger.contracts["resources"]

    def take(self, event: Event) -> None:
        """Note other nodes' commitments, and until when the own proof is valid."""
        if event.name == "Proven" and event["node"] == self.ledger.address:
            self.journal.set_fact("proven until", event["expires"])
        committed = event.address == self.contract.address and event.name == "Committed"
        if committed and event["node"] != self.ledger.address:
            data = {"node": event["node"], "root": event["attempt"]["root"]}
            self.journal.add("proof", data["root"].hex(), "new", data, now=event.block)

    def advance(self) -> None:
        """Do what is due for the own proof, and check others'."""
        try:
            self._own(self.contract.call("attempts", self.ledger.address), self.ledger.now())
        except RevertedError as error:
            self.role.log.warning("resource proof: %s", error)
        self.role.each("proof", ("new",), self._check)

    # The own proof.

    def _own(self, attempt: dict[str, Any], now: int) -> None:
        if attempt["deadline"] == 0:
            self._begin(now)
        elif attempt["root"] != _NOTHING:
            if now > attempt["ends"]:
                self.contract.send(self.ledger.account, "finish", self.ledger.address)
        elif now > attempt["deadline"]:
            self.contract.send(self.ledger.account, "finish", self.ledger.address)
        elif self.ledger.connection.height() > attempt["block"]:
            self._commit(attempt)

    def _begin(self, now: int) -> None:
        """Ask for a challenge when there is no proof, or it ends soon."""
        node = self.ledger.node()
        ends = self.journal.fact("proven until")
        due = not node.power or (ends is not None and now > ends - RENEWAL)
        working = self.ledger.contracts["registry"].call("working", self.ledger.address)
        if node.capability and due and node.free >= _STAKE and working:
            edge = edge_of(self.role.engine.config)
            self.contract.send(self.ledger.account, "challenge", edge)

    def _commit(self, attempt: dict[str, Any]) -> None:
        """Compute the challenge on the device, keep the rows for those who check, commit."""
        seed = seed_of(self._hash(attempt["block"]), self.ledger.address)
        name = f"prove {seed.hex()}"
        challenge = Challenge(seed, attempt["edge"])
        proof = self.role.jobs.result(name, lambda: self._prove(challenge))
        if proof is None:
            return
        rows = self.role.store.put(_encode(proof))
        self.role.store.put(proof.usage.document, "dag-cbor")
        self.journal.set_fact("rows", {"root": proof.root, "cid": cid_text(rows)})
        usage = proof.usage
        values = (proof.root, usage.root, usage.cycles, usage.clock_hz)
        self.contract.send(self.ledger.account, "commit", *values)
        self.role.jobs.forget(name)
        self.role.metrics.proofs.inc()

    def _prove(self, challenge: Challenge) -> ResourceProof:
        return prove(challenge, self.role.engine.executor)

    def rows(self) -> dict[str, str]:
        """Where the rows of the last commitment are.

        Raises
        ------
        RefusalError
            When there was none.
        """
        known = self.journal.fact("rows")
        if known is None:
            raise RefusalError("this node has not committed to a resource proof.", 404)
        return {"root": known["root"].hex(), "cid": known["cid"]}

    def _hash(self, number: int) -> bytes:
        return bytes.fromhex(self.ledger.connection.block(number)["hash"][2:])

    # Others' proofs.

    def _check(self, name: str, data: dict[str, Any]) -> None:
        attempt = self.contract.call("attempts", data["node"])
        if attempt["root"] != data["root"] or self.ledger.now() > attempt["ends"]:
            self.journal.move("proof", name, "new", "passed", reason="its time is over")
            return
        if self.ledger.connection.height() <= attempt["vectors"]:
            return
        if len(self.contract.call("verifiers", data["node"])) >= _NEEDED:
            self.journal.move("proof", name, "new", "passed", reason="others stand by it")
            return
        try:
            proof = self._fetch(data, attempt)
        except (PeerError, RefusalError):
            return  # it may answer later
        except (HpuError, *MALFORMED) as error:
            self._pass(name, data, str(error))
            return
        self._judge(name, data, attempt, proof)

    def _pass(self, name: str, data: dict[str, Any], reason: str) -> None:
        self.role.log.warning("resource proof of %s: %s", data["node"], reason)
        self.journal.move("proof", name, "new", "passed", reason=reason)

    def _judge(
        self, name: str, data: dict[str, Any], attempt: dict[str, Any], proof: ResourceProof
    ) -> None:
        seed = seed_of(self._hash(attempt["block"]), data["node"])
        challenge = Challenge(seed, attempt["edge"])
        wrong = check(challenge, data["root"], self._hash(attempt["vectors"]), proof)
        place = wrong_element(challenge, proof) if wrong and proof.root == data["root"] else None
        self.role.metrics.proofs.inc()
        if place is not None:
            path = proof.tree.prove(place[0])
            arguments = (data["node"], *place, proof.row(place[0]), path)
            self.contract.send(self.ledger.account, "refute", *arguments)
            self.journal.move("proof", name, "new", "refuted", reason=wrong)
            return
        wrong = wrong or self._counters_problem(data["node"], attempt, proof)
        if wrong:
            self._pass(name, data, wrong)
            return
        try:
            self.contract.send(self.ledger.account, "accept", data["node"], data["root"])
        except RevertedError as error:
            self._pass(name, data, str(error))
        else:
            self.journal.move("proof", name, "new", "accepted")

    def _counters_problem(self, node: str, attempt: dict[str, Any], proof: ResourceProof) -> str:
        """What is wrong with the cycles that the node says its device took; empty when nothing."""
        config = self.role.config_of(node)
        if config is None:
            return "its configuration is not known here"
        if attempt["edge"] != edge_of(config):
            return f"the matrices must have an edge of {edge_of(config)}, not {attempt['edge']}"
        usage = proof.usage
        if (usage.cycles, usage.clock_hz) != (attempt["cycles"], attempt["clock"]):
            return "the cycles or the clock are not those of its counters"
        if usage.clock_hz != config.clock_hz:
            return f"the clock must be {config.clock_hz:,} Hz, not {usage.clock_hz:,}"
        return check_usage(usage, attempt["usage"], config, predicted_cycles(config))

    def _fetch(self, data: dict[str, Any], attempt: dict[str, Any]) -> ResourceProof:
        url = self.ledger.node(data["node"]).endpoint
        found = call(self.role.wire, url, "GET", "/proofs/resource")
        if found.get("root") != data["root"].hex():
            raise PeerError(f"{url} gives the rows of another commitment.")
        rows = fetch(self.role.wire, url, parse_cid(str(found["cid"])))
        usage = fetch(self.role.wire, url, usage_cid(attempt["usage"]))
        return _decode(rows, attempt["edge"], usage)


def _encode(proof: ResourceProof) -> bytes:
    """Sums (int32, lowest byte first) and results, both in C order."""
    return proof.product.astype("<i4").tobytes() + proof.output.tobytes()


def _decode(data: bytes, edge: int, usage: bytes) -> ResourceProof:
    """What :func:`_encode` gave.

    Raises
    ------
    ContentError
        When it is too short or too long.
    """
    if len(data) != 5 * edge * edge:
        raise ContentError(f"the rows must be {5 * edge * edge:,} bytes, not {len(data):,}.")
    product = np.frombuffer(data[: 4 * edge * edge], "<i4").astype(np.int32)
    output = np.frombuffer(data[4 * edge * edge :], np.int8)
    return ResourceProof(product.reshape(edge, edge), output.reshape(edge, edge), read_usage(usage))
