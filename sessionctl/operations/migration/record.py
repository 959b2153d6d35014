"""What a migration has put so far, kept in the state directory: what makes it resumable, and what it may replace.

Each portion is written down before it is put and settled after its commit, so that what a crash leaves in the target
is known to be the migration's own, whichever of the two it came between. Without any of it only what the migration
may replace is not known any more: all else is found out by looking at both stores.
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

_SETTINGS = """
PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = 16000;
"""
"""Its log is moved into the file once in 64 MB: that waits for a disk which the target may keep busy."""
_LAYOUT = """
CREATE TABLE IF NOT EXISTS copied (
    id BLOB PRIMARY KEY, source TEXT NOT NULL, version TEXT NOT NULL, items INTEGER NOT NULL, bytes INTEGER NOT NULL,
    updated TEXT, portion INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS begun (portion INTEGER PRIMARY KEY AUTOINCREMENT);
CREATE TABLE IF NOT EXISTS bare (is_so INTEGER PRIMARY KEY);
"""
_ENTRIES = """
SELECT id, source, iif(portion IN (SELECT portion FROM begun), '', version), items, bytes, updated FROM copied
"""
_PORTION = f"{_ENTRIES} WHERE id > ? OR ? IS NULL ORDER BY id LIMIT 1000"
_TO_THE_SECOND = timedelta(seconds=1)
"""Stores keep stamps to the second, and round them as they like."""


class Entry(NamedTuple):
    """One session as it was put: its id in the target, the recorded address of its source, and its version there.

    ``items``, ``bytes`` and ``updated`` are those put, by which it is known again; the version is empty, as no
    session's is, until it is known to be in place.
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
            self._db.executescript(f"{_SETTINGS} {_LAYOUT}")

    def find(self, ids: Iterable[str]) -> dict[str, Entry]:
        """The entries of these ids, as far as there are any."""
        with self._disk():
            if self._is_empty():
                return {}
            found = (self._db.execute(f"{_ENTRIES} WHERE id = ?", (_key(each),)).fetchone() for each in ids)
            return {entry.id: entry for entry in map(_entry, filter(None, found))}

    @property
    def is_empty(self) -> bool:
        with self._disk():
            return self._is_empty()

    def _is_empty(self) -> bool:
        return self._db.execute("SELECT 1 FROM copied LIMIT 1").fetchone() is None

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

    def begin(self, entries: Iterable[Entry]) -> int:
        """They are about to be put, as a portion of the number returned."""
        with self._changing():
            portion = self._db.execute("INSERT INTO begun DEFAULT VALUES").lastrowid or 0
            self._write(entries, portion)
        return portion

    def settle(self, portion: int, *, but: Iterable[str] = (), more: Iterable[Entry] = ()) -> None:
        """All of the portion are in place ``but`` some, and so are some ``more``."""
        with self._changing():
            self._delete(but)
            self._write(more, portion)
            self._db.execute("DELETE FROM begun WHERE portion = ?", (portion,))

    def forget(self, ids: Iterable[str]) -> None:
        with self._changing():
            self._delete(ids)

    def _write(self, entries: Iterable[Entry], portion: int) -> None:
        rows = (
            (_key(e.id), e.source, e.version, e.items, e.bytes, e.updated.isoformat() if e.updated else None, portion)
            for e in entries
        )
        self._db.executemany("INSERT OR REPLACE INTO copied VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def _delete(self, ids: Iterable[str]) -> None:
        self._db.executemany("DELETE FROM copied WHERE id = ?", [(_key(each),) for each in ids])

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._disk():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.rollback()
                raise
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
