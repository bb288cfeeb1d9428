"""What the tests of the contracts share."""

import pytest
from tests.chain_integration.contracts.marketplace import BALANCE, Marketplace


@pytest.fixture
def place(tmp_path):
    """A new market with nothing in it."""
    return Marketplace(tmp_path)


@pytest.fixture
def trade(place):
    """A market with a buyer that has money and four nodes that have proven their power."""
    for node in place.nodes[:4]:
        place.register(node)
    place.do(place.market, place.buyer, "deposit", BALANCE)
    return place
