"""Resource proofs between nodes, a registry and their contract, on a chain in process."""

import dataclasses

import numpy as np
import pytest
from tests.chain_integration.contracts.marketplace import HAI, STAKE, SUPPLY, offer
from web3.utils.address import get_create_address

from hpu.chain_integration.chain.compile import compiled
from hpu.chain_integration.chain.connect import connect
from hpu.chain_integration.chain.contract import create
from hpu.chain_integration.chain.errors import RevertedError
from hpu.chain_integration.proofs.resource import Challenge, ResourceProof, seed_of, wrong_element
from hpu.chain_integration.proofs.usage import usage_of
from hpu.hw.config import by_name
from hpu.runtime.profile import Run

TREASURY = "0x" + "77" * 20
CYCLES, CLOCK = 291_004, 100_000_000


class World:
    """Token, registry and resource proofs, with four registered nodes."""

    def __init__(self) -> None:
        self.chain = connect()
        self.nodes = self.chain.accounts(4)
        first = self.nodes[0]
        number = int(self.chain.request("eth_getTransactionCount", first.address, "latest"), 16)
        places = [get_create_address(first.address, number + k) for k in range(3)]
        make = self.chain, first
        self.token = create(*make, compiled("token"), [first.address], [SUPPLY])
        wired = [self.token.address, TREASURY, places[2], TREASURY]
        self.registry = create(*make, compiled("registry"), *wired)
        wired = [self.registry.address, self.token.address, TREASURY]
        self.resources = create(*make, compiled("resources"), *wired)
        for node in self.nodes:
            self.register(node)

    def register(self, node) -> None:
        if node is not self.nodes[0]:
            self.token.send(self.nodes[0], "transfer", node.address, STAKE)
        self.token.send(node, "approve", self.registry.address, STAKE)
        self.registry.send(node, "register", offer(), STAKE)

    def begin(self, node, edge: int = 256) -> Challenge:
        """Ask for a challenge and wait for its seed."""
        self.resources.send(node, "challenge", edge)
        self.chain.mine(2)
        block = self.resources.call("attempts", node.address)["block"]
        hashed = bytes.fromhex(self.chain.block(block)["hash"][2:])
        return Challenge(seed_of(hashed, node.address), edge)

    def commit(self, node, proof: ResourceProof) -> None:
        self.resources.send(node, "commit", proof.root, proof.usage.root, CYCLES, CLOCK)

    def refute(self, node, proof: ResourceProof, row: int, col: int):
        """By another node."""
        found = node.address, row, col, proof.row(row), proof.tree.prove(row)
        return self.resources.send(self.nodes[3], "refute", *found)

    def free(self, node) -> tuple[int, int]:
        """Stake and locked stake."""
        row = self.registry.call("node", node.address)
        return row["stake"], row["locked"]

    def wait(self) -> None:
        self.chain.advance(self.resources.call("REFUTE_TIME") + 1)


def answer(challenge: Challenge) -> ResourceProof:
    """The right answer, without a device."""
    product, lab = challenge.product(), by_name("lab-16")
    usage = usage_of(lab, Run({}, cycles=CYCLES))
    return ResourceProof(product, challenge.output(product), usage)


def changed(proof: ResourceProof, field: str, row: int, col: int) -> ResourceProof:
    array = getattr(proof, field).copy()
    array[row, col] += 1
    return dataclasses.replace(proof, **{field: array})


@pytest.fixture
def world():
    return World()


@pytest.mark.parametrize("edge", [64, 128, 256, 512, 1024])
def test_the_contract_has_the_same_matrices(world, edge):
    challenge = Challenge(b"\x5a" * 32, edge)
    product = challenge.product()
    output = challenge.output(product)
    rng = np.random.default_rng(edge)
    half = 1 << (challenge.shift - 1)
    ties = np.argwhere((product & (2 * half - 1) == half) & (abs(output) < 127))[:8].tolist()
    assert ties
    for row, col in [(0, 0), (edge - 1, edge - 1), *ties, *rng.integers(0, edge, (6, 2)).tolist()]:
        found = world.resources.call("element", challenge.seed, edge, row, col)
        assert found == (product[row, col], output[row, col])


def test_a_right_answer_enters_the_registry(world):
    node, one, two, _ = world.nodes
    proof = answer(world.begin(node))
    assert world.free(node) == (STAKE, 50 * HAI)
    world.commit(node, proof)
    for verifier in (one, two):
        world.resources.send(verifier, "accept", node.address, proof.root)
    with pytest.raises(RevertedError, match="there is still time"):
        world.resources.send(one, "finish", node.address)
    with pytest.raises(RevertedError, match="the element is right"):
        world.refute(node, proof, 3, 200)
    world.wait()
    with pytest.raises(RevertedError, match="too late"):
        world.refute(node, proof, 3, 200)
    world.resources.send(one, "finish", node.address)
    assert world.registry.call("power", node.address) == 2 * 256**3 * CLOCK // CYCLES
    assert [world.free(each)[1] for each in world.nodes] == [0] * 4
    world.chain.advance(world.resources.call("VALID_TIME"))
    assert world.registry.call("power", node.address) == 0


@pytest.mark.parametrize("field", ["product", "output"])
def test_one_wrong_element_costs_the_stakes_of_all_who_stood_by_it(world, field):
    node, one, _, by = world.nodes
    challenge = world.begin(node)
    liar = changed(answer(challenge), field, 17, 250)
    world.commit(node, liar)
    world.resources.send(one, "accept", node.address, liar.root)
    before = world.token.call("balanceOf", by.address)
    place = wrong_element(challenge, liar)
    assert place == (17, 250)
    receipt = world.refute(node, liar, *place)
    assert receipt.gas_used < 1_000_000
    assert world.free(node) == (STAKE - 50 * HAI, 0)
    assert world.free(one) == (STAKE - 10 * HAI, 0)
    assert world.token.call("balanceOf", by.address) - before == 30 * HAI
    assert world.token.call("balanceOf", TREASURY) == 30 * HAI
    assert world.registry.call("power", node.address) == 0


def test_a_row_of_a_wrong_length_is_a_lie_too(world):
    node = world.nodes[0]
    challenge = world.begin(node)

    class Short(ResourceProof):
        def row(self, index: int) -> bytes:
            return super().row(index)[:-1]

    right = answer(challenge)
    short = Short(right.product, right.output, right.usage)
    tree = type(right.tree).of(short.row(k) for k in range(256))
    object.__setattr__(short, "tree", tree)
    world.commit(node, short)
    world.refute(node, short, 0, 0)
    assert world.free(node)[0] == STAKE - 50 * HAI


def test_a_proof_that_nobody_accepts_is_forgotten(world):
    node, one, *_ = world.nodes
    proof = answer(world.begin(node))
    world.commit(node, proof)
    world.resources.send(one, "accept", node.address, proof.root)
    world.wait()
    receipt = world.resources.send(one, "finish", node.address)
    assert receipt.event("Rejected")["accepted"] == 1
    assert world.registry.call("power", node.address) == 0
    assert world.free(node) == (STAKE, 0)


def test_an_answer_that_does_not_come(world):
    node, one, *_ = world.nodes
    world.begin(node)
    with pytest.raises(RevertedError, match="there is an attempt already"):
        world.resources.send(node, "challenge", 256)
    with pytest.raises(RevertedError, match="there is still time"):
        world.resources.send(one, "finish", node.address)
    world.chain.advance(world.resources.call("ANSWER_TIME") + 1)
    with pytest.raises(RevertedError, match="too late"):
        world.resources.send(node, "commit", b"r" * 32, b"u" * 32, 1, 1)
    world.resources.send(one, "finish", node.address)
    assert world.free(node) == (STAKE, 0)


def test_the_answer_to_another_challenge(world):
    node, other, *_ = world.nodes
    stolen = answer(world.begin(other))
    world.begin(node)
    world.commit(node, stolen)
    world.refute(node, stolen, 0, 0)
    assert world.free(node)[0] == STAKE - 50 * HAI


def test_what_is_refused(world):
    node, one, *_ = world.nodes
    with pytest.raises(RevertedError, match="edge must be 64 to 1024"):
        world.resources.send(node, "challenge", 16)
    with pytest.raises(RevertedError, match="there is no challenge"):
        world.resources.send(node, "commit", b"r" * 32, b"u" * 32, 1, 1)
    world.resources.send(node, "challenge", 256)
    with pytest.raises(RevertedError, match="the seed is not there yet"):
        world.resources.send(node, "commit", b"r" * 32, b"u" * 32, 0, 1)
    world.chain.mine(260)
    with pytest.raises(RevertedError, match="the seed is gone"):
        world.resources.send(node, "commit", b"r" * 32, b"u" * 32, 1, 1)
    with pytest.raises(RevertedError, match="not the node's rows"):
        world.resources.send(one, "accept", node.address, b"r" * 32)
    challenge = world.begin(one)
    proof = answer(challenge)
    world.commit(one, proof)
    with pytest.raises(RevertedError, match="committed already"):
        world.commit(one, proof)
    with pytest.raises(RevertedError, match="not your own"):
        world.resources.send(one, "accept", one.address, proof.root)
    world.resources.send(node, "accept", one.address, proof.root)
    with pytest.raises(RevertedError, match="accepted already"):
        world.resources.send(node, "accept", one.address, proof.root)
    with pytest.raises(RevertedError, match="not the node's row"):
        found = one.address, 1, 0, proof.row(0), proof.tree.prove(0)
        world.resources.send(node, "refute", *found)
    stranger = world.chain.accounts(6)[5]
    with pytest.raises(RevertedError, match="not a working node"):
        world.resources.send(stranger, "accept", one.address, proof.root)
