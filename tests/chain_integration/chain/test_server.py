"""The development chain's server."""

import json
import socket
import time
import urllib.error
import urllib.request

import pytest

from hpu.chain_integration.chain.compile import compiled
from hpu.chain_integration.chain.connect import connect
from hpu.chain_integration.chain.contract import create
from hpu.chain_integration.chain.errors import ChainError
from hpu.chain_integration.chain.server import serving


def ask(url, body, kind="application/json"):
    request = urllib.request.Request(url, body.encode(), {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


@pytest.fixture(scope="module")
def url():
    with serving() as url:
        yield url


def test_contracts_work_over_it(url):
    link = connect(url)
    owner, taker, *_ = link.accounts()
    token = create(link, owner, compiled("token"), [owner.address], [10**28])
    token.send(owner, "transfer", taker.address, 5)
    assert token.call("balanceOf", taker.address) == 5
    assert abs(link.time() - time.time()) < 10


def test_it_listens_on_the_loopback_alone(url):
    host, port = url.removeprefix("http://").split(":")
    assert host == "127.0.0.1"
    own = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in own - {"127.0.0.1"} - {a for a in own if a.startswith("127.")}:
        with pytest.raises(OSError):
            socket.create_connection((address, int(port)), timeout=1)


def test_batches_and_bad_requests(url):
    good = {"jsonrpc": "2.0", "id": 4, "method": "eth_chainId", "params": []}
    assert (
        ask(url, json.dumps([good, good])) == [{"jsonrpc": "2.0", "id": 4, "result": "0x7a69"}] * 2
    )
    for body in ("{", "5", '{"id": 1}', '[{"method": 5}]'):
        answer = ask(url, body)
        answer = answer[0] if isinstance(answer, list) else answer
        assert answer["error"]["message"] == "the request is no JSON-RPC"


def test_pages_of_a_browser_cannot_use_it(url):
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(url, '{"method": "eth_chainId"}', "text/plain")
    assert caught.value.code == 415
    caught.value.close()


def test_blocks_come_without_transactions():
    with serving(interval=0.02) as url:
        link, end = connect(url), time.monotonic() + 10
        while link.height() < 3:
            assert time.monotonic() < end


def test_a_port_in_use_is_named(url):
    port = int(url.rsplit(":", 1)[1])
    with pytest.raises(ChainError, match=f"port {port} cannot be used: "), serving(port=port):
        pass
