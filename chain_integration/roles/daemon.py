"""A role as a program: its server, and its steps until it is told to stop."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from hpu.chain_integration.chain.errors import ChainError
from hpu.chain_integration.roles.base import Role
from hpu.chain_integration.roles.journal import Journal, JournalError
from hpu.chain_integration.store.blobs import BlobStore, StoreError
from hpu.chain_integration.store.http import Handler, Reply, Request, Server, reply_json

__all__ = ["Door", "run", "state_of", "stopping"]

#: Seconds between two steps, and after one that failed.
_PAUSE, _LONG_PAUSE = 0.3, 3.0
_log = logging.getLogger("hpu.daemon")


class Door:
    """A server that is open before its role is there, so that the role knows its own address."""

    def __init__(self, host: str, port: int):
        self._handler: Handler = lambda _request: reply_json({"error": "not ready yet"}, 503)
        self._server = Server(self._answer, host=host, port=port)

    @property
    def url(self) -> str:
        """Where it answers."""
        return self._server.url

    def open_to(self, role: Role) -> None:
        """Let a role answer from now on."""
        self._handler = role.handle

    def close(self) -> None:
        """Stop answering."""
        self._server.close()

    def _answer(self, request: Request) -> Reply:
        return self._handler(request)


def state_of(folder: Path) -> tuple[BlobStore, Journal]:
    """The store and the journal in a role's folder, which is made when it is not there.

    Raises
    ------
    StoreError, JournalError
        When they cannot be opened.
    """
    store = BlobStore(folder / "blobs")
    return store, Journal(folder / "journal.db")


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that is set when the program is interrupted or told to terminate."""
    stop = threading.Event()

    def set_it(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {each: signal.signal(each, set_it) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(
    role: Role,
    stop: threading.Event,
    *,
    until: Callable[[], bool] = lambda: False,
    pause: float = _PAUSE,
) -> None:
    """Take steps until ``stop`` is set or ``until`` holds.

    A chain that does not answer, a full disk and the like are logged, and the step is tried again.
    """
    while not stop.is_set() and not until():
        try:
            role.step()
            stop.wait(pause)
        except (ChainError, StoreError, JournalError) as error:
            role.metrics.failures.inc()
            _log.warning("%s: %s", role.name, error)
            stop.wait(_LONG_PAUSE)
