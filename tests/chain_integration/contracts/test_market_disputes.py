"""Results that differ, challenges, verifiers, and verdicts."""

import pytest
from tests.chain_integration.contracts.marketplace import (
    BALANCE,
    CONTESTED,
    DISPUTED,
    HAI,
    INPUT,
    MODEL,
    REFUNDED,
    REVEALED,
    SETTLED,
    STAKE,
    result,
)

from hpu.chain_integration.chain.errors import RevertedError

DAY = 86400
RIGHT, WRONG, OTHER = result(1)[2], result(2)[2], result(3)[2]


def refused(reason: str):
    return pytest.raises(RevertedError, match=reason)


def delivered(trade, outputs, **changes):
    """An order whose suppliers gave these outputs."""
    nodes = trade.nodes[: len(outputs)]
    id = trade.match(trade.order(redundancy=len(outputs), **changes), nodes)
    trade.deliver(id, {node: result(output) for node, output in zip(nodes, outputs, strict=True)})
    return id


def challenge(trade, id, who, accused, given=WRONG, claimed=RIGHT, content=(MODEL, INPUT)):
    trade.do(trade.market, who, "challenge", id, *content, accused, given, claimed)


def contest(trade, id, accused, given, challenger, claimed, content=(MODEL, INPUT)):
    who = trade.accounts[9]
    arguments = (id, *content, accused, given, challenger, claimed)
    trade.do(trade.market, who, "contest", *arguments)


def verdict(trade, id, guilty, proven=True):
    market = trade.market.address
    return trade.do(trade.court, trade.buyer, "verdict", market, id, guilty, proven)


# A challenge.


def test_a_liar_is_challenged_and_pays(trade):
    id = delivered(trade, [2])
    liar, verifier = trade.nodes[:2]
    trade.do(trade.market, verifier, "deposit", 300 * HAI)
    challenge(trade, id, verifier, liar)
    assert (trade.state(id), trade.job(id)["ends"]) == (DISPUTED, trade.now + 14 * DAY)
    opened = trade.court.call("opened", id)
    assert (opened["accused"], opened["challenger"]) == (liar, verifier)
    assert (opened["model"], opened["input"]) == (MODEL, INPUT)
    assert tuple(opened["given"].values()) == WRONG
    assert tuple(opened["claimed"].values()) == RIGHT
    assert trade.balance(verifier) == 100 * HAI
    assert trade.market.call("held", id) == 305 * HAI
    trade.check_money([id])
    verdict(trade, id, liar)
    assert trade.state(id) == REFUNDED
    assert trade.stake(liar) == (STAKE - 200 * HAI, 0)
    record = trade.registry.call("record", liar)
    assert (record["lost"], record["punished_until"]) == (1, trade.now + 3 * DAY)
    assert trade.balance(verifier) == 400 * HAI
    assert trade.balance(trade.treasury) == 100 * HAI
    assert trade.balance(trade.buyer) == BALANCE
    trade.check_money([id])


def test_a_false_challenge_costs_the_bond(trade):
    id = delivered(trade, [1])
    node = trade.nodes[0]
    challenge(trade, id, trade.buyer, node, given=RIGHT, claimed=WRONG)
    assert trade.balance(trade.buyer) == BALANCE - 305 * HAI
    verdict(trade, id, trade.buyer, proven=False)
    assert (trade.state(id), trade.job(id)["ends"]) == (REVEALED, trade.now + 6 * 3600)
    assert trade.balance(node) == trade.balance(trade.treasury) == 100 * HAI
    assert trade.stake(node) == (STAKE, 200 * HAI)
    assert trade.market.call("buyer_record", trade.buyer) == (0, 0, 1)
    trade.check_money([id])
    trade.do(trade.market, trade.buyer, "confirm", id)
    assert trade.state(id) == SETTLED
    assert trade.balance(trade.buyer) > BALANCE - 300 * HAI
    trade.check_money([id])


def test_the_bond_of_a_false_challenge_is_shared(trade):
    id = delivered(trade, [1, 1, 1])
    challenge(trade, id, trade.buyer, trade.nodes[1], given=RIGHT, claimed=WRONG)
    verdict(trade, id, trade.buyer, proven=False)
    shares = [trade.balance(node) for node in trade.nodes[:3]]
    assert shares == [50 * HAI, 100 * HAI, 50 * HAI]
    trade.check_money([id])


def test_all_that_stand_by_a_lie_lose(trade):
    """Three suppliers and two verifiers stand by a wrong result; the buyer shows it."""
    trade.register(trade.nodes[4])
    id = delivered(trade, [2, 2, 2])
    trade.do(trade.sampling, trade.buyer, "draw", id)
    agreed = list(trade.sampling.call("verifiers", id))
    assert sorted(agreed) == sorted(trade.nodes[3:5])
    for verifier in agreed:
        trade.do(trade.market, verifier, "agree", id)
    challenge(trade, id, trade.buyer, trade.nodes[0])
    verdict(trade, id, trade.nodes[0])
    assert trade.state(id) == REFUNDED
    for node in trade.nodes[:5]:
        assert trade.stake(node) == (STAKE - 200 * HAI, 0)
        assert trade.registry.call("record", node)["lost"] == 1
    assert trade.balance(trade.buyer) == BALANCE + 500 * HAI
    assert trade.balance(trade.treasury) == 500 * HAI
    trade.check_money([id])


def test_silence_in_a_dispute_convicts_nobody_else(trade):
    id = delivered(trade, [1, 1])
    first, second = trade.nodes[:2]
    challenge(trade, id, trade.buyer, first, given=RIGHT, claimed=WRONG)
    verdict(trade, id, first, proven=False)
    assert trade.stake(first) == (STAKE - 200 * HAI, 0)
    assert trade.registry.call("record", first)["punished_until"] == trade.now + 10 * DAY
    assert trade.stake(second) == (STAKE, 200 * HAI)
    assert trade.balance(second) == 100 * HAI  # compensation
    assert trade.state(id) == REVEALED
    trade.check_money([id])
    trade.do(trade.market, trade.buyer, "confirm", id)
    assert trade.balance(first) == 0
    trade.check_money([id])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"accused": 3}, "not a supplier of this order"),
        ({"given": RIGHT}, "not the supplier's outcome"),
        ({"claimed": WRONG}, "both claim the same"),
        ({"content": (INPUT, MODEL)}, "not the order's model and input"),
        ({"who": 0}, "suppliers contest, not challenge"),
        ({"who": 3}, "balance is too small"),
    ],
)
def test_challenges_that_are_refused(trade, changes, reason):
    id = delivered(trade, [2])
    changes = {
        **changes,
        "who": trade.nodes[changes["who"]] if "who" in changes else trade.buyer,
        "accused": trade.nodes[changes.get("accused", 0)],
    }
    before = trade.balance(trade.buyer)
    with refused(reason):
        challenge(trade, id, **changes)
    assert (trade.state(id), trade.balance(trade.buyer)) == (REVEALED, before)


def test_a_challenge_comes_in_time_and_alone(trade):
    id = delivered(trade, [2])
    other = delivered(trade, [2], salt=2)
    challenge(trade, id, trade.buyer, trade.nodes[0])
    with refused("order is not in the state for this"):
        challenge(trade, id, trade.buyer, trade.nodes[0])
    with refused("order is not in the state for this"):
        trade.do(trade.market, trade.buyer, "confirm", id)
    trade.at(trade.job(other)["ends"] + 1)
    with refused("too late to challenge"):
        challenge(trade, other, trade.buyer, trade.nodes[0])


def test_a_dispute_without_end_is_given_up(trade):
    id = delivered(trade, [2, 2])
    challenge(trade, id, trade.buyer, trade.nodes[0])
    trade.at(trade.job(id)["ends"])
    with refused("there is still time"):
        trade.market.call("expire", id)
    trade.at(trade.job(id)["ends"] + 1)
    trade.do(trade.market, trade.nodes[5], "expire", id)
    assert trade.state(id) == REFUNDED
    assert trade.balance(trade.buyer) == BALANCE
    assert all(trade.stake(node) == (STAKE, 0) for node in trade.nodes[:4])
    trade.check_money([id])
    with refused("order is not in the state for this"):
        verdict(trade, id, trade.nodes[0])


def test_only_the_disputes_give_a_verdict_and_on_a_party(trade):
    id = delivered(trade, [2])
    challenge(trade, id, trade.buyer, trade.nodes[0])
    for account in (trade.buyer, trade.nodes[0], trade.deployer):
        with refused("only the disputes may do this"):
            trade.do(trade.market, account, "resolve", id, trade.buyer, True)
    with refused("not a party of the dispute"):
        verdict(trade, id, trade.nodes[1])


def test_nobody_comes_back_in_while_a_call_is_under_way(trade):
    """Disputes that give the verdict while they are being opened are shut out."""
    id = delivered(trade, [2])
    trade.do(trade.court, trade.buyer, "be_hasty")
    with refused("refused challenge"):
        challenge(trade, id, trade.buyer, trade.nodes[0])
    assert trade.state(id) == REVEALED
    assert trade.stake(trade.nodes[0]) == (STAKE, 200 * HAI)
    trade.check_money([id])


# Results that differ.


def test_different_results_have_to_be_contested(trade):
    id = delivered(trade, [1, 2])
    first, second = trade.nodes[:2]
    assert trade.state(id) == CONTESTED
    with refused("order is not in the state for this"):
        trade.do(trade.market, trade.buyer, "confirm", id)
    with refused("order is not in the state for this"):
        trade.do(trade.market, trade.buyer, "settle", [id])
    contest(trade, id, second, WRONG, first, RIGHT)
    assert trade.state(id) == DISPUTED
    verdict(trade, id, second)
    assert trade.state(id) == REVEALED
    assert trade.stake(second) == (STAKE - 200 * HAI, 0)
    assert trade.balance(first) == trade.balance(trade.treasury) == 100 * HAI
    trade.check_money([id])
    trade.do(trade.market, trade.buyer, "confirm", id)
    assert trade.stake(first) == (STAKE, 0)
    assert trade.balance(second) == 0
    paid = BALANCE - trade.balance(trade.buyer)
    assert trade.balance(first) == pytest.approx(100 * HAI + paid * 95 // 100, abs=2)
    trade.check_money([id])


def test_two_liars_against_one(trade):
    id = delivered(trade, [2, 2, 1])
    contest(trade, id, trade.nodes[0], WRONG, trade.nodes[2], RIGHT)
    verdict(trade, id, trade.nodes[0])
    assert trade.state(id) == REVEALED
    assert [trade.stake(node)[0] for node in trade.nodes[:3]] == [800 * HAI, 800 * HAI, STAKE]
    assert trade.balance(trade.nodes[2]) == trade.balance(trade.treasury) == 200 * HAI
    trade.check_money([id])


def test_three_results_take_two_disputes(trade):
    id = delivered(trade, [1, 2, 3])
    contest(trade, id, trade.nodes[1], WRONG, trade.nodes[2], OTHER)
    verdict(trade, id, trade.nodes[2], proven=False)
    assert trade.state(id) == CONTESTED
    assert trade.balance(trade.nodes[1]) == trade.balance(trade.nodes[0]) == 100 * HAI
    with refused("supplier was removed"):
        contest(trade, id, trade.nodes[2], OTHER, trade.nodes[0], RIGHT)
    contest(trade, id, trade.nodes[1], WRONG, trade.nodes[0], RIGHT)
    verdict(trade, id, trade.nodes[1])
    assert trade.state(id) == REVEALED
    assert trade.job(id)["left"] == 1
    trade.check_money([id])


def test_a_contest_sets_two_different_results_against_each_other(trade):
    id = delivered(trade, [1, 1, 2])
    first, second, third = trade.nodes[:3]
    with refused("both claim the same"):
        contest(trade, id, first, RIGHT, second, RIGHT)
    with refused("not the supplier's outcome"):
        contest(trade, id, third, RIGHT, second, RIGHT)
    with refused("not the order's model and input"):
        contest(trade, id, third, WRONG, second, RIGHT, content=(MODEL, MODEL))
    with refused("order is not in the state for this"):
        challenge(trade, id, trade.buyer, third)


def test_a_contest_that_nobody_opens_ends(trade):
    id = delivered(trade, [1, 2])
    trade.after(6 * 3600 + 1)
    trade.do(trade.market, trade.nodes[5], "expire", id)
    assert trade.state(id) == REFUNDED
    assert trade.balance(trade.buyer) == BALANCE
    assert all(trade.stake(node) == (STAKE, 0) for node in trade.nodes[:2])
    trade.check_money([id])


def test_another_trace_is_another_result(trade):
    id = trade.match(trade.order(redundancy=2), trade.nodes[:2])
    shown = {trade.nodes[0]: result(1, trace=1), trade.nodes[1]: result(1, trace=2)}
    trade.deliver(id, shown)
    assert trade.state(id) == CONTESTED


# Verifiers.


def verified(trade, outputs=(1,), **changes):
    id = delivered(trade, list(outputs), **changes)
    trade.do(trade.sampling, trade.buyer, "draw", id)
    return id, list(trade.sampling.call("verifiers", id))


def test_verifiers_that_agree_share_a_fee(trade):
    id, drawn = verified(trade, deadline=1)
    for verifier in drawn:
        trade.do(trade.market, verifier, "agree", id)
        assert trade.stake(verifier) == (STAKE, 200 * HAI)
        with refused("agreed before"):
            trade.do(trade.market, verifier, "agree", id)
    trade.do(trade.market, trade.buyer, "confirm", id)
    due = BALANCE - trade.balance(trade.buyer)
    fee = due * 5 // 100
    assert [trade.balance(node) for node in drawn] == [fee * 40 // 100 // 2] * 2
    assert trade.balance(trade.retriever) == fee * 40 // 100
    assert trade.balance(trade.nodes[0]) == due - fee
    assert all(trade.stake(node) == (STAKE, 0) for node in drawn)
    trade.check_money([id])


def test_only_drawn_verifiers_agree_and_in_time(trade):
    id, drawn = verified(trade)
    outsiders = [node for node in trade.nodes if node not in drawn]
    for account in (*outsiders, trade.buyer):
        with refused("not a verifier of this order"):
            trade.do(trade.market, account, "agree", id)
    trade.after(6 * 3600)
    with refused("too late to agree"):
        trade.do(trade.market, drawn[0], "agree", id)


def test_nobody_verifies_before_the_draw(trade):
    id = delivered(trade, [1])
    with refused("not a verifier of this order"):
        trade.do(trade.market, trade.nodes[1], "agree", id)


def test_verifiers_are_free_when_the_order_ends_without_blame(trade):
    id, drawn = verified(trade)
    trade.do(trade.market, drawn[0], "agree", id)
    challenge(trade, id, trade.buyer, trade.nodes[0], given=RIGHT, claimed=WRONG)
    trade.after(14 * DAY + 1)
    trade.do(trade.market, trade.nodes[5], "expire", id)
    assert trade.stake(drawn[0]) == (STAKE, 0)
    trade.check_money([id])
