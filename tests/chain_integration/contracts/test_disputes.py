"""Disputes over wrong bytes, played by both parties on a chain in process."""

import numpy as np
import pytest
from tests.chain_integration.proofs.networks import (
    large_layer,
    long_network,
    moves,
    one_op,
    random_network,
)
from tests.compiler.naive import finish, interpret, raw

from hpu.chain_integration.chain.errors import RevertedError
from hpu.chain_integration.proofs.bisect import Accused, Challenger, Turn
from hpu.chain_integration.proofs.court import Court
from hpu.chain_integration.proofs.layers import commit_model
from hpu.chain_integration.proofs.merkle import Tree
from hpu.chain_integration.proofs.trace import Trace
from hpu.compiler.ir import Graph


@pytest.fixture(scope="module")
def court():
    return Court()


def inputs(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {host.tensor: graph.tensors[host.tensor].shape for host in graph.inputs}
    return {name: rng.integers(-128, 128, s).astype(np.int8) for name, s in shapes.items()}


def lying(graph: Graph, feeds, layer: int, position: int, *, later: bool):
    """Every tensor with one wrong byte; ``later``: what follows is computed from it."""
    values = interpret(graph, feeds)
    name = graph.ops[layer].out.name
    wrong = values[name].copy()
    wrong.reshape(-1)[position] ^= 1
    values[name] = wrong
    for op in graph.ops[layer + 1 :] if later else []:
        values[op.out.name] = finish(op, raw(op, [values[t.name] for t in op.inputs]))
    return values


@pytest.mark.parametrize("seed,later", [(0, False), (1, True)])
def test_a_wrong_byte_in_any_layer_is_found(court, seed, later):
    graph, rng = random_network(seed), np.random.default_rng(seed)
    model, feeds = commit_model(graph), inputs(graph, seed)
    honest = Trace(model, interpret(graph, feeds))
    for number, data in enumerate(model.layers[:-1]):
        position = int(rng.integers(data.layer.size))
        liar = Trace(model, lying(graph, feeds, number, position, later=later))
        verdict = court.play(liar, honest)
        assert (verdict.guilty, verdict.proven) == ("accused", True), (number, position)
        assert verdict.transactions <= 40


@pytest.mark.parametrize("layer", [0, 1, 15, 16, 17, 33, 39])
def test_a_way_through_a_long_trace(court, layer):
    """Two rounds through the trace; the inputs of the layer stand left of it, near and far."""
    graph = long_network(40)
    model, feeds = commit_model(graph), inputs(graph, layer)
    honest = Trace(model, interpret(graph, feeds))
    liar = Trace(model, lying(graph, feeds, layer, 7, later=layer % 2 == 1))
    verdict = court.play(liar, honest)
    assert (verdict.guilty, verdict.proven) == ("accused", True)
    names = [name for name, _ in verdict.gas]
    assert names[:5] == ["open", "begin", "pick", "show", "pick"]


def test_a_way_through_a_large_tensor(court):
    graph = large_layer()
    model, feeds = commit_model(graph), inputs(graph, 1)
    honest = Trace(model, interpret(graph, feeds))
    size = model.layers[0].layer.size
    for position in (0, 100_000, size - 1):
        liar = Trace(model, lying(graph, feeds, 0, position, later=False))
        verdict = court.play(liar, honest)
        assert (verdict.guilty, verdict.proven) == ("accused", True)
        assert verdict.transactions == 12


def test_a_wrong_byte_of_a_large_layer_and_gas(court):
    graph = one_op(4096, 500)
    model, feeds = commit_model(graph), inputs(graph, 1)
    honest = Trace(model, interpret(graph, feeds))
    liar = Trace(model, lying(graph, feeds, 0, 499, later=False))
    verdict = court.play(liar, honest)
    assert (verdict.guilty, verdict.proven) == ("accused", True)
    assert dict(verdict.gas)["prove"] <= 1_300_000
    assert verdict.transactions <= 40


def test_a_move_of_bytes(court):
    graph = moves(3)
    model, feeds = commit_model(graph), inputs(graph, 1)
    honest = Trace(model, interpret(graph, feeds))
    size = honest.model.layers[0].layer.size
    for position in (0, size - 1):
        liar = Trace(model, lying(graph, feeds, 0, position, later=False))
        assert court.play(liar, honest).proven


def test_an_honest_supplier_keeps_its_stake(court):
    """Whatever the challenger says, it cannot show a wrong byte, and its time runs out."""
    graph = random_network(2)
    model, feeds = commit_model(graph), inputs(graph, 2)
    honest = Trace(model, interpret(graph, feeds))
    wrong = Trace(model, lying(graph, feeds, 2, 1, later=True))
    order, _ = court.open(honest, wrong)
    parties = Accused(honest), Challenger(wrong)
    with pytest.raises(RevertedError, match="the byte is right"):
        while court.step(order, parties):
            pass
    court.timeout(order)
    verdict = court.market.call("verdicts", order)
    assert verdict["guilty"] == court.challenger.address
    assert not verdict["proven"]


def test_a_challenger_that_sees_nothing_wrong_loses(court):
    graph = random_network(2)
    model, feeds = commit_model(graph), inputs(graph, 2)
    honest = Trace(model, interpret(graph, feeds))
    verdict = court.play(honest, honest)
    assert (verdict.guilty, verdict.proven) == ("challenger", False)


class _OtherOutput(Trace):
    """Layers as they should be, and another output."""

    def __init__(self, trace: Trace):
        super().__init__(trace.model, trace.values)
        roots = [trace.trees[name].root for name in trace.model.outputs]
        self.output_tree = Tree.of([*roots[:-1], b"x" * 32])


@pytest.mark.parametrize("graph", [random_network(1), long_network(25)])
def test_an_output_that_no_layer_gave(court, graph):
    honest = Trace(commit_model(graph), interpret(graph, inputs(graph, 1)))
    verdict = court.play(_OtherOutput(honest), honest)
    assert (verdict.guilty, verdict.proven) == ("accused", True)
    assert verdict.gas[-1][0] == "prove_output"


class _Shuffled(Trace):
    """A trace whose last leaf is not the output that is given."""

    def __init__(self, trace: Trace):
        super().__init__(trace.model, trace.values)
        self.tree = Tree([*trace.tree.levels[0][:-1], b"y" * 32])


class _Short(Trace):
    """A trace without its first layer."""

    def __init__(self, trace: Trace):
        super().__init__(trace.model, trace.values)
        self.tree = Tree(trace.tree.levels[0][1:])


@pytest.mark.parametrize(
    "wrong,reason",
    [
        (_Shuffled, "the trace does not end with the output"),
        (_Short, "not the model's layers"),
    ],
)
def test_a_trace_that_is_none_cannot_be_shown(court, wrong, reason):
    graph = random_network(1)
    honest = Trace(commit_model(graph), interpret(graph, inputs(graph, 1)))
    liar = wrong(honest)
    order, _ = court.open(liar, honest)
    with pytest.raises(RevertedError, match=reason):
        court.step(order, (Accused(liar), Challenger(honest)))
    court.timeout(order)
    verdict = court.market.call("verdicts", order)
    assert verdict["guilty"] == court.accused.address
    assert not verdict["proven"]


def test_bytes_behind_a_tensor_must_be_zero(court):
    """Else a liar could have another root without a wrong element, and no dispute would end."""
    graph = one_op(20, 100)
    honest = Trace(commit_model(graph), interpret(graph, inputs(graph, 1)))
    name = honest.model.outputs[0]
    liar = Trace(honest.model, honest.values)
    leaf = honest.values[name].tobytes().ljust(255, b"\0") + b"\1"
    liar.trees = liar.trees | {name: Tree.of([leaf])}
    order, _ = court.open(liar, honest)
    parties = Accused(liar), Challenger(honest)
    while court.disputes.call("games", order)["turn"] != Turn.LEAF:
        court.step(order, parties)
    with pytest.raises(RevertedError, match="bytes behind the tensor must be zero"):
        court.disputes.send(court.accused, "leaf", order, leaf)
    with pytest.raises(RevertedError, match="not the bytes of the leaf"):
        court.disputes.send(court.accused, "leaf", order, bytes(256))


def test_fewer_nodes_are_not_passed_off_as_nodes_further_down(court):
    """A node alone joins to itself: an honest supplier could then not show what is below it."""
    graph = one_op(300, 2000)
    honest = Trace(commit_model(graph), interpret(graph, inputs(graph, 1)))
    order, _ = court.open(honest, honest)
    party = Accused(honest)
    begin = party.move(court.disputes.call("games", order), [])
    court.disputes.send(court.accused, begin.name, order, *begin.arguments)
    nodes = begin.arguments[2]
    with pytest.raises(RevertedError, match="wrong number of nodes"):
        court.disputes.send(court.challenger, "pick", order, [honest.tree.top], 0)
    with pytest.raises(RevertedError, match="not the nodes that were shown"):
        court.disputes.send(court.challenger, "pick", order, nodes[::-1], 0)
    court.disputes.send(court.challenger, "pick", order, nodes, 0)


def test_only_who_may_move_moves(court):
    graph = random_network(1)
    honest = Trace(commit_model(graph), interpret(graph, inputs(graph, 1)))
    order, _ = court.open(honest, honest)
    with pytest.raises(RevertedError, match="not this move now"):
        court.disputes.send(court.accused, "show", order, [bytes(32)])
    begin = Accused(honest).move(court.disputes.call("games", order), [])
    with pytest.raises(RevertedError, match="the move is the other's"):
        court.disputes.send(court.challenger, begin.name, order, *begin.arguments)
    with pytest.raises(RevertedError, match="there is still time"):
        court.disputes.send(court.challenger, "timeout", order)
    court.connection.advance(court.disputes.call("MOVE_TIME") + 1)
    with pytest.raises(RevertedError, match="too late"):
        court.disputes.send(court.accused, begin.name, order, *begin.arguments)
    court.disputes.send(court.challenger, "timeout", order)
    with pytest.raises(RevertedError, match="there is none"):
        court.disputes.send(court.challenger, "timeout", order)


def test_only_the_market_opens(court):
    graph = random_network(1)
    honest = Trace(commit_model(graph), interpret(graph, inputs(graph, 1)))
    order, _ = court.open(honest, honest)
    with pytest.raises(RevertedError, match="there is one already"):
        court.market.send(court.accused, "open", court.disputes.address, _empty(order))
    with pytest.raises(RevertedError, match="only the market may do this"):
        court.disputes.send(court.accused, "open", _empty(b"z" * 32))


def _empty(order: bytes):
    nobody = "0x" + "11" * 20
    return (order, bytes(32), bytes(32), nobody, nobody, *[(bytes(32), bytes(32))] * 2)
