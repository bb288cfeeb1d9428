"""Progress bars for what takes longer than two seconds."""

import time
from types import TracebackType
from typing import Any

__all__ = ["Progress"]

#: Seconds before the bar appears.
PATIENCE = 2.0


class Progress:
    """A bar on stderr that appears when the work has lasted two seconds; it is called with stages.

    >>> with Progress() as progress:
    ...     for k in range(10):
    ...         progress("running", k + 1, 10)
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._bar: Any = None
        self._task: Any = None
        self._stage: tuple[str, float] | None = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, text: str, done: float, total: float) -> None:
        """``done`` of ``total`` steps of ``text`` are done; a total of 0 is not known."""
        if self._bar is None and time.monotonic() - self._started > PATIENCE:
            self._show()
        if self._bar is not None:
            self._switch(text, total)
            shown = text if total else f"{text}: {done:,.0f}"
            self._bar.update(self._task, description=shown, completed=done)

    def _switch(self, text: str, total: float) -> None:
        """One stage is shown at a time; a stage keeps its total."""
        if (text, total) != self._stage:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task, self._stage = self._bar.add_task(text, total=total or None), (text, total)

    def _show(self) -> None:
        from rich import progress
        from rich.console import Console

        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
        )
        self._bar = progress.Progress(*columns, console=Console(stderr=True), transient=True)
        self._bar.start()
