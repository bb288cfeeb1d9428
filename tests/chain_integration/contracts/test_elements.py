"""One element recomputed by the contract against the graph's meaning, written out in numpy."""

import dataclasses

import numpy as np
import pytest
from tests.chain_integration.proofs.bench import Bench
from tests.chain_integration.proofs.networks import HARD, moves, one_op, random_network
from tests.compiler.random_graph import Builder

from hpu.chain_integration.chain.compile import compiled
from hpu.chain_integration.chain.connect import connect
from hpu.chain_integration.chain.contract import create
from hpu.chain_integration.chain.errors import RevertedError
from hpu.chain_integration.proofs.elements import need, show
from hpu.chain_integration.proofs.layers import INPUT
from hpu.compiler import ir


@pytest.fixture(scope="module")
def contract():
    connection = connect()
    return create(connection, connection.accounts(1)[0], compiled("elements"))


@pytest.mark.parametrize("seed", range(12))
def test_random_networks(contract, seed):
    Bench(random_network(seed), seed).check_some(contract, 6)


@pytest.mark.parametrize("seed", range(4))
def test_extreme_inputs(contract, seed):
    Bench(random_network(100 + seed), seed, extreme=True).check_some(contract, 4)


@pytest.mark.parametrize("name", HARD)
def test_hard_layers(contract, name):
    Bench(HARD[name](), 5).check_some(contract, 10)


@pytest.mark.parametrize("seed", range(6))
def test_moves(contract, seed):
    Bench(moves(seed), seed).check_some(contract, 12)


@pytest.mark.parametrize("seed", range(40))
def test_requantisation_of_any_sum_and_scale(contract, seed):
    """Ties, saturation, sums beyond 24 bits, least and greatest scales."""
    rng = np.random.default_rng(seed)
    b = Builder(seed)
    x = b.input(1, 1, 1, 1)
    out = b.conv(x, 8, (1, 1))
    op = b.ops[0]
    assert isinstance(op, ir.Conv)
    scale = np.ldexp(rng.integers(1, 1 << 24, 8).astype(np.float32), rng.integers(-60, 2, 8))
    scale[:3] = [2.0**-40, 2.0 ** -int(rng.integers(1, 20)), 2.0**24]
    bias = rng.integers(-(2**31) + 2**16, 2**31 - 2**16, 8)
    bias[2:] >>= rng.integers(0, 31, 6)
    b.ops[0] = dataclasses.replace(
        op, scale=scale.astype(np.float32), bias=bias.astype(np.int32), table=None
    )
    bench = Bench(b.graph(out), seed)
    for position in range(8):
        bench.check(contract, 0, position)


def sums_alone(sums: np.ndarray, scale: np.ndarray) -> Bench:
    """A layer whose sums are its biases, one channel each."""
    b = Builder(1)
    out = b.conv(b.input(1, 1, 1, 1), len(sums), (1, 1))
    plain = {"table": None, "inner": None, "low": -128, "high": 127}
    changes = {"bias": sums.astype(np.int32), "scale": scale.astype(np.float32)}
    zeros = np.zeros((len(sums), 1, 1, 1), np.int16)
    b.ops[0] = dataclasses.replace(b.ops[0], weight=zeros, **plain, **changes)
    return Bench(b.graph(out), 1)


@pytest.mark.parametrize("places", [1, 4, 11, 18, 23])
def test_ties_go_to_even(contract, places):
    """Sums half-way between two results; beyond 24 bits also those that become so by rounding."""
    rng = np.random.default_rng(places)
    sums = (2 * rng.integers(-100, 100, 48) + 1) << (places - 1)
    sums[32:] += rng.integers(-1, 2, 16)
    factors = rng.choice([1, 3, 5], 48)
    bench = sums_alone(sums, factors * 2.0**-places)
    for position in range(48):
        bench.check(contract, 0, position)


def test_a_mantissa_that_nobody_wrote_counts_as_zero(contract):
    bench = sums_alone(np.full(4, 12345), np.full(4, 0.5))
    data, x = bench.model.layers[0], bench.source(INPUT)
    for mantissa in (0, 1 << 22, (1 << 23) - 1):
        word = int.from_bytes(data.records[:32], "big") & ~(0xFFFFFF << 32) | mantissa << 32
        records = word.to_bytes(32, "big") + data.records[32:]
        changed = dataclasses.replace(data, records=records).sealed()
        shown = show(changed, 0, x, None).values()
        arguments = changed.layer.values(), 0, x.tree.root, bytes(32), shown
        assert contract.call("compute", *arguments)[0] == changed.layer.zero


def test_dot_product_of_4096_terms_and_its_gas(contract):
    bench = Bench(one_op(4096, 3), 1, extreme=True)
    bench.check(contract, 0, 2)


def test_one_wrong_bit_is_refused(contract):
    bench = Bench(HARD["residual"](), 3)
    data = bench.model.layers[1]
    wanted = need(data, 77)
    x, y = bench.source(wanted.x), bench.source(wanted.y)
    shown = show(data, 77, x, y)
    rng = np.random.default_rng(2)
    for field in ("x", "weights", "rest", "paths"):
        for _ in range(5):
            wrong = dataclasses.replace(shown, **{field: _flipped(getattr(shown, field), rng)})
            with pytest.raises(RevertedError, match="data is not what was committed"):
                contract.call(
                    "compute", data.layer.values(), 77, x.tree.root, y.tree.root, wrong.values()
                )


def _flipped(value, rng):
    if isinstance(value, tuple):
        index = int(rng.integers(len(value)))
        return (*value[:index], _flipped(value[index], rng), *value[index + 1 :])
    changed = bytearray(value)
    # The 32 bytes behind x and weights are no part of what is shown.
    changed[int(rng.integers(max(len(changed) - 32, 1)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def test_another_leaf_is_refused(contract):
    bench = Bench(HARD["unary"](), 3)
    data = bench.model.layers[0]
    x = bench.source(INPUT)
    shown = show(data, 300, x, None).values()
    for position in (0, 299 + 256):
        with pytest.raises(RevertedError, match="another leaf is needed"):
            contract.call("compute", data.layer.values(), position, x.tree.root, bytes(32), shown)
    with pytest.raises(RevertedError, match="no such element"):
        contract.call(
            "compute", data.layer.values(), data.layer.size, x.tree.root, bytes(32), shown
        )
