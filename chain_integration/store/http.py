"""Messages between roles: handlers of requests, a server on loopback, and a client that gives up.

A role answers a :class:`Request` with a :class:`Reply` and knows nothing of sockets. In a test
messages go from role to role directly; between processes :class:`Server` and :class:`HttpWire`
carry them.
"""

import asyncio
import dataclasses
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import requests
from aiohttp import web
from multiformats import CID

from hpu.chain_integration.store.blobs import MAX_BLOB, BlobStore, StoreError
from hpu.chain_integration.store.cid import check_content, cid_text, parse_cid
from hpu.runtime.errors import HpuError

__all__ = [
    "MALFORMED",
    "Handler",
    "HttpWire",
    "LocalWire",
    "PeerError",
    "RefusalError",
    "Reply",
    "Request",
    "Server",
    "Wire",
    "answer_blob",
    "call",
    "fetch",
    "reply_json",
]

#: Bytes of a message that is no content at most.
MAX_MESSAGE = 1 << 20


class PeerError(HpuError):
    """Another role that does not answer, or whose answer is none."""


class RefusalError(HpuError):
    """What a role answers to a request that it does not grant; the message goes to who asked."""

    def __init__(self, message: str, status: int = 400):
        super().__init__(message)
        self.status = status


@dataclasses.dataclass(frozen=True)
class Request:
    """A request: ``GET``, ``PUT`` or ``POST``, a path, and a body."""

    method: str
    path: str
    body: bytes = b""

    @property
    def json(self) -> Any:
        """The body as JSON.

        Raises
        ------
        RefusalError
            When it is none.
        """
        try:
            return json.loads(self.body)
        except ValueError:
            raise RefusalError("the request's body must be JSON.") from None


@dataclasses.dataclass(frozen=True)
class Reply:
    """An answer, with a status as in HTTP."""

    body: bytes
    status: int = 200
    type: str = "application/json"


Handler = Callable[[Request], Reply]
#: What reading a message raises whose parts are missing or of other types.
MALFORMED = (KeyError, TypeError, ValueError, AttributeError)


class Wire(Protocol):
    """Carries a request to the role at ``url``.

    Raises
    ------
    PeerError
        When there is no answer.
    """

    def request(self, url: str, request: Request, limit: int = MAX_MESSAGE) -> Reply:
        """The answer of the role at ``url``, of at most ``limit`` bytes."""
        ...


def reply_json(value: Any, status: int = 200) -> Reply:
    """``value`` as JSON."""
    return Reply(json.dumps(value).encode(), status)


def answered(handler: Handler, request: Request) -> Reply:
    """The handler's answer; a refusal is one too."""
    try:
        return handler(request)
    except RefusalError as refusal:
        return reply_json({"error": str(refusal)}, refusal.status)
    except StoreError as error:
        return reply_json({"error": str(error)}, 507)
    except HpuError as error:
        return reply_json({"error": str(error)}, 400)
    except MALFORMED:
        return reply_json({"error": "the message is not of the form that is expected."}, 400)


def call(wire: Wire, url: str, method: str, path: str, value: Any = None) -> Any:
    """What the role at ``url`` answers, as JSON.

    Raises
    ------
    RefusalError
        When it does not grant the request; the message is its own.
    PeerError
        When it does not answer in JSON.
    """
    body = b"" if value is None else json.dumps(value).encode()
    reply = wire.request(url, Request(method, path, body))
    try:
        found = json.loads(reply.body)
    except ValueError:
        raise PeerError(f"{url} answered {path} with what is no JSON.") from None
    if reply.status >= 400:
        said = found.get("error") if isinstance(found, dict) else None
        raise RefusalError(str(said or f"{url} refused {path}."), reply.status)
    return found


def fetch(wire: Wire, url: str, cid: CID | str, limit: int = MAX_BLOB) -> bytes:
    """The content of ``cid`` from the role at ``url``, its hash checked.

    Raises
    ------
    PeerError
        When it does not give it.
    ContentError
        When what it gives has another hash.
    """
    known = parse_cid(cid) if isinstance(cid, str) else cid
    reply = wire.request(url, Request("GET", f"/blobs/{cid_text(known)}"), limit)
    if reply.status != 200:
        raise PeerError(f"{url} does not have {known}.")
    return check_content(known, reply.body)


def answer_blob(store: BlobStore, request: Request, wanted: Callable[[str], bool]) -> Reply:
    """Answer ``/blobs/<cid>``: GET gives content, PUT takes what is ``wanted``.

    Raises
    ------
    RefusalError
        When content is not here, or not wanted.
    """
    cid = parse_cid(request.path.removeprefix("/blobs/"))
    if request.method == "GET":
        if cid not in store:
            raise RefusalError(f"{cid} is not here.", 404)
        return Reply(store.get(cid), type="application/octet-stream")
    if request.method != "PUT" or not wanted(cid_text(cid)):
        raise RefusalError(f"{cid} belongs to no order that waits for it.", 403)
    store.put_as(cid, request.body)
    return reply_json({"cid": str(cid)}, 201)


class LocalWire:
    """Roles in one process: a request is a call of the handler that has the name ``url``."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}

    def request(self, url: str, request: Request, limit: int = MAX_MESSAGE) -> Reply:
        """As of :class:`Wire`; a role that is not there does not answer."""
        if url not in self.handlers:
            raise PeerError(f"{url} does not answer.")
        reply = answered(self.handlers[url], request)
        if len(reply.body) > limit:
            raise PeerError(f"{url} answered {request.path} with more than {limit:,} bytes.")
        return reply


class HttpWire:
    """Requests over HTTP, tried a few times; what may be repeated without harm, and all here may.

    Parameters
    ----------
    timeout:
        Seconds for a connection, and between two pieces of an answer.
    tries, pause:
        How often, and seconds before the second try; twice as long before each further one.
    """

    def __init__(self, *, timeout: float = 10.0, tries: int = 3, pause: float = 0.2):
        self.timeout, self.tries, self.pause = timeout, tries, pause
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy must not see what goes over loopback

    def request(self, url: str, request: Request, limit: int = MAX_MESSAGE) -> Reply:
        """As of :class:`Wire`."""
        for turn in range(self.tries):
            if turn:
                time.sleep(self.pause * 2 ** (turn - 1))
            try:
                return self._once(url, request, limit)
            except (requests.RequestException, OSError) as error:
                reason = type(error).__name__
        raise PeerError(f"{url} does not answer ({reason}, tried {self.tries} times).")

    def _once(self, url: str, request: Request, limit: int) -> Reply:
        with self._session.request(
            request.method,
            url.rstrip("/") + request.path,
            data=request.body,
            timeout=self.timeout,
            stream=True,
            allow_redirects=False,
        ) as answer:
            parts, size = [], 0
            for part in answer.iter_content(1 << 16):
                size += len(part)
                if size > limit:
                    raise PeerError(
                        f"{url} answered {request.path} with more than {limit:,} bytes."
                    )
                parts.append(part)
            kind = answer.headers.get("Content-Type", "")
            return Reply(b"".join(parts), answer.status_code, kind)


class Server:
    """Serves a handler over HTTP in a thread of its own, one request after the other.

    Parameters
    ----------
    host, port:
        Loopback unless told otherwise; port 0 takes a free one.

    Raises
    ------
    PeerError
        When the port is taken.
    """

    def __init__(self, handler: Handler, *, host: str = "127.0.0.1", port: int = 0):
        self._handler, self.host, self.port = handler, host, port
        self._worker = ThreadPoolExecutor(1, "handler")
        self._loop = asyncio.new_event_loop()
        self._started: threading.Event = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="http")
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise PeerError(
                f"port {port} of {host} cannot be opened: {self._failure.strerror}."
            ) from None

    @property
    def url(self) -> str:
        """Where others reach it."""
        return f"http://{self.host}:{self.port}"

    def close(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._worker.shutdown()

    def _run(self) -> None:
        runner = web.AppRunner(self._application(), access_log=None)
        try:
            self._loop.run_until_complete(self._open(runner))
        except OSError as error:
            self._failure = error
            return
        finally:
            self._started.set()
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(runner.cleanup())
            self._loop.close()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BLOB)
        application.router.add_route("*", "/{path:.*}", self._answer)
        return application

    async def _open(self, runner: web.AppRunner) -> None:
        await runner.setup()
        site = web.TCPSite(runner, self.host, self.port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def _answer(self, request: web.Request) -> web.Response:
        asked = Request(request.method, request.path, await request.read())
        reply = await self._loop.run_in_executor(self._worker, answered, self._handler, asked)
        return web.Response(body=reply.body, status=reply.status, content_type=reply.type)
