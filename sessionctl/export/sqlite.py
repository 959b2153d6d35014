"""SQLite: a file that the SDK's SQLiteSession opens, with the tables it would make itself.

Sessions of any store become those of a SQLiteSession: items in the order in which the SDK reads them, with
keys of their own, stamps in UTC to the second as the SDK writes them. What only other backends keep (branches,
usage, a time to live) is not in it. The file is made in the place for temporary files first.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from sessionctl.core.plan import Totals
from sessionctl.core.record import instant
from sessionctl.errors import UsageError
from sessionctl.export.base import Document, Exported

_COPY = 1 << 20
_TABLES = """
CREATE TABLE agent_sessions (
    session_id TEXT PRIMARY KEY,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE agent_messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL,
    message_data TEXT NOT NULL,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (session_id) REFERENCES agent_sessions (session_id) ON DELETE CASCADE
);
CREATE INDEX idx_agent_messages_session_id ON agent_messages (session_id, id);
"""


class SqliteDocument(Document):
    """One store; a session's id may be in it once."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._directory = tempfile.TemporaryDirectory(prefix="sessionctl-")
        self._path = Path(self._directory.name, "store.db")
        self._db: sqlite3.Connection | None = None

    def add(self, exported: Exported) -> Totals:
        db, session = self._opened(), exported.session
        session_id, stamps = _octets(session.id), session.stamps
        row = (session_id, _stamp(stamps.created, stamps.created_at), _stamp(stamps.updated, stamps.updated_at))
        try:
            db.execute("INSERT INTO agent_sessions VALUES (CAST(? AS TEXT), ?, ?)", row)
        except sqlite3.IntegrityError:
            raise UsageError(
                f"the session {session.id!r} is in several of these stores", hint="export one store at a time"
            ) from None
        counted = _Counted(exported, session_id)
        insert = (
            "INSERT INTO agent_messages (session_id, message_data, created_at) "
            "VALUES (CAST(? AS TEXT), CAST(? AS TEXT), ?)"
        )
        db.executemany(insert, counted.rows())
        return Totals(sessions=1, items=counted.items, bytes=counted.bytes)

    def fill(self, copy: Callable[[Path], None]) -> None:
        """Take what ``copy`` writes into a file for the whole document; then no session is added."""
        copy(self._path)

    def close(self) -> None:
        if not self._path.exists():
            self._opened()
        if self._db is not None:
            self._db.execute("COMMIT")
            self._db.close()
            self._db = None
        with self._path.open("rb") as made:
            shutil.copyfileobj(made, self.file, _COPY)

    def discard(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        self._directory.cleanup()

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = sqlite3.connect(self._path, isolation_level=None)
            # Nobody else knows the file, and after a crash nobody will miss it.
            self._db.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_TABLES} BEGIN")
        return self._db


class _Counted:
    """The rows of one session's items, counted as they go by."""

    def __init__(self, exported: Exported, session_id: bytes) -> None:
        self.items = self.bytes = 0
        self._exported, self._session_id = exported, session_id

    def rows(self) -> Iterator[tuple[Any, ...]]:
        for _, stored_at, at, text in self._exported.items:
            octets = _octets(text)
            self.items += 1
            self.bytes += len(octets)
            yield self._session_id, octets, _stamp(stored_at, at)


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _stamp(stored: str | None, at: str | None) -> str | None:
    """As the SDK writes stamps; a text that is no time stays as it is."""
    found = instant(stored, at)
    return stored if found is None else found.strftime("%Y-%m-%d %H:%M:%S")
