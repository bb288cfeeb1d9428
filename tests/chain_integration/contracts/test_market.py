"""Orders from the match to their end: states, deadlines, payments, refusals."""

import pytest
from tests.chain_integration.contracts.marketplace import (
    BALANCE,
    COMMITTED,
    DEMANDED,
    EXPIRED,
    HAI,
    INPUT,
    MATCHED,
    MODEL,
    POWER,
    REFUNDED,
    REVEALED,
    SETTLED,
    STAKE,
    commitment,
    result,
)

from hpu.chain_integration.chain.errors import RevertedError
from hpu.chain_integration.proofs import merkle

DAY = 86400
SALT = b"\x07" * 32


def refused(reason: str):
    return pytest.raises(RevertedError, match=reason)


def matched(trade, suppliers=1, prices=None, **changes):
    order = trade.order(**{"redundancy": suppliers, **changes})
    return trade.match(order, trade.nodes[:suppliers], prices)


def revealed(trade, suppliers=1, works=None, **changes):
    id = matched(trade, suppliers, **changes)
    works = works or [HAI] * suppliers
    trade.deliver(id, {n: result(work=w) for n, w in zip(trade.nodes, works, strict=False)})
    return id


# The way to the end.


def test_an_order_goes_through_its_states(trade):
    id = matched(trade, 2)
    first, second = trade.nodes[:2]
    trade.commit(id, first, result())
    assert trade.state(id) == MATCHED
    trade.commit(id, second, result())
    assert (trade.state(id), trade.job(id)["ends"]) == (COMMITTED, trade.now + 3600)
    trade.reveal(id, second, result())
    assert trade.state(id) == COMMITTED
    trade.reveal(id, first, result())
    assert (trade.state(id), trade.job(id)["ends"]) == (REVEALED, trade.now + 6 * 3600)
    assert trade.job(id)["table"] == 4
    receipt = trade.do(trade.market, trade.buyer, "confirm", id)
    assert trade.state(id) == SETTLED
    assert receipt.event("StateChanged")["state"] == SETTLED
    assert trade.market.call("held", id) == 0
    assert [trade.stake(node) for node in trade.nodes[:2]] == [(STAKE, 0)] * 2
    assert trade.market.call("buyer_record", trade.buyer) == (1, 0, 0)
    trade.check_money([id])


def test_one_supplier_is_paid_price_times_work(trade):
    """Half the deadline used: 5 % bonus; a new node's rating is 70 %."""
    order = trade.order(deadline=1000)
    id = trade.match(order, trade.nodes[:1])
    trade.at(trade.job(id)["matched"] + 500)
    trade.deliver(id, {trade.nodes[0]: result(work=4 * HAI)})
    assert trade.market.call("share", id, trade.nodes[0])["committed"] == 500
    trade.do(trade.market, trade.buyer, "confirm", id)
    due = 8 * HAI * 105 // 100 * 70 // 100
    assert trade.balance(trade.nodes[0]) == due * 95 // 100
    assert trade.balance(trade.retriever) == due * 2 // 100
    assert trade.balance(trade.treasury) == due * 3 // 100
    assert trade.balance(trade.buyer) == BALANCE - due
    trade.check_money([id])


def test_a_late_supplier_has_no_bonus(trade):
    id = matched(trade)
    trade.after(1200)
    trade.deliver(id, {trade.nodes[0]: result(work=4 * HAI)})
    trade.do(trade.market, trade.buyer, "confirm", id)
    assert trade.balance(trade.buyer) == BALANCE - 8 * HAI * 70 // 100


def test_nobody_is_paid_more_than_the_quotes(trade):
    id = revealed(trade, works=[10**6 * HAI])
    trade.do(trade.market, trade.buyer, "confirm", id)
    assert trade.balance(trade.buyer) == BALANCE - 100 * HAI
    trade.check_money([id])


def test_payment_is_shared_by_power(trade):
    trade.prove(trade.nodes[1], 3 * POWER)
    id = revealed(trade, 2, works=[10**6 * HAI] * 2)
    trade.do(trade.market, trade.buyer, "confirm", id)
    assert trade.balance(trade.nodes[0]) == 50 * HAI * 95 // 100
    assert trade.balance(trade.nodes[1]) == 150 * HAI * 95 // 100
    assert trade.balance(trade.buyer) == BALANCE - 200 * HAI


@pytest.mark.parametrize(
    ("works", "paid"),
    [([100, 100], 200), ([100, 102], 202), ([100, 900], 203), ([100, 1, 900], 204)],
)
def test_work_beyond_the_others_is_not_paid(trade, works, paid):
    """At most 3 % above the lower median; equal prices, ratings and powers, no bonus."""
    suppliers = len(works)
    id = matched(trade, suppliers)
    trade.after(1100)
    works = [work * HAI // 10 for work in works]
    trade.deliver(id, {n: result(work=w) for n, w in zip(trade.nodes, works, strict=False)})
    trade.do(trade.market, trade.buyer, "confirm", id)
    expected = paid * HAI // 10 * 2 * 70 // 100
    assert BALANCE - trade.balance(trade.buyer) == pytest.approx(expected, abs=3)


def test_each_supplier_has_the_price_that_it_asked(trade):
    id = matched(trade, 2, prices=[HAI, 3 * HAI])
    trade.after(1100)
    trade.deliver(id, {node: result(work=10 * HAI) for node in trade.nodes[:2]})
    trade.do(trade.market, trade.buyer, "confirm", id)
    assert trade.balance(trade.buyer) == BALANCE - 40 * HAI * 70 // 100


def test_a_silent_buyer_loses_its_collateral(trade):
    id = revealed(trade, 3, works=[1] * 3, quote=HAI + 7)
    with refused("buyer may still confirm"):
        trade.do(trade.market, trade.retriever, "settle", [id])
    trade.after(6 * 3600)
    trade.do(trade.market, trade.nodes[5], "settle", [id])
    assert trade.state(id) == SETTLED
    bond = 3 * (HAI + 7) * 5 // 100
    for node in trade.nodes[:3]:
        assert trade.balance(node) == bond // 3 + 1
    assert trade.balance(trade.buyer) == BALANCE - bond - 3
    assert trade.market.call("buyer_record", trade.buyer) == (0, 1, 0)
    trade.check_money([id])


def test_orders_settle_in_one_transaction(trade):
    ids = [revealed(trade, salt=salt) for salt in range(4)]
    trade.after(6 * 3600 + 1)
    trade.do(trade.market, trade.retriever, "settle", ids)
    assert [trade.state(id) for id in ids] == [SETTLED] * 4
    earned = trade.balance(trade.nodes[0])
    before = trade.token.call("balanceOf", trade.nodes[0])
    trade.do(trade.market, trade.nodes[0], "withdraw", earned)
    assert trade.token.call("balanceOf", trade.nodes[0]) == before + earned
    trade.check_money(ids)


def test_owners_are_paid_when_the_order_is_settled(trade):
    owner = trade.nodes[5]
    trade.do(trade.court, owner, "ask", MODEL, owner, 3 * HAI)
    trade.do(trade.court, owner, "ask", INPUT, trade.nodes[4], 2 * HAI)
    first = revealed(trade, fees=9 * HAI)
    second = matched(trade, fees=9 * HAI, salt=2)
    trade.do(trade.market, trade.buyer, "confirm", first)
    assert (trade.balance(owner), trade.balance(trade.nodes[4])) == (3 * HAI, 2 * HAI)
    before = trade.balance(trade.buyer)
    trade.after(1601)
    trade.do(trade.market, trade.nodes[4], "expire", second)
    assert trade.balance(trade.buyer) == before + 110 * HAI
    assert (trade.balance(owner), trade.balance(trade.nodes[4])) == (3 * HAI, 2 * HAI)
    trade.check_money([first, second])


# Ratings and abuse.


def test_work_raises_the_rating(trade):
    node = trade.nodes[0]
    for salt in range(3):
        id = revealed(trade, salt=salt)
        trade.do(trade.market, trade.buyer, "confirm", id)
    record = trade.registry.call("record", node)
    assert (record["done"], record["confirmed"], record["work"]) == (3, 3, 3 * HAI)
    used = trade.registry.call("rating", node) - 7000 - 1500 * 3 // 13 - 1000 * 3 // 13
    assert used == 500  # 3 T·H in minutes by a node of one TOPS: all that it offered
    trade.after(30 * DAY)
    assert trade.registry.call("rating", node) < 7000 + 346 + 230 + 10


def test_what_is_not_confirmed_counts_less(trade):
    id = revealed(trade)
    trade.after(6 * 3600 + 1)
    trade.do(trade.market, trade.retriever, "settle", [id])
    record = trade.registry.call("record", trade.nodes[0])
    assert (record["done"], record["confirmed"]) == (1, 0)


def test_trade_with_oneself_costs_fees_and_earns_nothing(trade):
    """The node buys from itself and retrieves for itself."""
    node = trade.nodes[0]
    trade.do(trade.market, node, "deposit", 1000 * HAI)
    order = trade.order(buyer=node)
    accepted = trade.acceptance(order, node, retriever=node)
    arguments = trade.match_arguments(order, [accepted])
    trade.do(trade.market, node, "match_order", *arguments)
    id = order.digest(trade.domain)
    trade.deliver(id, {node: result(work=10 * HAI)})
    trade.do(trade.market, node, "confirm", id)
    record = trade.registry.call("record", node)
    assert (record["done"], record["confirmed"], record["work"]) == (0, 0, 0)
    fee = 1000 * HAI - trade.balance(node)
    assert fee == trade.balance(trade.treasury) > 0
    assert trade.registry.call("rating", node) == 7000
    trade.check_money([id])


@pytest.mark.parametrize("role", ["buyer", "retriever"])
def test_a_supplier_in_another_role_earns_no_rating(trade, role):
    node = trade.nodes[0]
    trade.do(trade.market, node, "deposit", 1000 * HAI)
    order = trade.order(**({"buyer": node} if role == "buyer" else {}))
    retriever = node if role == "retriever" else trade.retriever
    accepted = trade.acceptance(order, node, retriever=retriever)
    trade.do(trade.market, retriever, "match_order", *trade.match_arguments(order, [accepted]))
    id = order.digest(trade.domain)
    trade.deliver(id, {node: result()})
    trade.do(trade.market, order.buyer, "confirm", id)
    assert trade.registry.call("record", node)["done"] == 0
    if role == "retriever":
        assert trade.balance(trade.treasury) * 20 == pytest.approx(
            BALANCE - trade.balance(trade.buyer)
        )


def test_work_for_nothing_earns_no_rating(trade):
    id = matched(trade, prices=[0])
    trade.deliver(id, {trade.nodes[0]: result()})
    trade.do(trade.market, trade.buyer, "confirm", id)
    assert trade.registry.call("record", trade.nodes[0])["done"] == 0
    assert trade.balance(trade.buyer) == BALANCE


# Suppliers that fail.


@pytest.mark.parametrize("delivered", [0, 1, 2])
def test_who_does_not_commit_in_time_pays_the_others(trade, delivered):
    id = matched(trade, 3)
    for node in trade.nodes[:delivered]:
        trade.commit(id, node, result())
    trade.at(trade.job(id)["ends"])
    with refused("there is still time"):
        trade.market.call("expire", id)
    trade.at(trade.job(id)["ends"] + 1)
    trade.do(trade.market, trade.nodes[5], "expire", id)
    assert trade.state(id) == EXPIRED
    assert trade.balance(trade.buyer) == BALANCE
    late = trade.nodes[delivered:3]
    for node in late:
        assert trade.stake(node) == (STAKE - 200 * HAI, 0)
        record = trade.registry.call("record", node)
        assert (record["late"], record["punished_until"]) == (1, trade.now + 10 * DAY)
    for node in trade.nodes[:delivered]:
        assert trade.stake(node) == (STAKE, 0)
        assert trade.balance(node) == 100 * HAI
        assert trade.registry.call("rating", node) == 7000
    assert trade.balance(trade.treasury) == (200 * len(late) - 100 * delivered) * HAI
    trade.check_money([id])


def test_commitments_are_taken_through_the_grace_period(trade):
    id = matched(trade)
    trade.at(trade.job(id)["matched"] + 1600)
    trade.commit(id, trade.nodes[0], result())
    assert trade.state(id) == COMMITTED
    other = matched(trade, salt=2)
    trade.at(trade.job(other)["matched"] + 1601)
    with refused("too late to commit"):
        trade.commit(other, trade.nodes[0], result())


def test_who_does_not_reveal_in_time_pays_the_others(trade):
    id = matched(trade, 2)
    for node in trade.nodes[:2]:
        trade.commit(id, node, result())
    trade.reveal(id, trade.nodes[0], result())
    trade.after(3601)
    with refused("too late to reveal"):
        trade.reveal(id, trade.nodes[1], result())
    trade.do(trade.market, trade.retriever, "expire", id)
    assert trade.state(id) == EXPIRED
    assert trade.balance(trade.nodes[0]) == 100 * HAI
    assert trade.stake(trade.nodes[1]) == (STAKE - 200 * HAI, 0)
    assert trade.balance(trade.treasury) == 100 * HAI
    trade.check_money([id])


@pytest.mark.parametrize("committed", [False, True])
def test_who_gives_up_is_punished_for_three_days(trade, committed):
    id = matched(trade, 2)
    if committed:
        for node in trade.nodes[:2]:
            trade.commit(id, node, result())
    with refused("not a supplier of this order"):
        trade.do(trade.market, trade.buyer, "give_up", id)
    trade.do(trade.market, trade.nodes[1], "give_up", id)
    assert trade.state(id) == REFUNDED
    record = trade.registry.call("record", trade.nodes[1])
    assert (record["ended"], record["punished_until"]) == (1, trade.now + 3 * DAY)
    assert trade.balance(trade.nodes[0]) == trade.balance(trade.treasury) == 100 * HAI
    assert trade.balance(trade.buyer) == BALANCE
    trade.check_money([id])


def test_a_punished_node_is_paid_half(trade):
    first = matched(trade)
    second = matched(trade, salt=2)
    trade.do(trade.market, trade.nodes[0], "give_up", first)
    trade.after(1100)
    trade.deliver(second, {trade.nodes[0]: result(work=10 * HAI)})
    trade.do(trade.market, trade.buyer, "confirm", second)
    assert trade.balance(trade.buyer) == BALANCE - 20 * HAI * 35 // 100


# Refusals.


def test_results_are_those_that_were_committed(trade):
    node = trade.nodes[0]
    id = matched(trade)
    trade.commit(id, node, result())
    for wrong in (result(output=2), result(work=1), result(trace=2)):
        with refused("result is not what was committed"):
            trade.reveal(id, node, wrong)
    with refused("result is not what was committed"):
        trade.do(trade.market, node, "reveal", id, result(), b"\x08" * 32)
    trade.reveal(id, node, result())


def test_a_copied_commitment_is_worth_nothing(trade):
    id = matched(trade, 2)
    first, second = trade.nodes[:2]
    copied = commitment(id, first, result(), SALT)
    trade.do(trade.market, first, "commit", id, copied)
    trade.do(trade.market, second, "commit", id, copied)
    trade.reveal(id, first, result())
    with refused("result is not what was committed"):
        trade.reveal(id, second, result())


def test_a_commitment_is_for_one_order(trade):
    first, second = matched(trade), matched(trade, salt=2)
    node = trade.nodes[0]
    trade.do(trade.market, node, "commit", second, commitment(first, node, result(), SALT))
    with refused("result is not what was committed"):
        trade.reveal(second, node, result())


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"model": b"\x33" * 32}, "not the order's model and input"),
        ({"input": b"\x33" * 32}, "not the order's model and input"),
        ({"work": 0}, "work is out of range"),
        ({"work": 2**96}, "work is out of range"),
    ],
)
def test_results_that_are_refused(trade, wrong, reason):
    id = matched(trade)
    trade.commit(id, trade.nodes[0], result(**wrong))
    with refused(reason):
        trade.reveal(id, trade.nodes[0], result(**wrong))


def test_moves_out_of_turn_are_refused(trade):
    node, stranger = trade.nodes[0], trade.nodes[3]
    id = matched(trade, 2)
    with refused("not a supplier of this order"):
        trade.commit(id, stranger, result())
    with refused("commitment is missing"):
        trade.do(trade.market, node, "commit", id, b"\0" * 32)
    with refused("order is not in the state for this"):
        trade.reveal(id, node, result())
    with refused("order is not in the state for this"):
        trade.do(trade.market, trade.buyer, "confirm", id)
    trade.commit(id, node, result())
    with refused("committed before"):
        trade.commit(id, node, result())
    trade.commit(id, trade.nodes[1], result())
    with refused("order is not in the state for this"):
        trade.commit(id, node, result())
    trade.reveal(id, node, result())
    with refused("revealed before"):
        trade.reveal(id, node, result())
    trade.reveal(id, trade.nodes[1], result())
    with refused("only the buyer may do this"):
        trade.do(trade.market, node, "confirm", id)
    with refused("order is not being worked on"):
        trade.do(trade.market, node, "give_up", id)
    with refused("order does not wait for a deadline"):
        trade.do(trade.market, node, "expire", id)


ENDINGS = ["settled", "expired", "given up"]
AFTERWARDS = [
    ("commit", lambda id: (id, b"\1" * 32), "order is not in the state for this"),
    ("reveal", lambda id: (id, result(), SALT), "order is not in the state for this"),
    ("confirm", lambda id: (id,), "order is not in the state for this"),
    ("settle", lambda id: ([id],), "order is not in the state for this"),
    ("expire", lambda id: (id,), "order does not wait for a deadline"),
    ("give_up", lambda id: (id,), "order is not being worked on"),
    ("agree", lambda id: (id,), "order is not in the state for this"),
]


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_follows_the_end(trade, ending):
    id = revealed(trade) if ending == "settled" else matched(trade)
    if ending == "settled":
        trade.do(trade.market, trade.buyer, "confirm", id)
    elif ending == "expired":
        trade.after(2000)
        trade.do(trade.market, trade.buyer, "expire", id)
    else:
        trade.do(trade.market, trade.nodes[0], "give_up", id)
    before = {account: trade.balance(account) for account in trade.accounts}
    for name, arguments, reason in AFTERWARDS:
        for account in (trade.buyer, trade.nodes[0]):
            with refused(reason):
                trade.do(trade.market, account, name, *arguments(id))
    assert before == {account: trade.balance(account) for account in trade.accounts}
    trade.check_money([id])


def test_an_unknown_order_has_nothing(trade):
    unknown = b"\x44" * 32
    assert trade.state(unknown) == 0
    assert trade.market.call("held", unknown) == 0
    with refused("order does not wait for a deadline"):
        trade.do(trade.market, trade.buyer, "expire", unknown)


# Availability.


def output_of(size: int) -> tuple[bytes, merkle.Tree, merkle.Tree, list[bytes]]:
    """An output of two tensors: its root, its tree, the second tensor's tree and leaves."""
    leaves = [bytes([k]) * 256 for k in range(size)]
    tensor = merkle.Tree.of(leaves)
    whole = merkle.Tree.of([b"\x21" * 32, tensor.root])
    return whole.root, whole, tensor, leaves


def with_output(trade, root, suppliers=1):
    id = matched(trade, suppliers)
    shown = list(result())
    shown[2] = (root, b"\1" * 32)
    trade.deliver(id, {node: tuple(shown) for node in trade.nodes[:suppliers]})
    return id, shown[2]


def test_a_demand_is_answered_with_the_leaves(trade):
    root, whole, tensor, leaves = output_of(7)
    id, outcome = with_output(trade, root)
    node = trade.nodes[0]
    before = trade.balance(trade.buyer)
    trade.do(trade.market, trade.buyer, "demand", id, node, (1, 2, 3))
    assert (trade.state(id), trade.job(id)["ends"]) == (DEMANDED, trade.now + 3600)
    assert trade.balance(trade.buyer) == before - 5 * HAI
    assert trade.market.call("held", id) == 110 * HAI
    data = b"".join(leaves[2:5])
    answer = (2, tensor.root, whole.prove(1), 7, data, tensor.prove(2, 3))
    wrong = (2, tensor.root, whole.prove(1), 7, data[:-1] + b"\xff", tensor.prove(2, 3))
    with refused("merkle: data is not what was committed"):
        trade.do(trade.market, node, "answer", id, outcome, wrong)
    with refused("not the supplier's outcome"):
        trade.do(trade.market, node, "answer", id, (root, b"\2" * 32), answer)
    receipt = trade.do(trade.market, node, "answer", id, outcome, answer)
    assert receipt.event("Answered")["data"] == data
    assert (trade.state(id), trade.job(id)["ends"]) == (REVEALED, trade.now + 6 * 3600)
    assert trade.balance(node) == 5 * HAI
    trade.check_money([id])
    trade.do(trade.market, trade.buyer, "confirm", id)
    assert trade.state(id) == SETTLED
    trade.check_money([id])


@pytest.mark.parametrize("suppliers", [1, 2])
def test_who_does_not_answer_is_removed(trade, suppliers):
    root, *_ = output_of(3)
    id, _ = with_output(trade, root, suppliers)
    trade.do(trade.market, trade.buyer, "demand", id, trade.nodes[0], (1, 0, 1))
    with refused("there is still time"):
        trade.do(trade.market, trade.retriever, "expire", id)
    trade.after(3601)
    trade.do(trade.market, trade.retriever, "expire", id)
    assert trade.stake(trade.nodes[0]) == (STAKE - 200 * HAI, 0)
    assert trade.registry.call("record", trade.nodes[0])["late"] == 1
    assert trade.balance(trade.treasury) == 200 * HAI
    trade.check_money([id])
    if suppliers == 1:
        assert trade.state(id) == REFUNDED
        assert trade.balance(trade.buyer) == BALANCE
        return
    assert trade.state(id) == REVEALED
    with refused("supplier was removed"):
        trade.do(trade.market, trade.buyer, "demand", id, trade.nodes[0], (1, 0, 1))
    trade.do(trade.market, trade.buyer, "confirm", id)
    assert trade.balance(trade.nodes[0]) == 0 < trade.balance(trade.nodes[1])
    assert trade.balance(trade.buyer) > BALANCE - 100 * HAI
    trade.check_money([id])


@pytest.mark.parametrize(
    ("sender", "wanted", "reason"),
    [
        ("retriever", (0, 0, 1), "only the buyer may do this"),
        ("buyer", (0, 0, 0), "leaves must be 1 to 32"),
        ("buyer", (0, 0, 33), "leaves must be 1 to 32"),
        ("buyer", (0, 2**32, 1), "first leaf is out of range"),
    ],
)
def test_demands_that_are_refused(trade, sender, wanted, reason):
    id = revealed(trade)
    with refused(reason):
        trade.do(trade.market, getattr(trade, sender), "demand", id, trade.nodes[0], wanted)


def test_a_demand_names_a_supplier_and_comes_in_time(trade):
    id = revealed(trade)
    with refused("not a supplier of this order"):
        trade.do(trade.market, trade.buyer, "demand", id, trade.nodes[1], (0, 0, 1))
    trade.after(6 * 3600 + 1)
    with refused("too late to demand"):
        trade.do(trade.market, trade.buyer, "demand", id, trade.nodes[0], (0, 0, 1))
