"""Freivalds' check of a matrix product: three products with vectors instead of one with a matrix.

A product that is wrong in any element passes for one random vector of 16-bit numbers with a
probability of at most 2⁻¹⁶, and for all ``VECTORS`` of them with at most 2⁻⁶⁴. The vectors must
be drawn after the product was committed to. Everything is exact in float64, whose BLAS is fast:
every sum stays below 2⁵³, which is checked.
"""

import math

import numpy as np

from hpu.chain_integration.proofs.expand import key, words

__all__ = ["BITS", "VECTORS", "check", "false_acceptance", "vectors"]

#: Vectors, and bits of their numbers.
VECTORS = 4
BITS = 16
_EXACT = 1 << 53
_BYTE = 128


def false_acceptance(vectors: int = VECTORS, bits: int = BITS) -> float:
    """The greatest probability with which a wrong product passes."""
    return math.ldexp(1.0, -vectors * bits)


def vectors(seed: bytes, length: int, count: int = VECTORS, bits: int = BITS) -> np.ndarray:
    """float64 [length, count] of integers from 0 to 2^bits - 1 that follow from ``seed``."""
    quarters = words(key(seed, b"vectors"), -(-length * count // 4)).view(np.uint16)
    kept = quarters[: length * count] & np.uint16((1 << bits) - 1)
    return kept.astype(np.float64).reshape(length, count)


def check(a: np.ndarray, b: np.ndarray, product: np.ndarray, drawn: np.ndarray) -> bool:
    """Whether ``product`` passes as ``a @ b``.

    Parameters
    ----------
    a, b:
        int8 [m, k] and [k, n].
    product:
        Any integers [m, n].
    drawn:
        Of :func:`vectors`, [n, count].

    Raises
    ------
    ValueError
        When the shapes do not fit together, or the sums of matrices so large are not exact.
    """
    (rows, inner), (_, cols) = a.shape, b.shape
    if (len(b), product.shape, len(drawn)) != (inner, (rows, cols), cols):
        raise ValueError(
            f"shapes must fit together: {a.shape}, {b.shape}, {product.shape}, {drawn.shape}"
        )
    most = inner * _BYTE * _BYTE
    if most * cols << BITS > _EXACT:
        raise ValueError(f"sums must stay below 2^53; {inner}·{cols} elements are too many")
    if product.max() > most or product.min() < -most:
        return False
    right = a.astype(np.float64) @ (b.astype(np.float64) @ drawn)
    return bool(np.array_equal(product.astype(np.float64) @ drawn, right))
