"""Long computations beside a role's steps: in a thread, or at once in a test."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

__all__ = ["Background", "Immediate", "Jobs"]


class Jobs(Protocol):
    """Computations by name, each done once."""

    def result(self, name: str, function: Callable[[], Any]) -> Any:
        """What ``function`` gives, or None while it lasts; raises what it raises."""
        ...

    def forget(self, name: str) -> None:
        """Drop the result of ``name``, so that it may be computed again."""
        ...


class Immediate:
    """Computes when asked, and keeps nothing."""

    def result(self, name: str, function: Callable[[], Any]) -> Any:
        """As of :class:`Jobs`; never None."""
        return function()

    def forget(self, name: str) -> None:
        """Nothing is kept."""


class Background:
    """Computes in one thread, one after the other: a node's device does one thing at a time."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "jobs")
        self._jobs: dict[str, Future[Any]] = {}

    def result(self, name: str, function: Callable[[], Any]) -> Any:
        """As of :class:`Jobs`."""
        if name not in self._jobs:
            self._jobs[name] = self._pool.submit(function)
        job = self._jobs[name]
        return job.result() if job.done() else None

    def forget(self, name: str) -> None:
        """As of :class:`Jobs`."""
        self._jobs.pop(name, None)
