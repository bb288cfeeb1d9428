"""Stateful fuzzing of all contracts: a short run, and bugs planted to be found."""

import pytest

from hpu.chain_integration.chain import deploy as deployment
from hpu.chain_integration.chain.compile import CONTRACTS, compiled_source
from hpu.chain_integration.fuzz import machine

SEED = 11
REACHING = 4  # its runs get to a proven lie

#: Contract, what is taken out of it, what is put there, and how that is noticed.
_COMPENSATED = 'self._pay(id, account, part, "compensation")'
BUGS = [
    ("token", "balanceOf[taker] += amount", "balanceOf[taker] += amount + 1", "supply|holds"),
    ("registry", "self._stake[node] = stake - (amount << 96)\n    log Unl", "log Unl", "locked"),
    ("market", "        self._settle(id, job, False)", "        pass", "settle|stuck"),
    ("market", f"        left -= part\n        {_COMPENSATED}", f"        {_COMPENSATED}", "holds"),
    ("vote", "self.held[number][voter] = 0\n    ", "", "vote holds|withdraw"),
    ("release", "return held - min(held, self._locked())", "return held", "must hold"),
]


def test_nothing_is_found_in_the_contracts():
    tally = machine.fuzz(steps=300, seed_=SEED)
    assert tally.steps >= 300
    assert tally.orders > 3, f"seed {SEED}"


@pytest.mark.slow
def test_every_kind_of_end_is_reached():
    tally = machine.fuzz(steps=3000, seed_=REACHING)
    known = machine.ground()
    assert set(tally.ends) == {"SETTLED", "EXPIRED", "REFUNDED"}, f"seed {REACHING}"
    assert known.seen["convictions"] and known.seen["contests"], f"seed {REACHING}"


@pytest.mark.slow
@pytest.mark.parametrize("contract, old, new, noticed", BUGS)
def test_planted_bugs_are_found(monkeypatch, tmp_path, contract, old, new, noticed):
    for path in CONTRACTS.glob("*.vy"):
        (tmp_path / path.name).write_text(path.read_text())
    source = tmp_path / f"{contract}.vy"
    text = source.read_text()
    assert text.count(old) == 1, f"{old!r} must be in {contract}.vy once"
    source.write_text(text.replace(old, new))
    original = deployment.compiled
    changed = compiled_source(source)
    monkeypatch.setattr(
        deployment, "compiled", lambda name: changed if name == contract else original(name)
    )
    machine.ground.cache_clear()
    try:
        with pytest.raises(Exception, match=noticed):
            machine.fuzz(steps=4000, seed_=SEED, shrink=False)
    finally:
        machine.ground.cache_clear()
