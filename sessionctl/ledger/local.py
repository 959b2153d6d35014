"""A ledger in a local SQLite file.

Runs side by side only ever wait for each other's commits, and a process killed at any instant leaves its run
readable and unfinished.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sessionctl.errors import LedgerUnavailable
from sessionctl.ledger.database import LAYOUT, TABLES, Database, Transaction, unavailable

_APPLICATION_ID = 0x53435444
"""``PRAGMA application_id`` (the letters SCTD), by which the file is told from any other SQLite file."""
_BUSY_SECONDS = 10.0
_ADDED = {2: ("archive",), 3: ("pid_space", "undoes")}
"""Columns that a layout has in ``runs`` and the one before it had not."""


def private_directory(path: Path) -> Path:
    """Make the directory ``path`` with its parents, readable by its owner alone; an existing one is left as it is.

    Raises LedgerUnavailable where it cannot be made.
    """
    try:
        missing = [parent for parent in (path, *path.parents) if not parent.exists()]
        for directory in reversed(missing):
            directory.mkdir(mode=0o700, exist_ok=True)
        if not path.is_dir():
            raise NotADirectoryError(20, "not a directory")
    except OSError as error:
        raise _unavailable(path, (error.strerror or str(error)).lower()) from error
    return path


class LocalDatabase(Database):
    """The file at ``path``, 0600 in a directory of 0700."""

    runs, segments = "runs", "segments"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)

    def make(self) -> None:
        private_directory(self.path.parent)
        _make_private_file(self.path)
        with self.reading() as db:
            self.layout(db)  # nothing is done to a file that is not a ledger
        with self._connection() as db:
            _use_wal(db)
        with self.writing() as db:
            self._prepare(db)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as db:
            db.execute("BEGIN")
            yield db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as db:
            # Immediate: a transaction that read first could not wait for another writer's lock.
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")

    def layout(self, db: Transaction) -> int:
        looks = ("PRAGMA user_version", "PRAGMA application_id", "SELECT count(*) FROM sqlite_schema")
        version, application, things = (db.execute(look, {}).fetchall()[0][0] for look in looks)
        if application != _APPLICATION_ID and (version or things):
            raise _unavailable(self.path, "it is a SQLite file of something else")
        self.refuse_newer(version)
        return int(version)

    def now(self, db: Transaction) -> datetime:  # noqa: ARG002
        return datetime.now(UTC)

    def _prepare(self, db: sqlite3.Connection) -> None:
        version = self.layout(db)
        names = {"runs": self.runs, "segments": self.segments}
        for statement in TABLES:
            db.execute(statement.format(**names, key="TEXT", text="TEXT", options=" WITHOUT ROWID"))
        if version:
            for column in (name for layout in range(version + 1, LAYOUT + 1) for name in _ADDED[layout]):
                db.execute(f"ALTER TABLE {self.runs} ADD COLUMN {column} TEXT")
        else:
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        # Written even when nothing is new: that is what proves that writing works.
        db.execute(f"PRAGMA user_version = {LAYOUT}")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            db = sqlite3.connect(self.path.absolute().as_uri() + "?mode=rw", uri=True, timeout=_BUSY_SECONDS)
        except sqlite3.Error as error:
            raise _unavailable(self.path, str(error)) from error
        try:
            db.isolation_level = None
            # FULL: "on disk" must survive a power cut, or a change could go unrecorded.
            db.execute("PRAGMA synchronous = FULL")
            yield db
        except (sqlite3.Error, ValueError) as error:
            raise _unavailable(self.path, _reason(error)) from error
        finally:
            db.close()


def _use_wal(db: sqlite3.Connection) -> None:
    """Readers then never wait for a writer. SQLite does not wait for others while it changes the mode, so this does."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _make_private_file(path: Path) -> None:
    # Only a file that is not there is opened here: closing a descriptor of a database drops the locks that
    # this process holds on it (POSIX), and SQLite gives its side files the mode of the main one.
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise _unavailable(path, (error.strerror or str(error)).lower()) from error


def _reason(error: Exception) -> str:
    """SQLite's own words, but for a full disk, which it calls an I/O error where the log's index finds no room."""
    full = getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
    return "its disk is full" if full else str(error)


def _unavailable(path: Path, why: str) -> LedgerUnavailable:
    return unavailable(f"{why}: {path}", hint="set SESSIONCTL_STATE_DIR to a directory that can be written")
