"""MerkleCRH: hash trees of RFC 9162 whose committed root also binds the number of leaves.

Level 0 are the leaves' hashes. Neighbours are joined two by two; the last of an odd number goes up
as it is. That is RFC 9162's split at the largest power of two below the number of leaves.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from hpu.chain_integration.proofs.crh import crh, leaf, node, sealed

__all__ = [
    "CHUNK",
    "Tree",
    "chunk_count",
    "chunks",
    "fold",
    "range_root",
    "tensor_tree",
    "verify",
]

#: Bytes of a leaf of a tensor; behind the tensor's end they are zero.
CHUNK = 256


def fold(nodes: Sequence[bytes], levels: int) -> bytes:
    """The node ``levels`` above ``nodes``, all of its descendants that far down, in order.

    Raises
    ------
    ValueError
        When they are none, or more than so many levels join.
    """
    if not 0 < len(nodes) <= 1 << levels:
        raise ValueError(f"nodes must be 1 to {1 << levels}, not {len(nodes)}")
    for _ in range(levels):
        nodes = _joined(nodes)
    return nodes[0]


def _joined(nodes: Sequence[bytes]) -> list[bytes]:
    pairs = [node(nodes[k], nodes[k + 1]) for k in range(0, len(nodes) - 1, 2)]
    return pairs + list(nodes[2 * len(pairs) :])


class Tree:
    """A tree over leaves' hashes.

    Parameters
    ----------
    leaves:
        Hashes of the leaves (:func:`~hpu.chain_integration.proofs.crh.leaf`), in order.
    """

    def __init__(self, leaves: Iterable[bytes]):
        self.levels = [list(leaves)]
        while len(self.levels[-1]) > 1:
            self.levels.append(_joined(self.levels[-1]))

    @classmethod
    def of(cls, data: Iterable[bytes]) -> "Tree":
        """The tree whose leaves hold ``data``."""
        return cls(map(leaf, data))

    @property
    def count(self) -> int:
        """Leaves."""
        return len(self.levels[0])

    @property
    def height(self) -> int:
        """Levels above the leaves."""
        return len(self.levels) - 1

    @property
    def top(self) -> bytes:
        """RFC 9162's Merkle tree hash."""
        return self.levels[-1][0] if self.count else crh(b"")

    @property
    def root(self) -> bytes:
        """The root that is committed: it binds the number of leaves too."""
        return sealed(self.count, self.top)

    def prove(self, first: int, count: int = 1) -> list[bytes]:
        """Hashes that lead from leaves ``first`` … ``first + count - 1`` to the top.

        From the leaves up, on every level the left neighbour first.

        Raises
        ------
        ValueError
            When the tree has no such leaves.
        """
        low, high = first, first + count - 1
        if not (0 <= low <= high < self.count):
            raise ValueError(f"leaves must be among {self.count}, not {first} to {high}")
        proof = []
        for nodes in self.levels[:-1]:
            if low % 2:
                proof.append(nodes[low - 1])
            if high % 2 == 0 and high + 1 < len(nodes):
                proof.append(nodes[high + 1])
            low, high = low // 2, high // 2
        return proof


def range_root(leaves: Sequence[bytes], first: int, count: int, proof: Sequence[bytes]) -> bytes:
    """The root of a tree of ``count`` leaves that has ``leaves`` (hashes) from ``first`` on.

    Raises
    ------
    ValueError
        When the proof is too short or too long, or the tree cannot have such leaves.
    """
    low, high, size = first, first + len(leaves) - 1, count
    if not 0 <= low <= high < size:
        raise ValueError(f"leaves must be among {count}, not {first} to {high}")
    nodes, rest = list(leaves), list(proof)[::-1]
    while size > 1:
        wanted = (low % 2) + (high % 2 == 0 and high + 1 < size)
        if len(rest) < wanted:
            raise ValueError(f"the proof must be longer than {len(proof)} hashes")
        if low % 2:
            nodes.insert(0, rest.pop())
        if high % 2 == 0 and high + 1 < size:
            nodes.append(rest.pop())
        nodes = _joined(nodes)
        low, high, size = low // 2, high // 2, -(-size // 2)
    if rest:
        raise ValueError(f"the proof must be {len(proof) - len(rest)} hashes, not {len(proof)}")
    return sealed(count, nodes[0])


def verify(
    root: bytes, data: Sequence[bytes], first: int, count: int, proof: Sequence[bytes]
) -> bool:
    """Whether ``root`` is that of ``count`` leaves with ``data`` from leaf ``first`` on."""
    try:
        return range_root([leaf(part) for part in data], first, count, proof) == root
    except ValueError:
        return False


def chunk_count(size: int) -> int:
    """Leaves of a tensor of ``size`` bytes."""
    return -(-size // CHUNK)


def chunks(data: bytes) -> list[bytes]:
    """The leaves of a tensor's bytes."""
    return [data[at : at + CHUNK].ljust(CHUNK, b"\0") for at in range(0, len(data), CHUNK)]


def tensor_tree(values: np.ndarray) -> Tree:
    """The tree over the bytes of an array, in C order."""
    return Tree.of(chunks(np.ascontiguousarray(values).tobytes()))
