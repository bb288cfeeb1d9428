"""Compiled contracts and their cache."""

import pytest

from hpu.chain_integration.chain import compile as compiling
from hpu.chain_integration.chain.compile import (
    CONTRACTS,
    ContractError,
    compiled,
    compiled_source,
)
from hpu.chain_integration.chain.deploy import CONTRACTS as DEPLOYED

MODULE = "@internal\n@pure\ndef _number() -> uint256:\n    return {}\n"
USER = "import part\n@external\n@pure\ndef number() -> uint256:\n    return part._number()\n"


def test_every_contract_fits_where_it_is_deployed():
    for name in sorted(set(DEPLOYED.values())):
        assert compiled(name).runtime_size <= 24_576, name  # EIP-170


def test_no_contract_has_an_owner():
    for name in sorted(set(DEPLOYED.values())):
        named = {entry.get("name") for entry in compiled(name).abi}
        assert not named & {"owner", "transfer_ownership", "upgrade", "pause", "mint"}, name
        assert "selfdestruct" not in (CONTRACTS / f"{name}.vy").read_text()


def test_what_did_not_change_is_not_compiled_again(tmp_path, monkeypatch):
    (tmp_path / "part.vy").write_text(MODULE.format(5))
    (tmp_path / "user.vy").write_text(USER)
    first = compiled_source(tmp_path / "user.vy")
    with monkeypatch.context() as patch:
        patch.setattr(compiling, "_compile", lambda path: pytest.fail("compiled again"))
        assert compiled_source(tmp_path / "user.vy") == first
    (tmp_path / "part.vy").write_text(MODULE.format(6))
    assert compiled_source(tmp_path / "user.vy").bytecode != first.bytecode


def test_errors_are_sentences(tmp_path):
    with pytest.raises(ContractError, match="there is no contract 'nothing' in"):
        compiled("nothing")
    broken = tmp_path / "broken.vy"
    broken.write_text("x: public(uint257)\n")
    with pytest.raises(ContractError, match=r"^broken\.vy does not compile: "):
        compiled_source(broken)
