"""Chains that tests of contracts run on: in process, and anvil over RPC."""

from collections.abc import Iterator

import pytest
from tests.chain_integration import anvil

from hpu.chain_integration.chain.connect import Connection, connect
from hpu.chain_integration.chain.deploy import Deployment, deploy

YEAR = 365 * 86400


@pytest.fixture(
    scope="session", params=["in process", pytest.param("anvil", marks=pytest.mark.slow)]
)
def _chain(request: pytest.FixtureRequest) -> Iterator[Connection]:
    if request.param == "in process":
        yield connect()
        return
    try:
        anvil.binary()
    except anvil.AbsentError as error:
        pytest.skip(str(error))
    with anvil.running() as connection:
        yield connection


@pytest.fixture(scope="session")
def _deployed(_chain: Connection) -> Deployment:
    return deploy(_chain, _chain.accounts(1)[0], start=_chain.time() - 6 * YEAR)


@pytest.fixture
def chain(_chain: Connection) -> Iterator[Connection]:
    """A chain that is afterwards as it was before."""
    number = _chain.request("evm_snapshot")
    yield _chain
    _chain.request("evm_revert", number)
    _chain.seen = 0
    _chain.senders.clear()


@pytest.fixture
def deployed(_deployed: Deployment, chain: Connection) -> Deployment:
    """All contracts. The releases began six years ago; the first account is every beneficiary."""
    return _deployed


@pytest.fixture
def accounts(chain: Connection) -> list[str]:
    """Addresses of accounts that the chain unlocks."""
    return [account.address for account in chain.accounts()]
