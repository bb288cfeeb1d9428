"""Orders of which every one has a fault: all end, and no HAI-wei is lost."""

import pytest
from tests.chain_integration.roles.granted import GrantedMarket

from hpu.chain_integration.faults import Experiment, Fault

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    market = GrantedMarket(folder)
    done = []
    experiment = Experiment(
        folder,
        orders=16,
        suppliers=5,
        rate=1.0,
        seed=1,
        market=market,
        progress=lambda ended, _all: done.append(ended),
    )
    result = experiment.run(abreast=16)
    assert done[0] == 0 and done == sorted(done)
    return result


def test_every_order_ends(outcome):
    assert outcome.orders == 16 and outcome.stuck == 0
    assert set(outcome.ends) <= {"settled", "expired", "refunded", "none"}
    assert outcome.ends["settled"] and outcome.ends["expired"]


def test_no_money_is_lost_or_locked(outcome):
    assert (outcome.missing, outcome.locked) == (0, 0)


def test_what_becomes_of_each_fault(outcome):
    assert all(outcome.by_fault[fault] for fault in Fault), outcome.by_fault
    assert set(outcome.by_fault[Fault.LATE]) == {"expired"}
    for fault in (Fault.BUYER, Fault.RETRIEVER):  # a supplier may be killed for another order
        assert set(outcome.by_fault[fault]) <= {"settled", "expired"}
