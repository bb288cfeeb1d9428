"""A development chain as a JSON-RPC server on this machine's loopback."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import web

from hpu.chain_integration.chain.connect import Connection, InProcessProvider, in_process
from hpu.chain_integration.chain.errors import ChainError
from hpu.chain_integration.chain.rpc import Rpc

__all__ = ["HOST", "PORT", "serve", "serving"]

HOST = "127.0.0.1"
PORT = 8545
#: Seconds between blocks when nobody sends a transaction.
INTERVAL = 1.0
_LARGEST = 8 << 20  # bytes of a request


def serve(
    *,
    port: int = PORT,
    interval: float = INTERVAL,
    ready: Callable[[str], None],
    prepare: Callable[[Connection], None] = lambda _: None,
) -> None:
    """Answer requests until the process is interrupted.

    Parameters
    ----------
    interval:
        Seconds after which a block is made when nobody sends a transaction.
    ready:
        Gets the server's URL when it answers.
    prepare:
        Gets the chain before anybody else.

    Raises
    ------
    ChainError
        When the port cannot be used.
    """
    connection = _new_chain()
    prepare(connection)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(_rpc_of(connection), port, interval, ready, asyncio.Event()))


@contextlib.contextmanager
def serving(*, port: int = 0, interval: float = INTERVAL) -> Iterator[str]:
    """A server in a thread while the block runs; its URL. Port 0 stands for any that is free."""
    rpc = _rpc_of(_new_chain())
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    urls: list[str] = []
    failures: list[ChainError] = []
    started = threading.Event()

    def ready(url: str) -> None:
        urls.append(url)
        started.set()

    def run() -> None:
        try:
            loop.run_until_complete(_serve(rpc, port, interval, ready, stop))
        except ChainError as error:
            failures.append(error)
        finally:
            started.set()
            loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started.wait()
    if failures:
        raise failures[0]
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _new_chain() -> Connection:
    return in_process(clock=time.time)


def _rpc_of(connection: Connection) -> Rpc:
    assert isinstance(connection.provider, InProcessProvider)
    return connection.provider.rpc


async def _serve(
    rpc: Rpc, port: int, interval: float, ready: Callable[[str], None], stop: asyncio.Event
) -> None:
    runner = web.AppRunner(_application(rpc), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, port)
        try:
            await site.start()
        except OSError as error:
            raise ChainError(f"port {port} cannot be used: {error.strerror}.") from error
        ready(f"http://{HOST}:{runner.addresses[0][1]}")
        await _mine(rpc, interval, stop)
    finally:
        await runner.cleanup()


async def _mine(rpc: Rpc, interval: float, stop: asyncio.Event) -> None:
    """Append an empty block whenever ``interval`` passed without one."""
    while not stop.is_set():
        height = rpc.chain.latest.number
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), interval)
        if rpc.chain.latest.number == height:
            rpc.answer("evm_mine", [])


def _application(rpc: Rpc) -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        # Pages of a browser cannot send this type to another site without its consent.
        if request.content_type != "application/json":
            return web.Response(status=415, text="the content type must be application/json\n")
        try:
            asked = await request.json()
        except ValueError:
            return web.json_response(_answer_one(rpc, None))
        if isinstance(asked, list):
            return web.json_response([_answer_one(rpc, each) for each in asked])
        return web.json_response(_answer_one(rpc, asked))

    application = web.Application(client_max_size=_LARGEST)
    application.router.add_post("/", answer)
    return application


def _answer_one(rpc: Rpc, asked: Any) -> dict[str, Any]:
    if not isinstance(asked, dict) or not isinstance(asked.get("method"), str):
        error = {"code": -32600, "message": "the request is no JSON-RPC"}
        return {"jsonrpc": "2.0", "id": None, "error": error}
    answer = rpc.answer(asked["method"], asked.get("params") or [])
    return {"jsonrpc": "2.0", "id": asked.get("id"), **answer}
