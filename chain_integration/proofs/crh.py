"""The collision-resistant hash that every proof is built on.

CRH is SHA-256: the EVM has it as a precompiled contract, processors have instructions for it, and
with it the trees of :mod:`hpu.chain_integration.proofs.merkle` are those of RFC 9162. The first
byte of what is hashed says what it is, so that a leaf cannot be taken for a node.
"""

import hashlib

__all__ = ["HASH_BYTES", "crh", "leaf", "node", "sealed"]

#: Bytes of a hash.
HASH_BYTES = 32


def crh(data: bytes) -> bytes:
    """CRH of ``data``, 32 bytes."""
    return hashlib.sha256(data).digest()


def leaf(data: bytes) -> bytes:
    """Hash of a leaf of a tree: CRH(0x00 ‖ data)."""
    return crh(b"\0" + data)


def node(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node of a tree: CRH(0x01 ‖ left ‖ right)."""
    return crh(b"\1" + left + right)


def sealed(count: int, top: bytes) -> bytes:
    """The committed root of a tree of ``count`` leaves: CRH(0x02 ‖ uint64 count ‖ top)."""
    return crh(b"\2" + count.to_bytes(8, "big") + top)
