"""Messages between roles, in one process and over loopback."""

import socket
import threading

import pytest

from hpu.chain_integration.store.blobs import BlobStore
from hpu.chain_integration.store.cid import ContentError, cid_of
from hpu.chain_integration.store.http import (
    HttpWire,
    LocalWire,
    PeerError,
    RefusalError,
    Reply,
    Request,
    Server,
    answer_blob,
    call,
    fetch,
    reply_json,
)

WANTED = cid_of(b"wanted")


class Role:
    """Keeps content, echoes JSON, and refuses the rest."""

    def __init__(self, folder):
        self.store = BlobStore(folder, max_blob=1000)

    def __call__(self, request: Request) -> Reply:
        if request.path.startswith("/blobs/"):
            return answer_blob(self.store, request, lambda cid: cid == str(WANTED))
        if request.path == "/echo":
            return reply_json(request.json)
        if request.path == "/text":
            return Reply(b"hello", type="text/plain")
        raise RefusalError("there is nothing here.", 404)


@pytest.fixture(params=["local", "http"])
def link(request, tmp_path):
    """A wire, the role behind it, and where it is."""
    role = Role(tmp_path)
    if request.param == "local":
        wire = LocalWire()
        wire.handlers["local:role"] = role
        yield wire, role, "local:role"
        return
    server = Server(role)
    assert server.host == "127.0.0.1"
    yield HttpWire(timeout=2, tries=1), role, server.url
    server.close()


def test_messages(link):
    wire, _role, url = link
    assert call(wire, url, "POST", "/echo", {"a": [1, None]}) == {"a": [1, None]}
    with pytest.raises(RefusalError, match="there is nothing here") as refused:
        call(wire, url, "GET", "/other")
    assert refused.value.status == 404
    with pytest.raises(RefusalError, match="body must be JSON"):
        call(wire, url, "POST", "/echo")
    with pytest.raises(PeerError, match="with what is no JSON"):
        call(wire, url, "GET", "/text")


def test_content_is_taken_only_when_wanted_and_right(link):
    wire, role, url = link
    path = f"/blobs/{WANTED}"
    assert wire.request(url, Request("GET", path)).status == 404
    with pytest.raises(PeerError, match="does not have"):
        fetch(wire, url, WANTED)
    assert b"another hash" in wire.request(url, Request("PUT", path, b"other")).body
    other = wire.request(url, Request("PUT", f"/blobs/{cid_of(b'x')}", b"x"))
    assert other.status == 403 and b"belongs to no order" in other.body
    assert wire.request(url, Request("PUT", path, b"wanted")).status == 201
    assert fetch(wire, url, str(WANTED)) == b"wanted" == role.store.get(WANTED)
    assert wire.request(url, Request("GET", "/blobs/..%2f..%2fetc%2fpasswd")).status == 400


def test_content_changed_on_its_way_is_refused(link):
    wire, role, url = link
    role.store.put(b"wanted")
    (role.store.folder / str(WANTED)).write_bytes(b"changed")
    with pytest.raises(PeerError, match="does not have"):
        fetch(wire, url, WANTED)  # who has it sees the damage first

    class Liar(LocalWire):
        def request(self, url, request, limit=0):
            return Reply(b"changed")

    with pytest.raises(ContentError, match="has another hash"):
        fetch(Liar(), url, WANTED)


def test_answers_have_a_limit(link):
    wire, role, url = link
    role.store.put(b"wanted")
    with pytest.raises(PeerError, match="with more than 3 bytes"):
        fetch(wire, url, WANTED, limit=3)


def test_who_does_not_answer_is_given_up():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(PeerError, match=r"does not answer \(ConnectionError, tried 2 times\)"):
        HttpWire(tries=2, pause=0.01).request(f"http://127.0.0.1:{port}", Request("GET", "/"))


def test_who_hangs_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(PeerError, match="does not answer"):
            HttpWire(timeout=0.1, tries=2, pause=0.01).request(url, Request("GET", "/"))


def test_an_answer_cut_short_is_tried_again():
    answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"]
    answers.append(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                with listener.accept()[0] as client:
                    client.recv(1000)
                    client.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert HttpWire(tries=3, pause=0.01).request(url, Request("GET", "/")).body == b"ok"


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PeerError, match=f"port {port} of 127.0.0.1 cannot be opened"):
            Server(lambda _request: Reply(b""), port=port)
