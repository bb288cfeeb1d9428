"""Locality groups and their keepers."""

import pytest

from hpu.chain_integration.chain.compile import compiled, compiled_source
from hpu.chain_integration.chain.contract import create
from hpu.chain_integration.chain.errors import RevertedError

NOBODY = "0x" + "00" * 20
EAST, WEST = b"east".ljust(32, b"\0"), b"west".ljust(32, b"\0")
GRACE, TERM = 1200, 86400

#: A table of nodes whose ratings the test sets; zero is no node.
TABLE = """
# pragma version 0.4.3
rating: public(HashMap[address, uint256])

@external
def rate(node: address, rating: uint256):
    self.rating[node] = rating

@external
@view
def working(node: address) -> bool:
    return self.rating[node] != 0
"""


class Ground:
    """Groups of nodes that the test rates."""

    def __init__(self, chain, accounts, folder):
        self.chain, self.nodes = chain, accounts[1:6]
        source = folder / "table.vy"
        source.write_text(TABLE)
        self.table = create(chain, accounts[0], compiled_source(source))
        self.groups = create(chain, accounts[0], compiled("groups"), self.table.address)
        for node in self.nodes:
            self.rate(node, 8000)

    def rate(self, node, rating):
        self.table.send(node, "rate", node, rating)

    def join(self, *nodes, region=EAST):
        for node in nodes:
            self.groups.send(node, "join", region)

    def keeper(self, region=EAST):
        return self.groups.call("groups", region)["keeper"]

    def refused(self, node, reason, name="take_over", *arguments):
        with pytest.raises(RevertedError, match=reason):
            self.groups.send(node, name, *arguments)


@pytest.fixture
def ground(chain, accounts, tmp_path):
    return Ground(chain, accounts, tmp_path)


def test_the_first_member_keeps_the_book(ground):
    one, two, *_ = ground.nodes
    ground.join(one, two)
    assert ground.groups.call("members", EAST) == [one, two]
    assert ground.keeper() == one
    ground.groups.send(one, "beat", b"\x07" * 32)
    assert ground.groups.call("groups", EAST)["book"] == b"\x07" * 32
    ground.refused(two, "the caller is not the keeper", "beat", b"\x08" * 32)


def test_only_nodes_join_and_one_group_each(ground, accounts):
    one, *_ = ground.nodes
    ground.refused(accounts[9], "the node is not registered", "join", EAST)
    ground.refused(one, "the region is missing", "join", bytes(32))
    ground.join(one)
    ground.refused(one, "the node is in a group already", "join", WEST)
    ground.groups.send(one, "leave")
    assert ground.keeper() == NOBODY
    ground.refused(one, "the node is in no group", "leave")
    ground.join(one, region=WEST)
    assert ground.keeper(WEST) == one


def test_response_times_count_for_the_score(ground):
    one, two, three, four, _ = ground.nodes
    ground.join(one, two, three)
    ground.join(four, region=WEST)
    for reporter, node, time in [(one, three, 100), (two, three, 300), (one, two, 50)]:
        event = ground.groups.send(reporter, "report", node, time).event("Reported")
        assert event["milliseconds"] == time
    assert ground.groups.call("time_between", one, three) == (True, 100)
    assert ground.groups.call("time_between", three, one) == (False, 0)
    scores = [ground.groups.call("score", node) for node in (one, two, three)]
    half = 100
    assert scores == [8000 * 10**4 * half // (half + mean) for mean in (1000, 50, 200)]
    ground.refused(one, "the node is of another group", "report", four, 5)
    ground.refused(one, "nobody reports itself", "report", one, 5)
    ground.refused(ground.nodes[4], "the caller is in no group", "report", one, 5)


def test_the_best_member_takes_over_from_a_keeper_that_vanished(ground):
    one, two, three, *_ = ground.nodes
    ground.join(one, two, three)
    ground.rate(three, 9000)
    ground.groups.send(one, "beat", bytes(32))
    ground.chain.advance(GRACE - 60)
    ground.refused(three, "the keeper is there")
    ground.chain.advance(60)
    ground.refused(two, "another member is better")
    ground.refused(one, "the caller is the keeper")
    event = ground.groups.send(three, "take_over").event("TakenOver")
    assert event.fields == {"region": EAST, "keeper": three, "former": one}
    assert ground.keeper() == three


def test_anybody_takes_over_when_the_best_vanished_too(ground):
    one, two, three, *_ = ground.nodes
    ground.join(one, two, three)
    ground.rate(three, 9000)
    ground.chain.advance(2 * GRACE)
    ground.groups.send(two, "take_over")
    assert ground.keeper() == two


def test_a_better_member_takes_over_after_the_term(ground):
    one, two, *_ = ground.nodes
    ground.join(one, two)
    ground.chain.advance(TERM)
    ground.groups.send(one, "beat", bytes(32))
    ground.refused(two, "the keeper is there")
    ground.rate(two, 8001)
    ground.groups.send(two, "take_over")
    assert ground.keeper() == two
    ground.rate(one, 9999)
    ground.refused(one, "the keeper is there")


def test_nodes_that_work_no_more_are_dropped(ground, accounts):
    one, two, three, *_ = ground.nodes
    ground.join(one, two, three)
    ground.refused(accounts[9], "the node works", "drop", one)
    ground.rate(two, 0)
    ground.rate(one, 0)
    ground.groups.send(accounts[9], "drop", one)
    assert ground.keeper() == three
    ground.chain.advance(2 * GRACE)
    ground.refused(two, "the node is not registered")
    ground.groups.send(accounts[9], "drop", two)
    assert ground.groups.call("members", EAST) == [three]


def test_a_group_has_room_for_32(ground, chain):
    nodes = [f"0x{number:040x}" for number in range(2**32, 2**32 + 33)]
    for node in nodes:
        chain.fund(node)
        chain.request("anvil_impersonateAccount", node)
        ground.rate(node, 8000)
    ground.join(*nodes[:32])
    ground.refused(nodes[32], "the group is full", "join", EAST)
    chain.advance(2 * GRACE)
    assert ground.groups.send(nodes[31], "take_over").gas_used < 100_000
    assert ground.groups.call("best", EAST) == nodes[0]
