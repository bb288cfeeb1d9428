"""Proofs of resource, of space and time, and of results, on one hash and one Merkle tree."""
