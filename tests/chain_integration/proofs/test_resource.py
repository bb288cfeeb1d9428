"""Resource proofs through devices, and everything that their check must find."""

import dataclasses
import math

import numpy as np
import pytest

from hpu.chain_integration.proofs import expand, freivalds
from hpu.chain_integration.proofs.merkle import verify
from hpu.chain_integration.proofs.resource import (
    Challenge,
    ResourceProof,
    check,
    edge_of,
    predicted_cycles,
    prove,
    wrong_element,
)
from hpu.chain_integration.proofs.usage import TOLERANCE
from hpu.hw.config import by_name
from hpu.runtime.execution import Executor

LAB = by_name("lab-16")
SEED, DRAWN = b"\x11" * 32, b"\x22" * 32


def splitmix(key: int, count: int) -> list[int]:
    """S. Vigna's reference, one step after another."""
    mask, state, found = (1 << 64) - 1, key, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        found.append(z ^ (z >> 31))
    return found


def test_words_are_those_of_splitmix64():
    assert splitmix(1234567, 2) == [6457827717110365317, 3203168211198807973]  # published values
    assert expand.words(1234567, 50).tolist() == splitmix(1234567, 50)
    key = (1 << 64) - 5
    assert expand.words(key, 9).tolist() == splitmix(key, 9)


def test_matrices_are_the_words_highest_byte_first():
    data = b"".join(word.to_bytes(8, "big") for word in splitmix(99, 6))
    assert expand.matrix(99, 3, 16).tobytes() == data
    with pytest.raises(ValueError, match="cols must be a multiple of 8, not 12"):
        expand.matrix(1, 2, 12)


def test_edges_and_the_challenge():
    assert [edge_of(by_name(name)) for name in ("lab-16", "hai-v1")] == [256, 512]
    assert [edge_of(dataclasses.replace(LAB, addr_bits=n)) for n in (18, 17, 16)] == [128, 128, 64]
    challenge = Challenge(SEED, 256)
    exact = challenge.a.astype(np.int64) @ challenge.b_columns.astype(np.int64).T
    assert np.array_equal(challenge.product(), exact)
    scaled = np.clip(np.rint(exact / 2.0**challenge.shift), -128, 127)
    assert np.array_equal(challenge.output(challenge.product()), scaled)
    assert (abs(scaled) == 127).mean() < 0.02 < scaled.std()
    for edge in (16, 300, 2048):
        with pytest.raises(ValueError, match="edge must be a power of two from 64 to 1024"):
            Challenge(SEED, edge)


@pytest.fixture(scope="module")
def proof():
    executor = Executor(LAB, "functional")
    found = prove(Challenge(SEED, 256), executor)
    executor.close()
    return found


def judged(proof: ResourceProof, root: bytes | None = None, seed: bytes = SEED) -> str:
    return check(Challenge(seed, 256), root or proof.root, DRAWN, proof)


def test_the_device_passes(proof):
    assert judged(proof) == ""
    assert wrong_element(Challenge(SEED, 256), proof) is None
    assert proof.usage.cycles == predicted_cycles(LAB)


@pytest.mark.slow
def test_the_simulated_hardware_passes():
    executor = Executor(LAB, "rtl")
    found = prove(Challenge(SEED, 256), executor)
    executor.close()
    assert judged(found) == ""
    assert not found.usage.predicted
    predicted = predicted_cycles(LAB)
    assert abs(found.usage.cycles - predicted) <= TOLERANCE * predicted
    causes = found.usage.causes
    assert sum(causes.values()) - causes["MATRIX_HOST"] == found.usage.cycles


def altered(proof: ResourceProof, field: str, row: int, col: int, by: int) -> ResourceProof:
    array = getattr(proof, field).copy()
    array[row, col] += np.array(by).astype(array.dtype)
    return dataclasses.replace(proof, **{field: array})


@pytest.mark.parametrize("by", [1, -1, 1 << 16, -(1 << 30)])
def test_any_wrong_sum_is_found(proof, by):
    rng = np.random.default_rng(abs(by))
    for row, col in rng.integers(0, 256, (10, 2)).tolist():
        wrong = altered(proof, "product", row, col, by)
        assert judged(wrong) in (
            "the sums are not the matrices' product",
            "a row that was computed again is another",
        )
        assert wrong_element(Challenge(SEED, 256), wrong) == (row, col)


def test_any_wrong_result_is_found(proof):
    for row, col in np.random.default_rng(1).integers(0, 256, (10, 2)).tolist():
        wrong = altered(proof, "output", row, col, 1)
        assert judged(wrong) == "the device's results are not the sums, requantised"


def test_a_proof_that_is_another(proof):
    assert judged(proof, root=bytes(32)) == "the rows are not those that were committed to"
    assert judged(proof, seed=b"\x33" * 32) != ""
    short = dataclasses.replace(proof, product=proof.product[:-1])
    assert judged(short, root=proof.root) == "the answer is not of 256 × 256 elements"
    wide = dataclasses.replace(proof, product=proof.product.astype(np.int64))
    assert judged(wide, root=proof.root) == "the answer is not of int32 sums and int8 results"


def test_rows_are_leaves(proof):
    for index in (0, 100, 255):
        path = proof.tree.prove(index)
        assert verify(proof.root, [proof.row(index)], index, 256, path)


def test_false_acceptance():
    assert freivalds.false_acceptance() == 2.0**-64
    assert freivalds.VECTORS * freivalds.BITS >= 60


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_a_wrong_product_passes_as_often_as_it_is_said_to(bits):
    """With one short vector, often enough to be counted: d·r = 0 for one r in 2^bits."""
    rng = np.random.default_rng(bits)
    a, b = rng.integers(-128, 128, (2, 8, 8)).astype(np.int8)
    wrong = a.astype(np.int32) @ b.astype(np.int32)
    wrong[3, 4] += 1
    trials = 4000
    passed = sum(
        freivalds.check(a, b, wrong, freivalds.vectors(k.to_bytes(32, "big"), 8, 1, bits))
        for k in range(trials)
    )
    expected = 2.0**-bits
    assert abs(passed / trials - expected) < 5 * math.sqrt(expected * (1 - expected) / trials)


def test_vectors_are_all_of_their_numbers():
    drawn = freivalds.vectors(DRAWN, 4096)
    assert drawn.shape == (4096, freivalds.VECTORS)
    assert drawn.min() >= 0
    assert 65000 < drawn.max() < 65536
    assert np.unique(drawn).size > 14000
    assert not np.array_equal(drawn, freivalds.vectors(SEED, 4096))


def test_sums_that_would_not_be_exact_are_refused():
    a = np.zeros((1, 1 << 13), np.int8)
    b, drawn = np.zeros((1 << 13, 1 << 13), np.int8), np.zeros((1 << 13, 1))
    with pytest.raises(ValueError, match=r"sums must stay below 2\^53"):
        freivalds.check(a, b, np.zeros((1, 1 << 13), np.int32), drawn)
    with pytest.raises(ValueError, match="shapes must fit together"):
        freivalds.check(a, b, np.zeros((2, 1 << 13), np.int32), drawn)


def test_numbers_too_large_to_be_exact_do_not_pass():
    a, b = np.zeros((2, 8), np.int8), np.zeros((8, 2), np.int8)
    huge = np.array([[1 << 62, 0], [0, 0]])
    assert not freivalds.check(a, b, huge, np.zeros((2, 1)))
