"""``hpu node``, ``hpu retriever``, ``hpu order`` on a chain behind RPC: real processes' code."""

import threading

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from eth_account import Account

import hpu
from hpu.chain_integration.chain.connect import connect
from hpu.chain_integration.chain.deploy import deploy
from hpu.chain_integration.chain.server import serving
from hpu.chain_integration.keys import new_key_file
from hpu.chain_integration.roles.daemon import Door, run, state_of
from hpu.chain_integration.roles.ledger import Ledger
from hpu.chain_integration.roles.registration import Offer, RegistrationError
from hpu.chain_integration.roles.retriever import Retriever
from hpu.chain_integration.store.http import HttpWire, Request
from hpu.cli import cli
from hpu.hw.config import CONFIGS

HAI = 10**18
PASSWORD = "correct horse"
LAB = CONFIGS["lab-16"]


class Place:
    """A chain behind HTTP with the contracts, and funded key files."""

    def __init__(self, folder, rpc):
        self.folder, self.rpc, self.connection = folder, rpc, connect(rpc)
        self.funder = self.connection.accounts(1)[0]
        begun = self.connection.time() - 2600 * 86400
        self.contracts = deploy(self.connection, self.funder, start=begun)
        self.contracts["release_operations"].send(self.funder, "release")
        self.contracts.save(folder / "chain.json")

    def key(self, name, hai=2000) -> Account:
        account = new_key_file(self.folder / f"{name}.json", PASSWORD, rounds=2)
        self.connection.fund(account.address)
        self.contracts["token"].send(self.funder, "transfer", account.address, hai * HAI)
        return account

    def options(self, name):
        common = ["--rpc", self.rpc, "--addresses", self.folder / "chain.json"]
        return [*common, "--key", self.folder / f"{name}.json"]

    def hpu(self, *arguments):
        words = [str(argument) for argument in arguments]
        return CliRunner().invoke(cli, words, env={"HPU_KEY_PASSWORD": PASSWORD})


@pytest.fixture(scope="module")
def place(tmp_path_factory, quantised, inputs):
    folder = tmp_path_factory.mktemp("roles")
    onnx.save(quantised, folder / "m.onnx")
    np.savez(folder / "x.npz", x=inputs)
    with serving() as url:
        yield Place(folder, url)


def test_a_node_registers_and_shows_itself(place):
    place.key("node")
    offer = ["--config", "lab-16", "--price", "1.5", "--region", "here", "--url", "http://x:1"]
    first = place.hpu("node", "register", *place.options("node"), *offer)
    assert first.exit_code == 0, first.output
    assert ": registered" in first.stdout
    again = place.hpu("node", "register", *place.options("node"), *offer)
    assert ": nothing to change" in again.stdout
    status = place.hpu("node", "status", *place.options("node")).stdout
    for words in (
        "1.5000 HAI per T·H",
        "1,000.0000 HAI, 0.0000 of it locked",
        "here",
        "http://x:1",
    ):
        assert words in status
    assert "no valid resource proof" in status
    place.key("other")
    assert "is not registered" in place.hpu("node", "status", *place.options("other")).stdout


def test_errors_are_one_sentence(place):
    place.key("poor", hai=1)
    submit = ["order", "submit", place.folder / "m.onnx", place.folder / "x.npz"]
    submit += [*place.options("poor"), "--folder", place.folder / "poor", "--config", "lab-16"]
    terms = ["--price", "10", "--quote", "5"]
    wrong = {
        "must be an amount of HAI": [*submit, "--price", "x", "--quote", "5"],
        "needs 5.25 HAI in the market": [*submit, *terms],
        "refused deposit: the balance is too low": [*submit, *terms, "--deposit", "50"],
        "an order's number must be 64": ["order", "status", "12", *place.options("poor")],
        "is not one of this buyer's": [
            *("order", "fetch", "00" * 32, "--output", "y.npz"),
            *place.options("poor"),
        ],
        "cannot be read": ["node", "status", "--rpc", place.rpc, "--key", "none.json"],
        "must be given as an http": ["node", "status", *place.options("poor")[2:], "--rpc", "x"],
        "configuration must be one of hai-v1": [
            *("node", "register", "--config", "none", "--price", "1", "--url", "http://x"),
            *place.options("poor"),
        ],
    }
    for words, arguments in wrong.items():
        if arguments[0] == "order" and arguments[1] != "submit":
            arguments += ["--folder", place.folder / "poor"]
        found = place.hpu(*arguments)
        assert found.exit_code == 2, found.output
        assert "Traceback" not in found.output
        text = " ".join(found.stderr.split())
        assert words in text


def test_what_a_node_cannot_offer():
    with pytest.raises(RegistrationError, match="a region must be at most 32 bytes"):
        Offer(LAB, 1, "x" * 33, "http://x")
    with pytest.raises(RegistrationError, match="an endpoint must be at most 96 characters"):
        Offer(LAB, 1, "here", "http://" + "x" * 90)


def test_a_role_answers_over_http_until_it_is_stopped(place):
    account = place.key("retriever")
    door = Door("127.0.0.1", 0)
    wire = HttpWire(tries=1)
    assert wire.request(door.url, Request("GET", "/health")).status == 503
    store, journal = state_of(place.folder / "retriever")
    ledger = Ledger(place.contracts, account)
    role = Retriever(url=door.url, ledger=ledger, wire=wire, store=store, journal=journal)
    door.open_to(role)
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(role, stop), kwargs={"pause": 0.05})
    thread.start()
    try:
        for path, words in (
            ("/health", b'"role": "retriever"'),
            ("/metrics", b"hpu_retriever_block"),
            ("/nodes", b"http://x:1"),
            ("/", b"<!doctype html>"),
        ):
            reply = wire.request(door.url, Request("GET", path))
            assert reply.status == 200 and words in reply.body, path
        assert wire.request(door.url, Request("GET", "/none")).status == 404
    finally:
        stop.set()
        thread.join()
        door.close()
    assert not thread.is_alive() and role.journal.blocks(1)


@pytest.mark.slow
def test_the_demo(tmp_path):
    import subprocess
    import sys
    from pathlib import Path

    root = Path(hpu.__file__).resolve().parents[2]
    command = [sys.executable, "-m", "hpu.chain_integration.demo"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "all as it must be" in done.stdout
