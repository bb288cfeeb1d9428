"""Orders from end to end in one process: the real contracts, roles and device, a virtual clock."""

import dataclasses

import numpy as np
import pytest
from tests.chain_integration.roles.granted import GrantedMarket

import hpu
from hpu.chain_integration.proofs.trace import Trace
from hpu.chain_integration.roles.buyer import BuyerError, Wish
from hpu.chain_integration.roles.content import sealed_cid, usage_cid
from hpu.chain_integration.roles.engine import Engine, Work
from hpu.chain_integration.roles.ledger import State
from hpu.chain_integration.roles.local import HAI, LocalMarket
from hpu.chain_integration.roles.orders import Order
from hpu.chain_integration.store.cid import cid_text
from hpu.chain_integration.store.http import (
    PeerError,
    RefusalError,
    Request,
    call,
    reply_json,
)
from hpu.hw.config import CONFIGS

LAB = CONFIGS["lab-16"]
WISH = Wish(price=10**10 * HAI, quote=5 * HAI, config="lab-16")
#: What is locked for one supplier: the quote and 5 % of it.
HELD = 525 * HAI // 100
SUPPLY = 10**10 * HAI


class Liar(Engine):
    """Gives one wrong byte in the result of a layer, counted from the last."""

    layer = 1

    def run(self, document, tensors, seed=None) -> Work:
        work = super().run(document, tensors, seed)
        name = work.network.model.layers[-1 - self.layer].name
        wrong = work.trace.values[name].copy()
        wrong.reshape(-1)[-1] ^= 1
        values = work.trace.values | {name: wrong}
        return dataclasses.replace(work, trace=Trace(work.network.model, values))


class HiddenLiar(Liar):
    """Gives a wrong byte inside the network, and the right result."""

    layer = 3


@pytest.fixture(scope="module")
def model(quantised):
    return quantised.SerializeToString()


@pytest.fixture
def market(tmp_path):
    """A market with a retriever and a buyer."""
    found = GrantedMarket(tmp_path)
    found.retriever("retriever")
    found.buyer("buyer", ["retriever"])
    return found


@pytest.fixture(scope="module")
def engine():
    return Engine(LAB)


def total(market: LocalMarket) -> int:
    """All tokens: of the roles, of the contracts, of who funds them."""
    token = market.contracts["token"]
    holders = {role.ledger.address for role in market.roles.values()}
    holders |= {contract.address for contract in market.contracts.contracts.values()}
    holders |= {market.connection.accounts(1)[0].address}
    return sum(token.call("balanceOf", holder) for holder in holders)


def nothing_locked(market: LocalMarket) -> None:
    """The market holds what it owes in balances and nothing else; no stake is locked."""
    contracts = market.contracts
    accounts = {role.ledger.address for role in market.roles.values()}
    accounts.add(contracts["release_foundation"].address)
    owed = sum(contracts["market"].call("balances", account) for account in accounts)
    assert contracts["token"].call("balanceOf", contracts["market"].address) == owed
    for role in market.roles.values():
        assert role.ledger.node().locked == 0


def buyer_state(market: LocalMarket, order: bytes) -> str:
    return market.roles["buyer"].status(order)["state"]


@pytest.mark.parametrize("redundancy", [1, 3])
def test_an_order_is_computed_paid_and_right(market, engine, model, inputs, redundancy):
    for k in range(3):
        market.supplier(f"s{k}", engine, price=(k + 1) * 10**8 * HAI)
    buyer = market.roles["buyer"]
    order = buyer.submit(model, {"x": inputs}, dataclasses.replace(WISH, redundancy=redundancy))
    assert market.run(lambda: buyer_state(market, order) == "done")
    (expected,) = hpu.InferenceSession(model, config="lab-16").run(None, {"x": inputs})
    np.testing.assert_array_equal(buyer.fetch(order)["y"], expected)
    assert market.state(order) == State.SETTLED
    suppliers = [market.roles[f"s{k}"] for k in range(3)]
    paid = [supplier.ledger.balance() for supplier in suppliers]
    market.step()
    payments = market.roles["retriever"].telling.history.payments
    workers = [payment.account for payment in payments if payment.reason == "work"]
    assert len(workers) == redundancy
    assert suppliers[0].ledger.address in workers  # the cheapest
    fees = buyer.ledger.balance() + sum(paid) + market.roles["retriever"].ledger.balance()
    assert 0 < 10_000 * HAI - fees < HAI  # the rest is the treasury's
    nothing_locked(market)
    history = market.roles["retriever"].telling.history
    assert {proof.kind for proof in history.proofs} >= {"transaction", "space-time", "result"}
    assert market.wire.request("local:retriever", Request("GET", "/")).type == "text/html"
    assert (
        b"hpu_supplier_orders" in market.wire.request("local:s0", Request("GET", "/metrics")).body
    )


def test_a_role_may_be_killed_after_any_step(market, engine, model, inputs):
    market.supplier("s0", engine)
    order = market.roles["buyer"].submit(model, {"x": inputs}, WISH)
    for _turn in range(30):
        for name in ("buyer", "retriever", "s0"):
            market.step(name)
            market.stop(name)
            market.start(name)
        if buyer_state(market, order) == "done":
            break
    assert buyer_state(market, order) == "done"
    assert market.roles["s0"].journal.counts("order") == {"done": 1}
    nothing_locked(market)


def reach(market: LocalMarket, order: bytes, state: int) -> None:
    """One role's step after the other, until the order is in a state."""
    for _turn in range(20):
        for name in list(market.roles):
            if market.state(order) == state:
                return
            market.step(name)
    raise AssertionError(f"the order is in state {market.state(order)}")


@pytest.mark.parametrize("state", [State.MATCHED, State.COMMITTED])
def test_a_killed_supplier_loses_its_stake_and_the_buyer_has_the_money_back(
    market, engine, model, inputs, state
):
    supplier = market.supplier("s0", engine)
    before = supplier.ledger.node()
    order = market.roles["buyer"].submit(model, {"x": inputs}, WISH)
    reach(market, order, state)
    market.stop("s0")
    assert market.run(lambda: buyer_state(market, order) == "over", seconds=900)
    assert market.state(order) == State.EXPIRED
    assert market.roles["buyer"].status(order)["reason"] == "expired"
    assert market.roles["buyer"].ledger.balance() == 10_000 * HAI
    after = supplier.ledger.node()
    assert (after.stake, after.locked) == (before.stake - 2 * WISH.quote, 0)
    assert after.rating < before.rating
    with pytest.raises(BuyerError, match=r"has no result \(over: expired\)"):
        market.roles["buyer"].fetch(order)


def test_a_silent_buyer_pays_by_itself(market, engine, model, inputs):
    market.supplier("s0", engine)
    order = market.roles["buyer"].submit(model, {"x": inputs}, WISH)
    reach(market, order, State.MATCHED)
    market.stop("buyer")
    assert market.run(lambda: market.state(order) == State.SETTLED, seconds=1800)
    paid = market.roles["s0"].ledger.balance()
    assert paid > HELD - WISH.quote  # the work and the buyer's collateral
    buyer = market.start("buyer")
    assert market.run(lambda: buyer_state(market, order) == "done")
    assert buyer.fetch(order)["y"].shape == (5, 4)


def test_a_silent_retriever_is_passed_over(tmp_path, engine, model, inputs):
    market = GrantedMarket(tmp_path)
    market.retriever("first")
    market.retriever("second")
    market.buyer("buyer", ["first", "second"])
    market.supplier("s0", engine)
    order = market.roles["buyer"].submit(model, {"x": inputs}, WISH)
    market.step("buyer")
    market.stop("first")
    assert market.run(lambda: buyer_state(market, order) == "matched")
    market.stop("second")
    assert market.run(lambda: buyer_state(market, order) == "done")


def test_a_retriever_that_takes_orders_and_does_nothing(tmp_path, engine, model, inputs):
    market = GrantedMarket(tmp_path)
    market.retriever("first").advance = lambda: None
    market.retriever("second")
    market.buyer("buyer", ["first", "second"])
    market.supplier("s0", engine)
    order = market.roles["buyer"].submit(model, {"x": inputs}, WISH)
    assert market.run(lambda: buyer_state(market, order) == "done", seconds=60)


@pytest.mark.parametrize("liar", [Liar, HiddenLiar])
def test_a_drawn_verifier_finds_a_wrong_byte_and_the_liar_is_slashed(
    market, engine, model, inputs, liar
):
    guilty = market.supplier("s0", liar(LAB))
    for k in range(2):
        market.verifier(f"v{k}", engine)
    buyer = market.roles["buyer"]
    order = buyer.submit(model, {"x": inputs}, WISH)
    assert market.run(lambda: market.state(order) in State.ENDS)
    assert market.state(order) == State.REFUNDED
    assert guilty.ledger.node().stake == 990 * HAI
    assert buyer.ledger.balance() == 10_000 * HAI
    verdict = guilty.ledger.events(order, "Resolved")[-1]
    assert verdict["guilty"] == guilty.ledger.address and verdict["proven"]
    earned = sum(market.roles[f"v{k}"].ledger.balance() for k in range(2)) - 2000 * HAI
    assert earned > 0
    market.run(lambda: False, turns=3)
    nothing_locked(market)


def test_of_two_suppliers_the_liar_is_found_and_the_other_paid(market, engine, model, inputs):
    honest = market.supplier("s0", engine)
    guilty = market.supplier("s1", Liar(LAB))
    buyer = market.roles["buyer"]
    order = buyer.submit(model, {"x": inputs}, dataclasses.replace(WISH, redundancy=2))
    assert market.run(lambda: buyer_state(market, order) == "done", seconds=600)
    assert guilty.ledger.node().stake == 990 * HAI
    assert honest.ledger.node().stake == 1000 * HAI and honest.ledger.balance() > 0
    (expected,) = hpu.InferenceSession(model, config="lab-16").run(None, {"x": inputs})
    np.testing.assert_array_equal(buyer.fetch(order)["y"], expected)
    nothing_locked(market)


def test_a_supplier_that_keeps_the_output_must_show_it_on_the_chain(market, engine, model, inputs):
    market.supplier("s0", engine)
    order = market.roles["buyer"].submit(model, {"x": inputs}, WISH)
    reach(market, order, State.COMMITTED)
    del market.wire.handlers["local:s0"]
    assert market.run(lambda: buyer_state(market, order) == "done", seconds=300)
    (expected,) = hpu.InferenceSession(model, config="lab-16").run(None, {"x": inputs})
    np.testing.assert_array_equal(market.roles["buyer"].fetch(order)["y"], expected)
    assert len(market.roles["buyer"].ledger.events(order, "Answered")) == 1


def test_a_supplier_that_vanishes_with_the_output_loses_its_stake(market, engine, model, inputs):
    supplier = market.supplier("s0", engine)
    order = market.roles["buyer"].submit(model, {"x": inputs}, WISH)
    reach(market, order, State.COMMITTED)
    market.step("s0")
    assert market.state(order) == State.REVEALED
    market.stop("s0")
    assert market.run(lambda: buyer_state(market, order) == "over", seconds=900)
    assert supplier.ledger.node().stake == 990 * HAI
    assert market.roles["buyer"].ledger.balance() == 10_000 * HAI


# Bad input.


def message_of(market: LocalMarket, order: bytes) -> dict:
    _state, data = market.roles["buyer"].journal.get("order", order.hex())
    return {key: data[key] for key in ("order", "signature", "content", "keys")}


def post(market: LocalMarket, message: dict, to: str = "retriever", path: str = "/orders"):
    return call(market.wire, f"local:{to}", "POST", path, message)


def test_orders_that_are_refused(market, engine, model, inputs):
    market.supplier("s0", engine)
    buyer = market.roles["buyer"]
    order = buyer.submit(model, {"x": inputs}, WISH)
    message = message_of(market, order)
    changed = message | {"order": message["order"] | {"price": "1"}}
    with pytest.raises(RefusalError, match="the order's signature is not its buyer's"):
        post(market, changed)
    with pytest.raises(RefusalError, match="signature must be 65 bytes"):
        post(market, message | {"signature": "00"})
    with pytest.raises(RefusalError, match="must be wrapped for 1 to 8 suppliers"):
        post(market, message | {"keys": {}})
    with pytest.raises(RefusalError, match="content must be its model and its input"):
        post(market, message | {"content": {}})
    with pytest.raises(RefusalError, match="a content identifier must be"):
        post(market, message | {"content": {"model": "x", "input": "y"}})
    with pytest.raises(RefusalError, match="the fields of an order must be"):
        post(market, message | {"order": {}})
    assert market.run(lambda: buyer_state(market, order) == "done")
    with pytest.raises(RefusalError, match="the order is under way or over already"):
        post(market, message | {"retriever": "x"}, "s0", "/offers")
    other = market.retriever("other")
    with pytest.raises(RefusalError, match="the order was matched or cancelled before"):
        post(market, message, "other")
    market.connection.advance(WISH.patience)
    with pytest.raises(RefusalError, match="the order has expired"):
        post(market, message)
    with pytest.raises(RefusalError, match="has expired"):
        post(market, message, "s0", "/offers")
    assert other.journal.counts("order") == {}


def test_a_buyer_without_money(market, engine, model, inputs):
    market.supplier("s0", engine)
    buyer = market.roles["buyer"]
    dear = dataclasses.replace(WISH, quote=10_000 * HAI)
    with pytest.raises(BuyerError, match=r"needs 10500 HAI in the market .* and there are 10000"):
        buyer.submit(model, {"x": inputs}, dear)
    with pytest.raises(BuyerError, match="only 0 suppliers would take it"):
        buyer.submit(model, {"x": inputs}, dataclasses.replace(WISH, price=1))
    order = buyer.submit(model, {"x": inputs}, WISH)
    buyer.ledger.market("withdraw", 10_000 * HAI)
    with pytest.raises(RefusalError, match="buyer's balance must be at least"):
        post(market, message_of(market, order))
    market.run(lambda: False, turns=3, seconds=2000)
    assert buyer_state(market, order) == "over"
    assert buyer.status(order)["reason"] == "nobody matched it in time"


def test_content_that_is_not_what_the_order_says(market, engine, model, inputs):
    market.supplier("s0", engine)
    buyer = market.roles["buyer"]
    order = buyer.submit(model, {"x": inputs}, WISH)
    other = buyer.submit(model, {"x": 2 * inputs}, WISH)
    _state, wrong = buyer.journal.get("order", other.hex())
    buyer.journal.note("order", order.hex(), content=wrong["content"], keys=wrong["keys"])
    buyer.journal.move("order", other.hex(), "signed", "over")
    market.run(lambda: False, turns=4)
    assert market.state(order) == 0
    status = call(market.wire, "local:retriever", "GET", f"/orders/{order.hex()}")
    assert list(status["refused"].values()) == ["the content is not what the order's roots say."]


def test_a_key_is_given_to_drawn_verifiers_alone(market, engine, model, inputs):
    from hpu.chain_integration.roles.orders import KeyRequest

    market.supplier("s0", engine)
    buyer = market.roles["buyer"]
    order = buyer.submit(model, {"x": inputs}, WISH)
    market.run(lambda: buyer_state(market, order) == "done")
    request = KeyRequest(order, buyer.ledger.address)
    signed = request.sign(buyer.ledger.domain, buyer.ledger.account).hex()
    path = f"/orders/{order.hex()}/key"
    with pytest.raises(RefusalError, match="the account is no verifier of this order"):
        post(market, {"request": request.to_json(), "signature": signed}, "s0", path)
    forged = dataclasses.replace(request, verifier=market.roles["s0"].ledger.address)
    with pytest.raises(RefusalError, match="signature is not the verifier's"):
        post(market, {"request": forged.to_json(), "signature": signed}, "s0", path)


def test_cancelling(market, engine, model, inputs):
    market.supplier("s0", engine)
    buyer = market.roles["buyer"]
    order = buyer.submit(model, {"x": inputs}, WISH)
    buyer.cancel(order)
    market.run(lambda: False, turns=3)
    assert buyer_state(market, order) == "over" and buyer.ledger.balance() == 10_000 * HAI


def test_a_peer_that_is_not_there(market, engine, model, inputs):
    with pytest.raises(BuyerError, match="only 0 suppliers would take it"):
        market.roles["buyer"].submit(model, {"x": inputs}, WISH)
    market.stop("retriever")
    with pytest.raises(BuyerError, match="local:retriever does not answer"):
        market.roles["buyer"].submit(model, {"x": inputs}, WISH)
    with pytest.raises(PeerError):
        market.wire.request("local:nobody", Request("GET", "/"))


def test_no_key_and_no_content_is_written_in_clear(market, engine, model, inputs, tmp_path, caplog):
    caplog.set_level("DEBUG")
    market.supplier("s0", engine)
    buyer = market.roles["buyer"]
    order = buyer.submit(model, {"x": inputs}, WISH)
    market.run(lambda: buyer_state(market, order) == "done")
    _state, data = buyer.journal.get("order", order.hex())
    secrets = [buyer._key(data), bytes(buyer.ledger.account.key), model[:200]]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 8
    for secret in secrets:
        assert not any(secret in content for content in files)
        assert secret.hex() not in caplog.text
    assert Order.from_json(data["order"]).buyer == buyer.ledger.address


def test_messages_of_no_form_are_refused(market, engine, model, inputs):
    market.supplier("s0", engine)
    order = market.roles["buyer"].submit(model, {"x": inputs}, WISH)
    message = message_of(market, order)
    for bad in ([], None, 5, {"order": []}, message | {"keys": {"x": 1, "y": None}, "url": 3}):
        for to, path in (("retriever", "/orders"), ("s0", "/offers"), ("retriever", "/candidates")):
            with pytest.raises(RefusalError):
                post(market, bad, to, path)
    assert market.run(lambda: buyer_state(market, order) == "done")


@pytest.mark.parametrize(
    "answer", [[], {}, {"state": "accepted"}, {"state": "accepted", "acceptance": 3}]
)
def test_a_supplier_that_answers_nonsense_is_passed_over(market, engine, model, inputs, answer):
    for name, price in (("s0", HAI), ("s1", 2 * HAI)):
        market.supplier(name, engine, price=price)
    market.wire.handlers["local:s0"] = lambda _request: reply_json(answer)
    order = market.roles["buyer"].submit(model, {"x": inputs}, WISH)
    assert market.run(lambda: buyer_state(market, order) == "done", seconds=60)
    assert list(market.roles["buyer"].ledger.results(order)) == [market.roles["s1"].ledger.address]


def test_content_of_orders_that_are_over_is_deleted(market, engine, model, inputs):
    market.supplier("s0", engine)
    order = market.roles["buyer"].submit(model, {"x": inputs}, WISH)
    assert market.run(lambda: buyer_state(market, order) == "done")
    market.run(lambda: False, turns=2)
    assert market.roles["retriever"].store.size == 0
    result = market.roles["buyer"].ledger.results(order)
    (sealed,) = [sealed_cid(each.sealed) for each in result.values()]
    assert sealed in market.roles["s0"].store and len(list(market.roles["s0"].store)) == 2


# Groups.


def test_the_keeper_of_a_group_is_replaced_when_it_vanishes(market, engine):
    for name in ("s0", "s1", "s2"):
        market.supplier(name, engine)
    region = b"here".ljust(32, b"\0")
    groups = market.contracts["groups"]
    market.run(lambda: False, turns=4, seconds=400)
    first = groups.call("groups", region)
    names = {market.roles[name].ledger.address: name for name in ("s0", "s1", "s2")}
    assert set(groups.call("members", region)) == set(names)
    assert first["book"] != bytes(32) and first["beat"] > first["since"]
    measured = [groups.call("time_between", a, b)[0] for a in names for b in names if a != b]
    assert all(measured)
    market.stop(names[first["keeper"]])
    market.run(lambda: False, turns=6, seconds=400)
    second = groups.call("groups", region)
    assert second["keeper"] != first["keeper"] and second["keeper"] in names


def test_a_supplier_that_is_away_for_a_while_is_verified_later(market, engine, model, inputs):
    supplier = market.supplier("s0", engine)
    market.verifier("v0", engine)
    order = market.roles["buyer"].submit(model, {"x": inputs}, WISH)
    reach(market, order, State.REVEALED)
    market.step("retriever")
    usage = f"/blobs/{cid_text(usage_cid(supplier.ledger.results(order).popitem()[1].usage))}"

    def without_usage(request):
        if request.path == usage:
            raise PeerError("local:s0 does not answer.")
        return supplier.handle(request)

    market.wire.handlers["local:s0"] = without_usage
    market.run(lambda: False, turns=3)
    assert market.roles["v0"].journal.counts("check") == {"drawn": 1}
    market.wire.handlers["local:s0"] = supplier.handle
    market.step("v0")
    assert market.roles["v0"].journal.counts("check") == {"agreed": 1}
