"""The trees of the contracts against those of Python."""

import numpy as np
import pytest
from tests.chain_integration.contracts.harness import inline

from hpu.chain_integration.chain.errors import RevertedError
from hpu.chain_integration.proofs import crh, merkle

HARNESS = """
# pragma version 0.4.3
import merkle

@external
@pure
def leaf(data: Bytes[256]) -> bytes32:
    return merkle._leaf(data)

@external
@pure
def sealed(count: uint256, top: bytes32) -> bytes32:
    return merkle._sealed(count, top)

@external
@pure
def height(count: uint256) -> uint256:
    return merkle._height(count)

@external
@pure
def fold(nodes: DynArray[bytes32, 16], levels: uint256) -> bytes32:
    return merkle._fold(nodes, levels)

@external
@pure
def path_root(
    hashed: bytes32, index: uint256, count: uint256, path: DynArray[bytes32, 40]
) -> bytes32:
    return merkle._path_root(hashed, index, count, path)

@external
@pure
def open(
    root: bytes32, count: uint256, data: Bytes[32800], spans: DynArray[uint256, 128],
    paths: DynArray[bytes32, 1024], start: uint256
) -> uint256:
    return merkle._open(root, count, data, spans, paths, start)
"""


@pytest.fixture(scope="module")
def contract():
    return inline(HARNESS, "merkle")


def tree_of(count: int) -> tuple[list[bytes], merkle.Tree]:
    data = [bytes([k % 251, k // 251]) * 128 for k in range(count)]
    return data, merkle.Tree.of(data)


def test_hashes(contract):
    assert contract.leaf(b"abc") == crh.leaf(b"abc")
    assert contract.sealed(7, b"t" * 32) == crh.sealed(7, b"t" * 32)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 17, 100])
def test_height(contract, count):
    assert contract.height(count) == tree_of(count)[1].height


@pytest.mark.parametrize("count", [1, 2, 3, 7, 15, 16])
def test_fold(contract, count):
    nodes = tree_of(16)[1].levels[0][:count]
    assert contract.fold(nodes, 4) == merkle.fold(nodes, 4)


def test_fold_refuses_more_nodes_than_there_can_be(contract):
    nodes = tree_of(16)[1].levels[0]
    with pytest.raises(RevertedError, match="merkle: wrong number of nodes"):
        contract.fold(nodes[:3], 1)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 11])
def test_path_of_every_leaf(contract, count):
    data, tree = tree_of(count)
    for index in range(count):
        path = tree.prove(index)
        assert contract.path_root(crh.leaf(data[index]), index, count, path) == tree.root


def test_path_of_a_wrong_length(contract):
    data, tree = tree_of(6)
    for path in (tree.prove(2)[:-1], [*tree.prove(2), bytes(32)]):
        with pytest.raises(RevertedError):
            contract.path_root(crh.leaf(data[2]), 2, 6, path)


@pytest.mark.parametrize("count", [1, 2, 5, 8, 13])
def test_every_range(contract, count):
    data, tree = tree_of(count)
    for first in range(count):
        for size in range(1, count - first + 1):
            path, shown = tree.prove(first, size), b"".join(data[first : first + size])
            spans = [first << 32 | size]
            assert contract.open(tree.root, count, shown, spans, path, 0) == len(path)


def test_several_spans_and_a_start(contract):
    data, tree = tree_of(300)
    ranges = [(0, 2), (17, 1), (130, 128), (299, 1)]
    shown = b"".join(b"".join(data[first : first + size]) for first, size in ranges)
    paths = [bytes(32), *(part for one in ranges for part in tree.prove(*one))]
    spans = [first << 32 | size for first, size in ranges]
    # More than MAX_DATA is shown here, so the long range goes alone.
    with pytest.raises(RevertedError):
        contract.open(tree.root, 300, shown, spans, paths, 1)
    short = [(0, 2), (17, 1), (130, 64), (299, 1)]
    shown = b"".join(b"".join(data[first : first + size]) for first, size in short)
    paths = [bytes(32), *(part for one in short for part in tree.prove(*one))]
    spans = [first << 32 | size for first, size in short]
    assert contract.open(tree.root, 300, shown, spans, paths, 1) == len(paths)


def test_one_wrong_byte_or_hash_is_refused(contract):
    data, tree = tree_of(9)
    generator = np.random.default_rng(1)
    path = tree.prove(3, 2)
    for _ in range(20):
        shown, paths = bytearray(data[3] + data[4]), [bytearray(part) for part in path]
        if generator.integers(2):
            shown[generator.integers(len(shown))] ^= 1
        else:
            paths[generator.integers(len(paths))][generator.integers(32)] ^= 1
        wrong = [bytes(part) for part in paths]
        with pytest.raises(RevertedError, match="data is not what was committed"):
            contract.open(tree.root, 9, bytes(shown), [3 << 32 | 2], wrong, 0)
