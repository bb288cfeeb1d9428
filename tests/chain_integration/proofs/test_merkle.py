"""CRH and MerkleCRH against hashlib, pymerkle and the recursive definition of RFC 9162."""

import hashlib

import numpy as np
import pymerkle
import pytest

from hpu.chain_integration.proofs import crh, merkle


def by_definition(data: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.1, word for word."""
    if not data:
        return hashlib.sha256(b"").digest()
    if len(data) == 1:
        return hashlib.sha256(b"\0" + data[0]).digest()
    k = 1
    while 2 * k < len(data):
        k *= 2
    left, right = by_definition(data[:k]), by_definition(data[k:])
    return hashlib.sha256(b"\1" + left + right).digest()


def leaves(count: int) -> list[bytes]:
    return [f"leaf {k}".encode() for k in range(count)]


def test_known_values():
    """The first trees of Certificate Transparency's own test data."""
    data = [b"", b"\0", b"\x10", b"\x20\x21", b"\x30\x31"]
    tops = [merkle.Tree.of(data[:count]).top.hex() for count in range(4)]
    assert tops == [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    ]


@pytest.mark.parametrize("count", [*range(20), 63, 64, 65, 257])
def test_top_is_that_of_the_definition(count):
    assert merkle.Tree.of(leaves(count)).top == by_definition(leaves(count))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 21])
def test_top_and_paths_are_those_of_pymerkle(count):
    other = pymerkle.InmemoryTree(algorithm="sha256")
    for data in leaves(count):
        other.append_entry(data)
    tree = merkle.Tree.of(leaves(count))
    assert other.get_root() == tree.top
    for index in range(count):
        assert other.prove_inclusion(index + 1).path[1:] == tree.prove(index)


def test_root_binds_the_number_of_leaves():
    one, two = merkle.Tree.of(leaves(2)), merkle.Tree([merkle.Tree.of(leaves(2)).top])
    assert one.top == two.top
    assert one.root != two.root


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12, 33])
def test_every_range_verifies_and_no_other(count):
    data, tree = leaves(count), merkle.Tree.of(leaves(count))
    for first in range(count):
        for size in range(1, count - first + 1):
            shown, proof = data[first : first + size], tree.prove(first, size)
            assert merkle.verify(tree.root, shown, first, count, proof)
            assert not merkle.verify(tree.root, [*shown[:-1], b"x"], first, count, proof)
            assert not merkle.verify(tree.root, shown, first, count, [*proof, bytes(32)])
            assert not merkle.verify(tree.root, shown, first, count + 1, proof)
            if proof:
                assert not merkle.verify(tree.root, shown, first, count, proof[:-1])


def test_a_node_is_no_leaf():
    tree = merkle.Tree.of(leaves(4))
    inner = b"".join(tree.levels[1])
    assert not merkle.verify(tree.root, [inner], 0, 1, [])
    assert crh.leaf(inner) != crh.node(*tree.levels[1])


def test_leaves_that_are_not_there():
    tree = merkle.Tree.of(leaves(4))
    with pytest.raises(ValueError, match="leaves must be among 4, not 3 to 4"):
        tree.prove(3, 2)
    with pytest.raises(ValueError, match="leaves must be among 4, not 4 to 4"):
        merkle.range_root([bytes(32)], 4, 4, [])
    with pytest.raises(ValueError, match="the proof must be longer than 1 hashes"):
        merkle.range_root([bytes(32)], 0, 4, [bytes(32)])
    with pytest.raises(ValueError, match="the proof must be 2 hashes, not 3"):
        merkle.range_root([bytes(32)], 0, 4, [bytes(32)] * 3)


def test_fold_is_the_node_above():
    tree = merkle.Tree.of(leaves(21))
    assert merkle.fold(tree.levels[0][16:21], 4) == tree.levels[4][1]
    assert merkle.fold(tree.levels[1][0:8], 3) == tree.levels[4][0]
    with pytest.raises(ValueError, match="nodes must be 1 to 4, not 5"):
        merkle.fold(tree.levels[0][:5], 2)


def test_tensors_are_cut_into_chunks():
    values = np.arange(300, dtype=np.int16).astype(np.int8)
    data = values.tobytes()
    assert merkle.chunks(data) == [data[:256], data[256:] + bytes(212)]
    assert merkle.chunk_count(300) == 2
    assert merkle.tensor_tree(values).root == merkle.Tree.of(merkle.chunks(data)).root
