"""Every contract fits where Ethereum chains keep them."""

import pytest

from hpu.chain_integration.chain.compile import CONTRACTS, compiled

#: Bytes of a contract's code, EIP-170; of what creates it, EIP-3860.
CODE, CREATION = 24_576, 49_152


@pytest.mark.parametrize("name", sorted(path.stem for path in CONTRACTS.glob("*.vy")))
def test_a_contract_fits(name):
    artifact = compiled(name)
    assert artifact.runtime_size <= CODE
    assert len(artifact.bytecode) <= CREATION
