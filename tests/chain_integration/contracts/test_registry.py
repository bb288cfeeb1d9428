"""The node registry: the table, stakes, ratings, proofs and attestations."""

import pytest
from tests.chain_integration.contracts.marketplace import (
    CONFIG,
    ENDED,
    HAI,
    KEY,
    LATE,
    LIED,
    POWER,
    REGION,
    STAKE,
    offer,
)

from hpu.chain_integration.chain.errors import RevertedError

DAY = 86400


@pytest.fixture
def node(place):
    return place.register(place.nodes[0])


def refused(reason: str):
    return pytest.raises(RevertedError, match=reason)


def test_a_registered_node_stands_in_the_table(place):
    first, second = place.nodes[:2]
    receipt = place.do(place.registry, first, "register", offer(), STAKE)
    place.do(place.registry, second, "register", offer(price=5), STAKE + 1)
    assert receipt.event("Registered")["number"] == 0
    assert place.registry.call("count") == 2
    assert [place.registry.call("nodes", k) for k in range(2)] == [first, second]
    row = place.registry.call("node", second)
    assert row == {
        "config": CONFIG,
        "key": KEY,
        "region": REGION,
        "capability": POWER,
        "price": 5,
        "endpoint": "https://node-1.example.net:8443",
        "number": 1,
        "since": place.now,
        "stake": STAKE + 1,
        "locked": 0,
        "power": 0,
        "rating": 7000,
    }
    place.check_money([])


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 63, 64])
def test_endpoints_of_every_length_come_back(place, size):
    endpoint = ("http://" + "x" * 64)[:size]
    place.do(place.registry, place.nodes[0], "register", offer(endpoint="y" * 64), STAKE)
    place.do(place.registry, place.nodes[0], "update", offer(endpoint=endpoint))
    assert place.registry.call("node", place.nodes[0])["endpoint"] == endpoint


def test_largest_numbers_stay_apart(place):
    widest = {"price": 2**96 - 1, "capability": 2**64 - 1}
    place.do(place.registry, place.nodes[0], "register", offer(**widest), STAKE)
    row = place.registry.call("node", place.nodes[0])
    assert (row["price"], row["capability"], row["number"]) == (2**96 - 1, 2**64 - 1, 0)
    assert row["since"] == place.now


def test_unknown_accounts_have_an_empty_row(place):
    row = place.registry.call("node", place.nodes[0])
    assert not any(value for value in row.values() if not isinstance(value, bytes | str))


@pytest.mark.parametrize(
    ("changes", "stake", "reason"),
    [
        ({}, 100 * HAI - 1, "stake is below the minimum"),
        ({"config": b"\0" * 32}, STAKE, "configuration is missing"),
        ({"capability": 0}, STAKE, "capability is missing"),
        ({"capability": 2**64}, STAKE, "capability is too large"),
        ({"price": 2**96}, STAKE, "price is too large"),
        ({}, 2**96, "stake is too large"),
    ],
)
def test_registrations_that_are_refused(place, changes, stake, reason):
    with refused(reason):
        place.do(place.registry, place.nodes[0], "register", offer(**changes), stake)
    assert place.registry.call("count") == 0


def test_a_node_registers_once(place, node):
    with refused("already registered"):
        place.do(place.registry, node, "register", offer(), STAKE)


def test_an_update_keeps_number_stake_and_attestations(place, node):
    attested = place.now + DAY
    place.do(place.registry, place.buyer, "attest", node, b"\1" * 32, b"\2" * 32, attested)
    before = place.registry.call("node", node)
    place.do(place.registry, node, "update", offer(price=7, region=b"\3" * 32))
    after = place.registry.call("node", node)
    assert after == {**before, "price": 7, "region": b"\3" * 32}
    found = place.registry.call("attestation", place.buyer, node, b"\1" * 32)
    assert found == {"claim": b"\2" * 32, "expires": attested}
    with refused("not registered"):
        place.do(place.registry, place.nodes[1], "update", offer())


def test_another_configuration_needs_another_proof(place, node):
    assert place.registry.call("power", node) == POWER
    place.do(place.registry, node, "update", offer(config=b"\x09" * 32))
    assert place.registry.call("power", node) == 0


def test_stake_is_added_unbonded_and_withdrawn(place, node):
    place.do(place.registry, node, "top_up", 5 * HAI)
    assert place.stake(node) == (STAKE + 5 * HAI, 0)
    place.do(place.registry, node, "unbond", 3 * HAI)
    place.after(DAY)
    place.do(place.registry, node, "unbond", 4 * HAI)
    assert place.stake(node) == (STAKE - 2 * HAI, 0)
    assert place.registry.call("unbonding", node) == (7 * HAI, place.now + 3 * DAY)
    place.check_money([])
    place.after(3 * DAY - 10)
    with refused("still unbonding"):
        place.do(place.registry, node, "withdraw")
    place.after(10)
    before = place.token.call("balanceOf", node)
    place.do(place.registry, node, "withdraw")
    assert place.token.call("balanceOf", node) == before + 7 * HAI
    with refused("nothing is unbonding"):
        place.do(place.registry, node, "withdraw")
    place.check_money([])


def test_all_of_a_stake_can_be_taken_out(place, node):
    place.do(place.registry, node, "unbond", STAKE)
    assert place.stake(node) == (0, 0)
    assert not place.registry.call("working", node)
    place.do(place.registry, node, "top_up", STAKE)
    assert place.registry.call("working", node)


def test_stake_that_cannot_be_unbonded(place, node):
    with refused("nothing to unbond"):
        place.do(place.registry, node, "unbond", 0)
    with refused("stake is locked or too small"):
        place.do(place.registry, node, "unbond", STAKE + 1)
    place.do(place.registry, place.resources, "lock", node, 1)
    with refused("stake is locked or too small"):
        place.do(place.registry, node, "unbond", STAKE)
    with refused("not registered"):
        place.do(place.registry, place.nodes[1], "top_up", 1)


@pytest.mark.parametrize(
    ("name", "arguments"), [("lock", (1,)), ("unlock", (1,)), ("slash", (1, ENDED))]
)
def test_only_the_contracts_touch_a_stake(place, node, name, arguments):
    for account in (node, place.buyer, place.nodes[1]):
        with refused("only the market may do this"):
            place.do(place.registry, account, name, node, *arguments)


def test_only_the_market_settles_and_only_resources_prove(place, node):
    with refused("only the market may do this"):
        place.do(place.registry, place.resources, "settle", node, 0, 1, True)
    with refused("only the resource proofs may do this"):
        place.do(place.registry, node, "prove", node, 1, place.now + 1)


def test_locks_add_up_and_end(place, node):
    place.do(place.registry, place.resources, "lock", node, 600 * HAI)
    place.do(place.registry, place.resources, "lock", node, 400 * HAI)
    assert place.stake(node) == (STAKE, STAKE)
    with refused("not enough free stake"):
        place.do(place.registry, place.resources, "lock", node, 1)
    place.do(place.registry, place.resources, "unlock", node, 999 * HAI)
    with refused("not locked"):
        place.do(place.registry, place.resources, "unlock", node, HAI + 1)
    with refused("not locked"):
        place.do(place.registry, place.resources, "slash", node, HAI + 1, ENDED)
    assert place.stake(node) == (STAKE, HAI)


@pytest.mark.parametrize(("fault", "days"), [(ENDED, 3), (LATE, 10), (LIED, 3)])
def test_a_fault_costs_the_stake_and_the_rating_for_days(place, node, fault, days):
    place.do(place.registry, place.resources, "lock", node, 10 * HAI)
    before = place.token.call("balanceOf", place.resources)
    place.do(place.registry, place.resources, "slash", node, 10 * HAI, fault)
    assert place.token.call("balanceOf", place.resources) == before + 10 * HAI
    assert place.stake(node) == (STAKE - 10 * HAI, 0)
    record = place.registry.call("record", node)
    assert record["punished_until"] == place.now + days * DAY
    counts = {ENDED: record["ended"], LATE: record["late"], LIED: record["lost"]}
    assert counts == {kind: int(kind == fault) for kind in counts}
    lasting = 5000 if fault == LIED else 7000
    assert place.registry.call("rating", node) == lasting // 2
    assert not place.registry.call("working", node)
    place.after(days * DAY - 5)
    assert place.registry.call("rating", node) == lasting // 2
    place.after(5)
    assert place.registry.call("rating", node) == lasting
    assert place.registry.call("working", node)
    place.check_money([])


def test_a_shorter_punishment_does_not_end_a_longer_one(place, node):
    place.do(place.registry, place.resources, "lock", node, 2)
    place.do(place.registry, place.resources, "slash", node, 1, LATE)
    until = place.registry.call("record", node)["punished_until"]
    place.do(place.registry, place.resources, "slash", node, 1, ENDED)
    assert place.registry.call("record", node)["punished_until"] == until


def test_a_rating_does_not_fall_below_zero(place, node):
    place.do(place.registry, place.resources, "lock", node, 5)
    for _ in range(5):
        place.do(place.registry, place.resources, "slash", node, 1, LIED)
    assert place.registry.call("rating", node) == 0


def test_a_resource_proof_counts_until_it_expires(place):
    node = place.register(place.nodes[0], power=0)
    assert place.registry.call("match_terms", node) == (CONFIG, REGION, 0)
    place.prove(node, 123, seconds=100)
    assert place.registry.call("match_terms", node) == (CONFIG, REGION, 123)
    place.after(100)
    assert place.registry.call("power", node) == 0
    place.prove(node, 123)
    place.prove(node, 0)
    assert place.registry.call("power", node) == 0
    with refused("power is too large"):
        place.prove(node, 2**64)
    with refused("expiry is too far"):
        place.prove(node, 1, seconds=2**40)


def test_a_node_below_the_minimum_stake_gets_no_work(place, node):
    place.do(place.registry, node, "unbond", STAKE - 100 * HAI)
    assert place.registry.call("match_terms", node)[2] == POWER
    place.do(place.registry, node, "unbond", 1)
    assert place.registry.call("match_terms", node)[2] == 0


def test_attestations_stand_alone_and_expire(place, node):
    other = place.buyer
    expires = place.now + 1000
    for attribute, claim in ((b"\1" * 32, b"\2" * 32), (b"\3" * 32, b"\4" * 32)):
        place.do(place.registry, other, "attest", node, attribute, claim, expires)
    place.do(place.registry, other, "attest", node, b"\1" * 32, b"\5" * 32, 0)
    empty = {"claim": b"\0" * 32, "expires": 0}
    kept = {"claim": b"\4" * 32, "expires": expires}
    assert place.registry.call("attestation", other, node, b"\1" * 32) == empty
    assert place.registry.call("attestation", other, node, b"\3" * 32) == kept
    assert place.registry.call("attestation", node, node, b"\3" * 32) == empty
    place.after(1000)
    assert place.registry.call("attestation", other, node, b"\3" * 32) == empty
    with refused("not registered"):
        place.do(place.registry, other, "attest", other, b"\1" * 32, b"\2" * 32, expires)
