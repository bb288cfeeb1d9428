"""Deployment of all contracts, in process and on anvil, and the file of their addresses."""

import json

import pytest

from hpu.chain_integration.chain.allocation import ALLOCATIONS
from hpu.chain_integration.chain.compile import compiled
from hpu.chain_integration.chain.deploy import CONTRACTS, deploy, load
from hpu.chain_integration.chain.errors import ChainError, RevertedError


def test_contracts_know_each_other(deployed):
    for name, source in CONTRACTS.items():
        views = {e["name"] for e in compiled(source).abi if e.get("stateMutability") == "view"}
        for other in (set(CONTRACTS) & views) - {name}:
            assert deployed[name].call(other) == deployed[other].address, (name, other)
    assert deployed["market"].call("treasury") == deployed["release_foundation"].address
    assert deployed["disputes"].call("machine") == deployed["elements"].address


def test_addresses_are_saved_and_loaded(deployed, tmp_path):
    path = tmp_path / "chain.json"
    deployed.save(path)
    again = load(deployed.connection, path)
    assert {n: c.address for n, c in again.contracts.items()} == {
        n: c.address for n, c in deployed.contracts.items()
    }
    assert again.block == deployed.block
    assert again["token"].call("symbol") == "HAI"


def test_a_deployment_for_others(chain):
    keys = chain.accounts(3)
    paid = {"founders": keys[1].address, "marketing": keys[2].address}
    made = deploy(chain, keys[0], beneficiaries=paid)
    found = {a.name: made[a.contract].call("beneficiary") for a in ALLOCATIONS}
    others = dict.fromkeys(("development", "foundation", "operations"), keys[0].address)
    assert found == {"miners": "0x" + "00" * 20, **paid, **others}
    with pytest.raises(RevertedError, match="nothing is due yet"):
        made["release_operations"].send(keys[1], "release")
    chain.advance(86400)
    made["release_operations"].send(keys[1], "release")


def test_a_wrong_file_of_addresses_is_refused(deployed, tmp_path):
    path = tmp_path / "chain.json"
    link = deployed.connection
    deployed.save(path)
    right = json.loads(path.read_text())
    nowhere = {**right["contracts"], "market": "0x" + "12" * 20}
    missing = {k: v for k, v in right["contracts"].items() if k != "vote"}
    for content, message in [
        ("{", "cannot be read: "),
        (json.dumps({**right, "more": 1}), "cannot be read: "),
        (json.dumps({**right, "chain_id": 5}), "is for chain 5, but"),
        (json.dumps({**right, "contracts": missing}), "has no address of vote"),
        (json.dumps({**right, "contracts": nowhere}), "there is no contract market at 0x1212"),
    ]:
        path.write_text(content)
        with pytest.raises(ChainError, match=message):
            load(link, path)
    with pytest.raises(ChainError, match="cannot be read"):
        load(link, tmp_path / "none.json")
