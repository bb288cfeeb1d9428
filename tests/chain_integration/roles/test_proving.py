"""Resource proofs as nodes give and check them, on the functional device."""

import dataclasses

import pytest

from hpu.chain_integration.roles.engine import Engine
from hpu.chain_integration.roles.local import HAI, LocalMarket
from hpu.chain_integration.roles.proving import RENEWAL, Proving
from hpu.hw.config import CONFIGS

pytestmark = pytest.mark.slow
LAB = CONFIGS["lab-16"]


class WrongProving(Proving):
    """Gives one wrong element of the product."""

    def _prove(self, challenge):
        proof = super()._prove(challenge)
        product = proof.product.copy()
        product[3, 5] += 1
        return dataclasses.replace(proof, product=product)


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """Three nodes, one of which cheats, after an hour and more."""
    found = LocalMarket(tmp_path_factory.mktemp("market"))
    for name in ("one", "two", "cheat"):
        found.verifier(name, Engine(LAB))
    found.roles["cheat"].proving = WrongProving(found.roles["cheat"])
    proven = lambda: all(found.roles[n].ledger.node().power for n in ("one", "two"))  # noqa: E731
    assert found.run(proven, seconds=400, turns=15)
    return found


def test_honest_nodes_have_their_power_in_the_table(market):
    for name in ("one", "two"):
        node = market.roles[name].ledger.node()
        assert 0.2 < node.power / node.capability < 1
        assert node.stake == 1000 * HAI


def test_a_wrong_element_is_refuted_and_costs_the_stake(market):
    node = market.roles["cheat"].ledger.node()
    assert node.power == 0
    assert node.stake == 950 * HAI
    resources = market.contracts["resources"]
    (refuted,) = resources.events("Refuted")
    assert refuted["node"] == market.roles["cheat"].ledger.address
    assert (refuted["row"], refuted["col"]) == (3, 5)


def test_a_proof_is_renewed_before_it_ends(market):
    node = market.roles["one"]
    market.step()
    ends = node.journal.fact("proven until")
    assert ends > market.connection.time() + RENEWAL
    assert market.contracts["resources"].call("attempts", node.ledger.address)["deadline"] == 0
    market.connection.advance(ends - RENEWAL - market.connection.time() + 1)
    node.step()
    attempt = market.contracts["resources"].call("attempts", node.ledger.address)
    assert attempt["deadline"] > market.connection.time() and node.ledger.node().power
