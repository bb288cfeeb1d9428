"""The draw of the nodes that verify an order."""

from collections import Counter

import pytest
from tests.chain_integration.contracts.marketplace import ENDED, HAI, STAKE, result

from hpu.chain_integration.chain.errors import RevertedError


def refused(reason: str):
    return pytest.raises(RevertedError, match=reason)


def revealed(trade, salt=1):
    id = trade.match(trade.order(salt=salt, quote=HAI), trade.nodes[:1])
    trade.deliver(id, {trade.nodes[0]: result()})
    return id


def draw(trade, id):
    trade.do(trade.sampling, trade.nodes[5], "draw", id)
    return list(trade.sampling.call("verifiers", id))


def test_two_nodes_that_have_no_part_in_the_order_are_drawn(trade):
    for salt in range(5):
        id = revealed(trade, salt)
        assert list(trade.sampling.call("verifiers", id)) == []
        found = draw(trade, id)
        assert len(set(found)) == 2 and set(found) <= set(trade.nodes[1:4])
        for node in trade.nodes:
            assert trade.sampling.call("is_verifier", id, node) == (node in found)


def test_every_node_is_drawn_at_times(trade):
    drawn = Counter()
    for salt in range(12):
        drawn.update(draw(trade, revealed(trade, salt)))
    assert set(drawn) == set(trade.nodes[1:4])


def test_draws_that_are_refused(trade):
    id = trade.match(trade.order(), trade.nodes[:1])
    with refused("nothing is revealed yet"):
        trade.do(trade.sampling, trade.buyer, "draw", id)
    trade.deliver(id, {trade.nodes[0]: result()})
    trade.do(trade.sampling, trade.buyer, "draw", id)
    with refused("drawn before"):
        trade.do(trade.sampling, trade.buyer, "draw", id)


def test_nodes_that_came_later_or_do_not_work_are_passed_over(trade):
    id = revealed(trade)
    trade.register(trade.nodes[4])  # after the reveal
    trade.do(trade.registry, trade.nodes[1], "unbond", STAKE)
    trade.do(trade.registry, trade.resources, "lock", trade.nodes[2], HAI)
    trade.do(trade.registry, trade.resources, "slash", trade.nodes[2], HAI, ENDED)
    assert draw(trade, id) in ([], [trade.nodes[3]])


def test_a_draw_that_comes_too_late_is_put_off(trade):
    id = revealed(trade)
    trade.chain.mine(260)
    receipt = trade.do(trade.sampling, trade.buyer, "draw", id)
    assert receipt.event("Postponed")["anchor"] == receipt.block
    assert trade.sampling.call("seeds", id) == b"\0" * 32
    assert len(draw(trade, id)) == 2


def test_the_last_block_whose_hash_can_be_read(trade):
    id = revealed(trade)
    trade.chain.mine(255)
    trade.do(trade.sampling, trade.buyer, "draw", id)
    assert trade.sampling.call("seeds", id) != b"\0" * 32
