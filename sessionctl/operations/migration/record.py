"""What a migration has put so far, kept in the state directory: what makes it resumable, and what it may replace.

Written after each portion was committed. What a crash lost of it is found out by looking at both stores, so that
nothing hangs on its last entries; without any of it only what the migration may replace is not known any more.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Self

from sessionctl.core.model import SessionRef
from sessionctl.errors import SessionctlError

_LAYOUT = """
CREATE TABLE IF NOT EXISTS put (
    id BLOB PRIMARY KEY, source TEXT NOT NULL, version TEXT NOT NULL, items INTEGER NOT NULL, bytes INTEGER NOT NULL,
    updated TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bare (is_so INTEGER PRIMARY KEY);
"""
_PORTION = "SELECT * FROM put WHERE id > ? OR ? IS NULL ORDER BY id LIMIT 1000"
_TO_THE_SECOND = timedelta(seconds=1)
"""Stores keep stamps to the second, and round them as they like."""


class Entry(NamedTuple):
    """One session as it was put: its id in the target, the recorded address of its source, and its version there.

    ``items``, ``bytes`` and ``updated`` are those put, by which it is known again.
    """

    id: str
    source: str
    version: str
    items: int
    bytes: int
    updated: datetime | None

    def is_untouched(self, ref: SessionRef) -> bool:
        """Is the session in the target still what was put? An append moves its stamp, all else its size."""
        if (ref.items, ref.bytes) != (self.items, self.bytes):
            return False
        return self.updated is None or ref.updated_at is None or abs(ref.updated_at - self.updated) <= _TO_THE_SECOND


def record_of(directory: Path, source: str, target: str, prefix: str) -> Path:
    """Where the record of the migration between stores of these addresses lies."""
    told = f"{source}\n{target}\n{prefix}".encode("utf-8", "surrogateescape")
    return directory / f"migration-{hashlib.sha256(told).hexdigest()[:24]}.db"


class MigrationRecord:
    """The record in the file at ``path``, made where it is missing. Safe from several threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with self._disk():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; {_LAYOUT}")

    def find(self, ids: Iterable[str]) -> dict[str, Entry]:
        """The entries of these ids, as far as there are any."""
        with self._disk():
            if self._is_empty():
                return {}
            found = (self._db.execute("SELECT * FROM put WHERE id = ?", (_key(each),)).fetchone() for each in ids)
            return {entry.id: entry for entry in map(_entry, filter(None, found))}

    def _is_empty(self) -> bool:
        return self._db.execute("SELECT 1 FROM put LIMIT 1").fetchone() is None

    def entries(self) -> Iterator[Entry]:
        """All of them, a portion at a time."""
        last: bytes | None = None
        while True:
            with self._disk():
                some = self._db.execute(_PORTION, (last, last)).fetchall()
            if not some:
                return
            yield from map(_entry, some)
            last = some[-1][0]

    def note(self, entries: Iterable[Entry]) -> None:
        rows = [
            (_key(e.id), e.source, e.version, e.items, e.bytes, e.updated.isoformat() if e.updated else None)
            for e in entries
        ]
        with self._disk():
            self._db.execute("BEGIN")
            self._db.executemany("INSERT OR REPLACE INTO put VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._db.execute("COMMIT")

    def forget(self, ids: Iterable[str]) -> None:
        with self._disk():
            self._db.execute("BEGIN")
            self._db.executemany("DELETE FROM put WHERE id = ?", [(_key(each),) for each in ids])
            self._db.execute("COMMIT")

    @property
    def is_bare(self) -> bool:
        """Did this migration make the target's tables, and does it owe them the index?"""
        with self._disk():
            return self._db.execute("SELECT 1 FROM bare").fetchone() is not None

    def set_bare(self, is_bare: bool) -> None:
        with self._disk():
            self._db.execute("INSERT OR IGNORE INTO bare VALUES (1)" if is_bare else "DELETE FROM bare")

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except (sqlite3.Error, OSError) as error:
            raise SessionctlError(f"the record of the migration cannot be kept in {self.path}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()


def _key(session_id: str) -> bytes:
    return session_id.encode("utf-8", "surrogateescape")


def _entry(row: tuple[bytes, str, str, int, int, str | None]) -> Entry:
    session_id, source, version, items, size, updated = row
    return Entry(
        id=session_id.decode("utf-8", "surrogateescape"),
        source=source,
        version=version,
        items=items,
        bytes=size,
        updated=datetime.fromisoformat(updated) if updated else None,
    )
