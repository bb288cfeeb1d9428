"""What the tests of the contracts share."""

import pytest
from tests.chain_integration import anvil
from tests.chain_integration.contracts.marketplace import BALANCE, Marketplace


@pytest.fixture(scope="session")
def _anvil():
    try:
        anvil.binary()
    except anvil.AbsentError as error:
        pytest.skip(str(error))
    with anvil.running() as connection:
        yield connection


@pytest.fixture(params=["in process", pytest.param("anvil", marks=pytest.mark.slow)])
def place(request, tmp_path):
    """A new market with nothing in it, in process and on anvil over RPC."""
    if request.param == "in process":
        yield Marketplace(tmp_path)
        return
    connection = request.getfixturevalue("_anvil")
    before = connection.request("evm_snapshot")
    yield Marketplace(tmp_path, connection)
    connection.request("evm_revert", before)
    connection.seen = 0
    connection.senders.clear()


@pytest.fixture
def trade(place):
    """A market with a buyer that has money and four nodes that have proven their power."""
    for node in place.nodes[:4]:
        place.register(node)
    place.do(place.market, place.buyer, "deposit", BALANCE)
    return place
