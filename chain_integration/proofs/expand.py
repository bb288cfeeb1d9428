"""Numbers that follow from a seed, each by itself, so that a contract can have any of them.

Word ``k`` of a stream is SplitMix64's output number ``k``: the key plus ``k + 1`` times the golden
ratio, mixed (S. Vigna's constants; the generator is in the public domain). Any word is had without
the words before it. A key is the beginning of a CRH, so a stream is known when its seed is.
"""

import numpy as np

from hpu.chain_integration.proofs.crh import crh

__all__ = ["key", "matrix", "words"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def key(seed: bytes, name: bytes) -> int:
    """The 64-bit key of the stream ``name`` of ``seed``."""
    return int.from_bytes(crh(seed + name)[:8], "big")


def words(key: int, count: int) -> np.ndarray:
    """The first ``count`` words of a stream, uint64."""
    z = np.arange(1, count + 1, dtype=np.uint64)
    z *= _GOLDEN
    z += np.uint64(key)
    for places, factor in ((30, _FIRST), (27, _SECOND)):
        z ^= z >> np.uint64(places)
        z *= factor
    z ^= z >> np.uint64(31)
    return z


def matrix(key: int, rows: int, cols: int) -> np.ndarray:
    """int8 [rows, cols] whose rows are the words' bytes, highest first, one row behind another.

    Raises
    ------
    ValueError
        When a row is not of whole words.
    """
    if cols % 8:
        raise ValueError(f"cols must be a multiple of 8, not {cols}")
    return words(key, rows * cols // 8).byteswap().view(np.int8).reshape(rows, cols)
