"""A board's simulation behind a pseudo-terminal, for the real driver."""

import contextlib
import dataclasses
import os
import pty
import select
import signal
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

from hpu.hw.boards.board import Board
from hpu.hw.boards.top import BoardTop
from hpu.runtime.errors import HpuError
from hpu.sim.board import BoardSimulation, build
from hpu.sim.model import Progress

__all__ = ["BoardServer", "open_board", "serving"]

#: Cycles simulated at a time while bytes may come from the host.
_CHUNK = 2_000
#: Cycles without a byte in either direction after which the clock stops until one comes.
_QUIET = 200_000
#: Bytes taken from the host at a time; more wait in the terminal, and the host is held up.
_READ = 256
#: Cycles from power-on until the board is ready.
_START = 20_000
#: Bytes to the host that are kept while it does not take them.
_KEPT = 1 << 16
_WAIT_SECONDS = 0.2


class BoardServer:
    """Connects a running board's serial line to a pseudo-terminal.

    Its clock stops while nothing is under way, that is when no byte has come or gone for a while;
    a host that waits for the end of a program asks for it again and again, and so keeps it running.

    Parameters
    ----------
    board
        The simulation; its reset is over when this is made.

    Raises
    ------
    HpuError
        When there is no pseudo-terminal to be had.
    """

    def __init__(self, board: BoardSimulation):
        self._board = board
        try:
            self._host, self._terminal = pty.openpty()
        except OSError as error:
            raise HpuError(f"no pseudo-terminal can be opened ({error.strerror}).") from None
        tty.setraw(self._terminal)
        os.set_blocking(self._host, False)
        #: Path of the terminal: what the driver is given as its port.
        self.port = os.ttyname(self._terminal)
        self._out = b""
        self._stopped = False
        board.run(_START)

    def serve(self) -> None:
        """Serve until :meth:`stop` is called, from a signal handler or another thread."""
        quiet = 0
        while not self._stopped:
            moved = self._from_host(wait=quiet >= _QUIET)
            self._board.run(_CHUNK)
            moved = self._to_host() or moved or self._board.waiting > 0
            quiet = 0 if moved else quiet + _CHUNK

    def _from_host(self, wait: bool) -> bool:
        """Bytes from the terminal onto the line; with ``wait`` for some seconds until one comes."""
        if self._board.waiting >= _READ:
            return False
        if wait:
            select.select([self._host], [], [], _WAIT_SECONDS)
        try:
            data = os.read(self._host, _READ)
        except BlockingIOError:
            return False
        self._board.write(data)
        return True

    def _to_host(self) -> bool:
        """Bytes from the line to the terminal; what nobody takes is lost in the end."""
        data = self._board.read()
        self._out = (self._out + data)[-_KEPT:]
        with contextlib.suppress(BlockingIOError):
            self._out = self._out[os.write(self._host, self._out) :] if self._out else b""
        return bool(data)

    def serve_until_interrupted(self, path: Path | None) -> None:
        """Serve until Ctrl-C or SIGTERM; meanwhile ``path`` is a link to the terminal.

        Raises
        ------
        HpuError
            When ``path`` cannot be made.
        """
        numbers = (signal.SIGINT, signal.SIGTERM)
        with _linked(path, self.port):
            before = [signal.signal(number, lambda *_: self.stop()) for number in numbers]
            try:
                self.serve()
            finally:
                for number, handler in zip(numbers, before, strict=True):
                    signal.signal(number, handler)

    def stop(self) -> None:
        """Let :meth:`serve` return soon."""
        self._stopped = True

    def close(self) -> None:
        """Take the terminal away, as a pulled cable does, and free the board."""
        os.close(self._host)
        os.close(self._terminal)
        self._board.close()


@contextlib.contextmanager
def _linked(path: Path | None, target: str) -> Iterator[None]:
    """A symbolic link for as long as the context lasts; an older one is replaced."""
    if path is None:
        yield
        return
    try:
        if path.is_symlink():
            path.unlink()
        path.symlink_to(target)
    except OSError as error:
        raise HpuError(f"{path} cannot be made: {error.strerror}.") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def open_board(
    board: Board,
    *,
    baud: int | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> BoardSimulation:
    """The simulation of ``board``, built when it is not in the cache.

    Without ``baud`` a bit of the link lasts four cycles, the fewest that it can.

    Raises
    ------
    HpuError
        When the line rate is too high or the simulation cannot be built.
    """
    clock = board.config.clock_hz
    rate = baud or clock // 4
    if 4 * rate > clock:
        raise HpuError(f"--baud must be at most a quarter of the clock ({clock // 4}), not {rate}.")
    quick = dataclasses.replace(board, baud=rate)
    description = f"{board.name} {rate} {board.config}"

    def top() -> BoardTop:
        return BoardTop(board=quick, chips=True)

    library = build(top, description, jobs=jobs, progress=progress)
    return BoardSimulation(library, cycles_per_bit=clock / rate)


@contextlib.contextmanager
def serving(board: BoardSimulation) -> Iterator[str]:
    """A server of ``board`` in a thread of its own; gives the port, and ends with the context."""
    server = BoardServer(board)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server.port
    finally:
        server.stop()
        thread.join()
        server.close()
