"""Signed orders and acceptances: what is matched, and every reason not to."""

import dataclasses

import pytest
from tests.chain_integration.contracts.marketplace import (
    BALANCE,
    CANCELLED,
    HAI,
    MATCHED,
    POWER,
    STAKE,
    UNKNOWN,
)

from hpu.chain_integration.chain.errors import ChainError, RevertedError
from hpu.chain_integration.roles.orders import Domain

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def refused(reason: str):
    return pytest.raises(RevertedError, match=reason)


def send(trade, arguments, sender=None):
    return trade.do(trade.market, sender or trade.retriever, "match_order", *arguments)


def arguments_of(trade, suppliers=1, acceptance=None, **changes):
    """An order and its acceptances, signed; ``changes`` to the order."""
    order = trade.order(**{"redundancy": suppliers, **changes})
    nodes = trade.nodes[:suppliers]
    accepted = [trade.acceptance(order, node, **(acceptance or {})) for node in nodes]
    return order, list(trade.match_arguments(order, accepted))


def check_nothing_happened(trade, order):
    assert trade.state(order.digest(trade.domain)) == UNKNOWN
    assert trade.balance(trade.buyer) == BALANCE
    assert all(trade.stake(node) == (STAKE, 0) for node in trade.nodes[:4])


@pytest.mark.parametrize("suppliers", [1, 2, 3])
def test_a_match_locks_what_both_sides_put_up(trade, suppliers):
    order, arguments = arguments_of(trade, suppliers)
    receipt = send(trade, arguments)
    id = order.digest(trade.domain)
    held = suppliers * order.quote * 105 // 100
    assert trade.balance(trade.buyer) == BALANCE - held
    assert trade.market.call("held", id) == held
    for number, node in enumerate(trade.nodes[:4]):
        assert trade.stake(node) == (STAKE, 200 * HAI if number < suppliers else 0)
    job = trade.job(id)
    assert (job["buyer"], job["retriever"]) == (trade.buyer, trade.retriever)
    assert (job["state"], job["suppliers"], job["left"]) == (MATCHED, suppliers, suppliers)
    assert (job["quote"], job["matched"], job["deadline"]) == (order.quote, trade.now, 1000)
    assert job["ends"] == trade.now + 1000 + 600
    share = trade.market.call("share", id, trade.nodes[0])
    assert (share["supplier"], share["price"], share["power"]) == (trade.nodes[0], 2 * HAI, POWER)
    event = receipt.event("Matched")
    assert (event["id"], event["held"]) == (id, held)
    assert list(event["suppliers"]) == trade.nodes[:suppliers]
    trade.check_money([id])


def test_digests_are_those_of_typed_data(trade):
    order, _arguments = arguments_of(trade)
    assert trade.orders.call("order_id", order.values) == order.digest(trade.domain)
    accepted = trade.acceptance(order, trade.nodes[0])
    digest = trade.orders.call("acceptance_digest", accepted.values)
    assert digest == accepted.digest(trade.domain)
    for field, changed in (("price", 1), ("expiry", 1), ("retriever", trade.buyer)):
        other = dataclasses.replace(accepted, **{field: changed})
        assert trade.orders.call("acceptance_digest", other.values) != digest


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"redundancy": 0}, "redundancy must be 1, 2 or 3"),
        ({"redundancy": 4}, "redundancy must be 1, 2 or 3"),
        ({"redundancy": 2}, "there must be as many acceptances as the redundancy"),
        ({"quote": 0}, "quote is out of range"),
        ({"quote": 2**96}, "quote is out of range"),
        ({"price": 2**96}, "price is out of range"),
        ({"deadline": 0}, "deadline is out of range"),
        ({"deadline": 30 * 86400 + 1}, "deadline is out of range"),
        ({"config": b"\x55" * 32}, "supplier has another configuration"),
        ({"region": b"\x55" * 32}, "supplier is in another region"),
        ({"price": 2 * HAI - 1}, "supplier asks more than the order's price"),
        ({"quote": 10**6 * HAI}, "balance is too small"),
        ({"quote": 501 * HAI}, "not enough free stake"),
    ],
)
def test_orders_that_are_refused(trade, changes, reason):
    order = trade.order(**changes)
    accepted = [trade.acceptance(order, trade.nodes[0])]
    with refused(reason):
        send(trade, trade.match_arguments(order, accepted))
    check_nothing_happened(trade, order)


@pytest.mark.parametrize("anything", [{"config": b"\0" * 32}, {"region": b"\0" * 32}])
def test_an_order_may_leave_configuration_or_region_open(trade, anything):
    order, arguments = arguments_of(trade, **anything)
    send(trade, arguments)
    assert trade.state(order.digest(trade.domain)) == MATCHED


def test_an_expired_order_is_refused(trade):
    _order, arguments = arguments_of(trade, acceptance={"expiry": trade.now + 10**6})
    trade.after(3600)
    with refused("order has expired"):
        send(trade, arguments)


def test_an_expired_acceptance_is_refused(trade):
    _order, arguments = arguments_of(trade, expiry=trade.now + 10**6)
    trade.after(3600)
    with refused("acceptance has expired"):
        send(trade, arguments)


def test_an_order_is_matched_once(trade):
    order, arguments = arguments_of(trade)
    send(trade, arguments)
    with refused("order was matched or cancelled before"):
        send(trade, arguments)
    again, arguments = arguments_of(trade, salt=2)
    send(trade, arguments)
    trade.check_money([order.digest(trade.domain), again.digest(trade.domain)])


def test_a_cancelled_order_is_not_matched(trade):
    order, arguments = arguments_of(trade)
    with refused("only the buyer may do this"):
        trade.do(trade.market, trade.retriever, "cancel", order.values)
    trade.do(trade.market, trade.buyer, "cancel", order.values)
    assert trade.state(order.digest(trade.domain)) == CANCELLED
    assert trade.market.call("held", order.digest(trade.domain)) == 0
    with refused("order was matched or cancelled before"):
        send(trade, arguments)
    with refused("order was matched or cancelled before"):
        trade.do(trade.market, trade.buyer, "cancel", order.values)


def test_a_matched_order_is_not_cancelled(trade):
    order, arguments = arguments_of(trade)
    send(trade, arguments)
    with refused("order was matched or cancelled before"):
        trade.do(trade.market, trade.buyer, "cancel", order.values)


@pytest.mark.parametrize("field", ["model", "input", "config", "region"])
def test_no_root_of_a_signed_order_can_be_changed(trade, field):
    order, arguments = arguments_of(trade)
    arguments[0] = dataclasses.replace(order, **{field: b"\x66" * 32}).values
    with refused("buyer's signature is wrong"):
        send(trade, arguments)


@pytest.mark.parametrize(
    "field", ["redundancy", "price", "quote", "fees", "deadline", "expiry", "salt"]
)
def test_no_number_of_a_signed_order_can_be_changed(trade, field):
    order, arguments = arguments_of(trade)
    arguments[0] = dataclasses.replace(order, **{field: getattr(order, field) + 1}).values
    with refused("buyer's signature is wrong"):
        send(trade, arguments)


@pytest.mark.parametrize("other", ["chain", "market"])
@pytest.mark.parametrize("who", ["buyer", "supplier"])
def test_a_signature_for_elsewhere_is_worth_nothing(trade, who, other):
    order, arguments = arguments_of(trade)
    here = trade.domain
    there = Domain(here.chain_id + 1, here.market)
    if other == "market":
        there = Domain(here.chain_id, trade.registry.address)
    if who == "buyer":
        arguments[1] = order.sign(there, trade.key(trade.buyer))
    else:
        accepted = trade.acceptance(order, trade.nodes[0])
        arguments[3] = [accepted.sign(there, trade.key(trade.nodes[0]))]
    with refused(f"{who}'s signature is wrong"):
        send(trade, arguments)
    check_nothing_happened(trade, order)


def flipped(signature: bytes) -> bytes:
    """The other signature of the same message that the curve allows."""
    s = CURVE_ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


BROKEN = {
    "flipped": flipped,
    "short": lambda s: s[:64],
    "none": lambda s: b"",
    "other parity": lambda s: s[:64] + bytes([55 - s[64]]),
    "parity 0": lambda s: s[:64] + bytes([s[64] - 27]),
    "zero r": lambda s: b"\0" * 32 + s[32:],
    "zero s": lambda s: s[:32] + b"\0" * 32 + s[64:],
    "large r": lambda s: b"\xff" * 32 + s[32:],
    "one bit": lambda s: bytes([s[0] ^ 1]) + s[1:],
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("who", ["buyer", "supplier"])
def test_broken_signatures_are_refused(trade, who, name):
    _order, arguments = arguments_of(trade)
    if who == "buyer":
        arguments[1] = BROKEN[name](arguments[1])
    else:
        arguments[3] = [BROKEN[name](arguments[3][0])]
    with refused(f"{who}'s signature is wrong"):
        send(trade, arguments)


def test_a_buyer_signs_itself(trade):
    order, arguments = arguments_of(trade)
    arguments[1] = order.sign(trade.domain, trade.key(trade.retriever))
    with refused("buyer's signature is wrong"):
        send(trade, arguments)


def test_nobody_signs_for_the_zero_address(trade):
    zero = "0x" + "00" * 20
    order = trade.order()
    nobody = dataclasses.replace(order, buyer=zero)
    accepted = dataclasses.replace(trade.acceptance(order, trade.nodes[0]))
    arguments = list(trade.match_arguments(order, [accepted]))
    arguments[0], arguments[1] = nobody.values, b"\x00" * 64 + b"\x1b"  # recovers nobody
    with refused("buyer's signature is wrong"):
        send(trade, arguments)


def test_a_supplier_signs_itself(trade):
    order, arguments = arguments_of(trade)
    accepted = trade.acceptance(order, trade.nodes[0])
    arguments[3] = [accepted.sign(trade.domain, trade.key(trade.nodes[1]))]
    with refused("supplier's signature is wrong"):
        send(trade, arguments)


def test_an_acceptance_is_for_one_order(trade):
    other = trade.order(salt=99)
    _order, arguments = arguments_of(trade)
    arguments[2:] = trade.match_arguments(other, [trade.acceptance(other, trade.nodes[0])])[2:]
    with refused("acceptance is for another order"):
        send(trade, arguments)


def test_nobody_matches_in_the_retrievers_place(trade):
    _order, arguments = arguments_of(trade)
    with refused("acceptance is for another retriever"):
        send(trade, arguments, sender=trade.nodes[5])


def test_a_price_that_was_not_accepted_is_refused(trade):
    order, arguments = arguments_of(trade)
    cheaper = dataclasses.replace(trade.acceptance(order, trade.nodes[0]), price=1)
    arguments[2] = [cheaper.values]
    with refused("supplier's signature is wrong"):
        send(trade, arguments)


def test_a_supplier_computes_an_order_once(trade):
    order = trade.order(redundancy=2)
    twice = [trade.acceptance(order, trade.nodes[0])] * 2
    with refused("a supplier is named twice"):
        send(trade, trade.match_arguments(order, twice))


def test_every_acceptance_has_its_signature(trade):
    _order, arguments = arguments_of(trade, 2)
    arguments[3] = arguments[3][:1]
    with refused("there must be as many signatures as acceptances"):
        send(trade, arguments)


def test_all_or_no_supplier_is_locked(trade):
    """The second supplier's stake is too small: the first one's is not locked either."""
    _order, arguments = arguments_of(trade, 2)
    trade.do(trade.registry, trade.nodes[1], "unbond", 801 * HAI)
    with refused("not enough free stake"):
        send(trade, arguments)
    assert trade.stake(trade.nodes[0]) == (STAKE, 0)
    assert trade.balance(trade.buyer) == BALANCE


@pytest.mark.parametrize("why", ["unregistered", "no proof", "proof expired", "stake gone"])
def test_only_proven_nodes_at_work_are_matched(trade, why):
    node = trade.nodes[4 if why in ("unregistered", "no proof") else 0]
    if why == "no proof":
        trade.register(node, power=0)
    if why == "proof expired":
        trade.prove(node, seconds=50)
        trade.after(50)
    if why == "stake gone":
        trade.do(trade.registry, node, "unbond", 950 * HAI)
    order = trade.order()
    with refused("supplier has no valid resource proof or too small a stake"):
        send(trade, trade.match_arguments(order, [trade.acceptance(order, node)]))


def test_owners_of_model_and_input_are_owed_their_fees(trade):
    owner = trade.nodes[5]
    trade.do(trade.court, owner, "ask", trade.order().model, owner, 3 * HAI)
    trade.do(trade.court, owner, "ask", trade.order().input, trade.nodes[4], 2 * HAI)
    order, arguments = arguments_of(trade, fees=5 * HAI - 1)
    with refused("owners ask more than the order's fees"):
        send(trade, arguments)
    order, arguments = arguments_of(trade, fees=5 * HAI)
    send(trade, arguments)
    id = order.digest(trade.domain)
    assert trade.market.call("held", id) == 110 * HAI
    assert trade.job(id)["royalties"] == 2
    trade.check_money([id])


def test_money_that_is_not_there_cannot_be_withdrawn(trade):
    with refused("balance is too small"):
        trade.do(trade.market, trade.buyer, "withdraw", BALANCE + 1)
    before = trade.token.call("balanceOf", trade.buyer)
    trade.do(trade.market, trade.buyer, "withdraw", BALANCE)
    assert trade.token.call("balanceOf", trade.buyer) == before + BALANCE
    trade.check_money([])


def test_contracts_refuse_missing_addresses(trade):
    zero, some = "0x" + "00" * 20, trade.buyer
    for name, size in (("registry", 4), ("orders", 2), ("sampling", 2), ("market", 8)):
        for missing in range(size):
            with pytest.raises(ChainError, match="an address is missing"):
                trade.make(name, *(zero if k == missing else some for k in range(size)))
