"""The ledger in a local SQLite file.

It is opened and written before a run's first change, so that no change goes unrecorded. Each call is one
short transaction over a connection of its own, so runs side by side only ever wait for each other's
commits, and a process killed at any instant leaves its run readable and unfinished. Nothing here is a
secret: stores come in as masked addresses, errors as the sentences shown to the user.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from sessionctl.core.report import Stopped
from sessionctl.core.units import format_time
from sessionctl.errors import LedgerUnavailable
from sessionctl.ledger.record import Run, Segment

T = TypeVar("T")

FILE_NAME = "ledger.db"
_APPLICATION_ID = 0x53435444
"""``PRAGMA application_id`` (the letters SCTD), by which the file is told from any other SQLite file."""
_SCHEMA_VERSION = 2
_BUSY_SECONDS = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY,
    command TEXT NOT NULL,
    store TEXT NOT NULL,
    actor TEXT NOT NULL,
    user TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    reason TEXT,
    criteria TEXT NOT NULL,
    digest TEXT,
    started_at TEXT NOT NULL,
    heartbeat_at TEXT NOT NULL,
    ended_at TEXT,
    stopped TEXT,
    counts TEXT NOT NULL,
    error TEXT
) WITHOUT ROWID
"""
_ADDED = (
    (
        "ALTER TABLE runs ADD COLUMN archive TEXT",
        """
        CREATE TABLE segments (
            run_id TEXT NOT NULL,
            number INTEGER NOT NULL,
            name TEXT NOT NULL,
            sessions INTEGER NOT NULL,
            items INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            sha256 TEXT NOT NULL,
            sealed_at TEXT NOT NULL,
            committed_at TEXT,
            kept TEXT NOT NULL,
            returned TEXT NOT NULL,
            PRIMARY KEY (run_id, number)
        ) WITHOUT ROWID
        """,
    ),
)
"""What each layout adds to the one before it, from the second on."""


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


class Ledger:
    """The ledger at a path. Holds no connection between calls; safe from several threads and processes.

    Every method raises LedgerUnavailable, with a sentence, where the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path) -> Self:
        """The ledger in the file ``path``, made where it is missing (0600, its directory 0700).

        It has been written to once when this returns: a full disk or a missing permission shows before
        the first change, not after it.
        """
        private_directory(path.parent)
        _make_private_file(path)
        ledger = cls(path)
        with ledger._connection() as db:
            ledger._version(db)  # nothing is done to a file that is not a ledger
            _use_wal(db)
        ledger._write(ledger._prepare)
        return ledger

    @classmethod
    def existing(cls, path: Path) -> Self | None:
        """The ledger in ``path`` for reading, None where this user sees none. Makes nothing."""
        return cls(path) if os.path.exists(path) else None  # noqa: PTH110 - Path.exists raises where it may not look

    def begin(self, run: Run) -> None:
        """Record that ``run`` starts; on disk when this returns."""
        row = _to_row(replace(run, heartbeat_at=run.heartbeat_at or run.started_at))
        columns = ", ".join(row)
        marks = ", ".join("?" * len(row))
        self._write(lambda db: db.execute(f"INSERT INTO runs ({columns}) VALUES ({marks})", tuple(row.values())))

    def progress(self, run_id: str, counts: Mapping[str, Any]) -> None:
        """The counts so far, and a sign of life."""
        self._update(run_id, "counts = ?, heartbeat_at = ?", json.dumps(counts), format_time(datetime.now(UTC)))

    def finish(self, run_id: str, counts: Mapping[str, Any], stopped: Stopped | str, error: str | None = None) -> None:
        """The run's last counts and why it ended; ``error`` is the sentence shown to the user."""
        now = format_time(datetime.now(UTC))
        self._update(
            run_id,
            "counts = ?, heartbeat_at = ?, ended_at = ?, stopped = ?, error = ?",
            json.dumps(counts),
            now,
            now,
            Stopped(stopped).value,
            None if error is None else _clean(error),
        )

    def run(self, run_id: str) -> Run | None:
        """The run of this id, None where there is none."""
        found = self._read("WHERE run_id = ?", (run_id,))
        return found[0] if found else None

    def runs(self, *, limit: int | None = None, store: str | None = None) -> tuple[Run, ...]:
        """Runs, newest first; ``store`` is the masked address they were on."""
        where, values = ("WHERE store = ?", [_clean(store)]) if store is not None else ("", [])
        return self._read(f"{where} ORDER BY run_id DESC LIMIT ?", (*values, -1 if limit is None else limit))

    def sealed(self, segment: Segment) -> None:
        """Record a segment that was sealed and verified; on disk when this returns."""
        row = {field.name: getattr(segment, field.name) for field in fields(Segment)}
        row |= {"sealed_at": format_time(segment.sealed_at), "committed_at": None}
        row |= {"kept": json.dumps(segment.kept), "returned": json.dumps(segment.returned)}
        marks = ", ".join("?" * len(row))
        self._write(
            lambda db: db.execute(f"INSERT INTO segments ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
        )

    def committed(self, run_id: str, number: int, kept: Sequence[str], *, wholly: bool = True) -> None:
        """All that the run does to the sessions of this segment is done; ``kept`` were not removed.

        Not ``wholly``: what became of some others is not known yet.
        """
        values = (format_time(datetime.now(UTC)) if wholly else None, json.dumps(kept), run_id, number)
        change = "UPDATE segments SET committed_at = ?, kept = ? WHERE run_id = ? AND number = ?"
        self._write(lambda db: db.execute(change, values))

    def returned(self, run_id: str, number: int, ids: Sequence[str]) -> None:
        """These sessions of this segment were put back, by all undoings together."""
        change = "UPDATE segments SET returned = ? WHERE run_id = ? AND number = ?"
        self._write(lambda db: db.execute(change, (json.dumps(ids), run_id, number)))

    def segments(self, run_id: str) -> tuple[Segment, ...]:
        """The segments of a run, in order."""
        columns = ", ".join(field.name for field in fields(Segment))
        with self._connection() as db:
            if self._version(db) < 2:
                return ()
            rows = db.execute(f"SELECT {columns} FROM segments WHERE run_id = ? ORDER BY number", (run_id,))
            return tuple(_segment(row) for row in rows)

    def unsettled(self, store: str) -> tuple[Run, ...]:
        """Runs on the store of this masked address with a segment that was sealed and not wholly dealt with."""
        with self._connection() as db:
            if self._version(db) < 2:
                return ()
        open_ones = "SELECT run_id FROM segments WHERE committed_at IS NULL"
        return self._read(f"WHERE store = ? AND run_id IN ({open_ones}) ORDER BY run_id", (_clean(store),))

    def _update(self, run_id: str, assignments: str, *values: str | None) -> None:
        def update(db: sqlite3.Connection) -> None:
            if db.execute(f"UPDATE runs SET {assignments} WHERE run_id = ?", (*values, run_id)).rowcount != 1:
                raise _unavailable(self.path, f"it has no run {run_id}")

        self._write(update)

    def _read(self, clause: str, values: tuple[Any, ...]) -> tuple[Run, ...]:
        with self._connection() as db:
            version = self._version(db)
            if version == 0:  # its maker has not come further yet
                return ()
            names = (column.name for column in fields(Run))
            columns = ", ".join("NULL" if name == "archive" and version == 1 else name for name in names)
            return tuple(_from_row(row) for row in db.execute(f"SELECT {columns} FROM runs {clause}", values))

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._connection() as db:
            # Immediate: a transaction that read first could not wait for another writer's lock.
            db.execute("BEGIN IMMEDIATE")
            done = work(db)
            db.execute("COMMIT")
            return done

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

    def _prepare(self, db: sqlite3.Connection) -> None:
        version = self._version(db)
        if version == 0:
            db.execute(_SCHEMA)
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        for statements in _ADDED[max(version, 1) - 1 :]:
            for statement in statements:
                db.execute(statement)
        # Written even when nothing is new: that is what proves that writing works.
        db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def _version(self, db: sqlite3.Connection) -> int:
        """The file's layout, 0 for an empty file; LedgerUnavailable where this release does not know it."""
        alone = not db.in_transaction
        if alone:
            db.execute("BEGIN")  # one snapshot: its maker may be between two of these looks
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        ours = db.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION_ID
        empty = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        if alone:
            db.execute("COMMIT")
        if ours and version > _SCHEMA_VERSION:
            raise _unavailable(self.path, f"it is of a newer sessionctl (layout {version})", hint="update sessionctl")
        if not ours and (version or not empty):
            raise _unavailable(self.path, "it is a SQLite file of something else")
        return version


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


def _unavailable(path: Path, why: str, *, hint: str | None = None) -> LedgerUnavailable:
    return LedgerUnavailable(
        f"the ledger of runs cannot be used: {why}: {path}",
        hint=hint or "set SESSIONCTL_STATE_DIR to a directory that can be written",
    )


def _clean(text: str) -> str:
    """SQLite text is UTF-8: bytes of ids and paths that are not are spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _to_row(run: Run) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for column in fields(Run):
        value = getattr(run, column.name)
        if isinstance(value, datetime):
            value = format_time(value)
        elif isinstance(value, tuple | Mapping):
            value = json.dumps(value)
        elif isinstance(value, str):
            value = _clean(value)
        row[column.name] = value
    return row


def _from_row(row: tuple[Any, ...]) -> Run:
    values = dict(zip((column.name for column in fields(Run)), row, strict=True))
    for name in ("started_at", "heartbeat_at", "ended_at"):
        values[name] = None if values[name] is None else datetime.fromisoformat(values[name])
    values["criteria"] = tuple(json.loads(values["criteria"]))
    values["counts"] = json.loads(values["counts"])
    values["stopped"] = None if values["stopped"] is None else Stopped(values["stopped"])
    return Run(**values)


def _segment(row: tuple[Any, ...]) -> Segment:
    values = dict(zip((column.name for column in fields(Segment)), row, strict=True))
    for name in ("sealed_at", "committed_at"):
        values[name] = None if values[name] is None else datetime.fromisoformat(values[name])
    return Segment(**values | {name: tuple(json.loads(values[name])) for name in ("kept", "returned")})
