"""Key files."""

import json

import pytest
from eth_account import Account

from hpu.chain_integration.keys import KeyFileError, address_of, load_key, new_key_file

PASSWORD = "correct horse"


def test_a_key_file_is_a_standard_keystore_and_private(tmp_path):
    path = tmp_path / "keys" / "node.json"
    account = new_key_file(path, PASSWORD, rounds=2)
    assert path.stat().st_mode & 0o077 == 0
    data = json.loads(path.read_text())
    assert data["version"] == 3 and account.key.hex() not in path.read_text()
    assert Account.decrypt(data, PASSWORD) == account.key
    assert address_of(path) == account.address == load_key(path, PASSWORD).address


def test_refusals(tmp_path):
    path = tmp_path / "node.json"
    with pytest.raises(KeyFileError, match="at least 8 characters"):
        new_key_file(path, "short")
    new_key_file(path, PASSWORD, rounds=2)
    with pytest.raises(KeyFileError, match="is there already; a key file is never overwritten"):
        new_key_file(path, PASSWORD)
    with pytest.raises(KeyFileError, match="the password is wrong, or it is damaged"):
        load_key(path, "another one")
    with pytest.raises(KeyFileError, match=r"none\.json cannot be read"):
        load_key(tmp_path / "none.json", PASSWORD)
    for text, words in (("{", "is no keystore file"), ("{}", "it names no address")):
        path.write_text(text)
        with pytest.raises(KeyFileError, match=words):
            address_of(path)
