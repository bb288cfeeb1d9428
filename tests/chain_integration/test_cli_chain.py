"""``hpu chain``."""

import json
import re
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner
from eth_account import Account

from hpu.chain_integration.chain.connect import connect
from hpu.chain_integration.chain.deploy import load
from hpu.chain_integration.chain.server import serving
from hpu.cli import cli


def run(*arguments):
    return CliRunner().invoke(cli, ["chain", *map(str, arguments)])


def test_start_runs_a_chain_with_the_contracts_on_it(tmp_path):
    path = tmp_path / "chain.json"
    command = [sys.executable, "-m", "hpu", "chain", "start", "--port", "0"]
    command += ["--addresses", str(path), "--aged", "3000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        lines = [process.stdout.readline() for _ in range(12)]
        assert lines[0] == f"{path}: {len(json.loads(path.read_text())['contracts'])} contracts\n"
        link = connect(re.fullmatch(r"chain at (\S+)\n", lines[1])[1])
        keys = [re.fullmatch(r"  account (\S+)  key (\S+)\n", line) for line in lines[2:]]
        assert [Account.from_key(key[2]).address for key in keys] == [key[1] for key in keys]
        made = load(link, path)
        made["release_founders"].send(Account.from_key(keys[1][2]), "release")
        assert made["token"].call("balanceOf", keys[0][1]) > 10**24
    finally:
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=20)[1]
    assert (process.returncode, errors) == (0, "")


@pytest.fixture
def key(tmp_path):
    path, secret = tmp_path / "me.json", tmp_path / "secret"
    secret.write_text("correct horse\n")
    account = Account.create()
    path.write_text(json.dumps(account.encrypt("correct horse", iterations=1024)))
    return account, ["--key", path, "--password-file", secret]


def _paid(account):
    names = ("founders", "development", "foundation", "operations", "marketing")
    return [part for name in names for part in ("--beneficiary", f"{name}={account.address}")]


def test_deploy_puts_the_contracts_on_a_chain(tmp_path, key):
    account, options = key
    path = tmp_path / "chain.json"
    with serving() as url:
        connect(url).fund(account.address)
        done = run("deploy", "--rpc", url, *options, *_paid(account), "--addresses", path)
        assert done.exit_code == 0, done.output
        made = load(connect(url), path)
        assert made["release_founders"].call("beneficiary") == account.address


def test_bad_input_is_a_sentence(tmp_path, key):
    account, options = key
    everybody = _paid(account)
    with serving() as url:
        for arguments, message in [
            ((*options, "--rpc", url), "the beneficiary of each allocation: founders has none"),
            (
                (*options, "--rpc", url, *everybody, "--beneficiary", "me=0x12"),
                "a beneficiary's allocation must be one of",
            ),
            ((*options, "--rpc", "x", *everybody), "must be given as an http:// or https:// URL"),
            ((*options, "--rpc", url, *everybody), "has too little native coin to pay the gas"),
            (
                (*options, "--rpc", url, *everybody[2:], "--beneficiary", "founders=0x12"),
                "the beneficiary of founders must be an address, not '0x12'",
            ),
        ]:
            done = run("deploy", *arguments, "--addresses", tmp_path / "chain.json")
            assert done.exit_code == 2, done.output
            assert message in done.stderr
            assert not (tmp_path / "chain.json").exists()
    done = run("start", "--port", "99999")
    assert done.exit_code == 2
