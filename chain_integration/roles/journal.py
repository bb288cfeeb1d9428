"""What a role must still know after it was killed: SQLite, one transaction for each step.

Every order that a role takes part in is one row: its state, and a document of what the role knows.
A state only moves forward by :meth:`Journal.move`, which does nothing when the order is not in the
state that it starts from; so doing a step twice is doing it once.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec.msgpack import decode, encode

from hpu.runtime.errors import HpuError

__all__ = ["Entry", "Journal", "JournalError"]

Entry = dict[str, Any]
_SCHEMA = """
create table if not exists entries(
    kind text not null, id text not null, state text not null, data blob not null,
    changed integer not null, primary key (kind, id)) without rowid;
create index if not exists by_state on entries(kind, state);
create table if not exists blocks(number integer primary key, hash blob not null);
create table if not exists facts(name text primary key, value blob not null) without rowid;
"""
_VERSION = 1


class JournalError(HpuError):
    """A journal that cannot be opened or written."""


class Journal:
    """The journal of one role.

    Parameters
    ----------
    path:
        The file; ``":memory:"`` for none.

    Raises
    ------
    JournalError
        When the file cannot be opened, or is of another version.
    """

    def __init__(self, path: str | Path):
        self.path = path
        self._lock = threading.RLock()
        try:
            self._open()
        except sqlite3.Error as error:
            raise JournalError(f"the journal {path} cannot be opened: {error}.") from None

    def _open(self) -> None:
        # A role's steps and its server are two threads; the lock is theirs.
        self._database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self._database.execute("pragma journal_mode = wal")
        self._database.execute("pragma synchronous = full")
        (version,) = self._database.execute("pragma user_version").fetchone()
        if version not in (0, _VERSION):
            raise JournalError(f"the journal {self.path} is of version {version}, not {_VERSION}.")
        self._database.executescript(_SCHEMA)
        self._database.execute(f"pragma user_version = {_VERSION}")

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """All that is written inside is kept, or nothing of it; steps may be nested.

        Raises
        ------
        JournalError
            When the disk is full or fails; nothing is kept then.
        """
        with self._lock:
            if self._database.in_transaction:
                yield
            else:
                with self._transaction():
                    yield

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._database.execute("begin immediate")
            yield
            self._database.execute("commit")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("rollback")
            if isinstance(error, sqlite3.Error):
                raise JournalError(
                    f"the journal {self.path} cannot be written: {error}; free some room."
                ) from None
            raise

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def add(self, kind: str, name: str, state: str, data: Entry, *, now: int = 0) -> bool:
        """Note something new; False, and nothing is done, when it is known already."""
        with self.step():
            done = self._database.execute(
                "insert or ignore into entries values (?, ?, ?, ?, ?)",
                (kind, name, state, encode(data), now),
            )
        return done.rowcount == 1

    def get(self, kind: str, name: str) -> tuple[str, Entry] | None:
        """State and document of one entry."""
        rows = self._rows("select state, data from entries where kind = ? and id = ?", kind, name)
        return (rows[0][0], decode(rows[0][1])) if rows else None

    def move(
        self, kind: str, name: str, before: str, after: str, *, now: int = 0, **changes: Any
    ) -> bool:
        """From state ``before`` to ``after`` with ``changes``; False when not in ``before``."""
        with self.step():
            found = self.get(kind, name)
            if found is None or found[0] != before:
                return False
            self._database.execute(
                "update entries set state = ?, data = ?, changed = ? where kind = ? and id = ?",
                (after, encode(found[1] | changes), now, kind, name),
            )
        return True

    def note(self, kind: str, name: str, **changes: Any) -> None:
        """Change an entry's document and leave its state."""
        with self.step():
            found = self.get(kind, name)
            assert found is not None, f"{kind} {name} was never added"
            self._database.execute(
                "update entries set data = ? where kind = ? and id = ?",
                (encode(found[1] | changes), kind, name),
            )

    def entries(self, kind: str, *states: str) -> list[tuple[str, str, Entry]]:
        """Name, state and document of all entries in these states (in any, when none is given)."""
        marks = ",".join("?" * len(states))
        where = f" and state in ({marks})" if states else ""
        query = f"select id, state, data from entries where kind = ?{where} order by changed, id"
        rows = self._rows(query, kind, *states)
        return [(name, state, decode(data)) for name, state, data in rows]

    def counts(self, kind: str) -> dict[str, int]:
        """How many entries are in each state."""
        query = "select state, count(*) from entries where kind = ? group by state"
        return dict(self._rows(query, kind))

    def blocks(self, limit: int = -1) -> list[tuple[int, bytes]]:
        """Blocks whose events were taken in, the newest first, at most ``limit``."""
        return self._rows("select number, hash from blocks order by number desc limit ?", limit)

    def add_block(self, number: int, digest: bytes, *, keep: int) -> None:
        """Note that all events up to this block were taken in; older than ``keep`` are dropped."""
        with self.step():
            self._database.execute("insert or replace into blocks values (?, ?)", (number, digest))
            self._database.execute("delete from blocks where number < ?", (number - keep,))

    def drop_blocks(self, after: int) -> None:
        """Forget the blocks after ``after``, which the chain has replaced."""
        with self.step():
            self._database.execute("delete from blocks where number > ?", (after,))

    def fact(self, name: str) -> Any:
        """A single value, or None."""
        rows = self._rows("select value from facts where name = ?", name)
        return decode(rows[0][0]) if rows else None

    def set_fact(self, name: str, value: Any) -> None:
        """Keep a single value."""
        with self.step():
            self._database.execute(
                "insert or replace into facts values (?, ?)", (name, encode(value))
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()
