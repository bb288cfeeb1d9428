"""Chains: the one in process, any other over RPC, and the contracts deployed on them."""
