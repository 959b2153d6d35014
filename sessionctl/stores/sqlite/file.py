"""A SQLite file opened so that reading it leaves no trace, and opened again to change it.

How a file may be read without writing (https://sqlite.org/wal.html, "Read-Only Databases"):

* Beside a ``-wal`` file, ``mode=ro`` reads the log too and needs no permission to write.
* A WAL-mode file that was closed cleanly has no ``-wal``. ``mode=ro`` would make ``-wal`` and ``-shm``,
  owned by the reader, and the application's next write would fail. So it is read ``immutable``: no lock,
  no side file. Should a writer come meanwhile, the file may change under the reader; every block of
  rows is therefore handed on only while the file is still the one that was opened.
* A rollback-journal file is read ``mode=ro``: a shared lock, no side file.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import islice
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sessionctl.core.model import Spent
from sessionctl.errors import StoreBusy, StoreDamaged, StoreNotUnderstood, StoreUnavailable
from sessionctl.stores.sqlite.errors import BUSY_TIMEOUT_S, sentences
from sessionctl.stores.sqlite.log import LogMover
from sessionctl.stores.sqlite.mark import LONGEST, mark_in
from sessionctl.stores.sqlite.peek import connect, peek

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_TURN_MS = 200
_BLOCK = 1000
_LITTLE = 1 << 20
"""Characters of texts in one block, about."""
_CACHE_KIB = 8 * 1024
_READERS = min(4, os.cpu_count() or 1)
_HEADER = b"SQLite format 3\0"
_WAL_VERSION = 2
Params = Sequence[Any] | Mapping[str, Any]


_decode = methodcaller("decode", "utf-8", "surrogateescape")  # it runs for every text that is read


class _FileChangedError(Exception):
    """An immutable file was written while it was being read."""


class SqliteFile:
    """One file; reading connections are made as the file's state demands, the writing one on first need."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._real = Path(os.path.realpath(path))  # side files lie beside what a symbolic link leads to
        self._opened: list[sqlite3.Connection] = []
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._stamp: tuple[int, int] | None = None
        self._log = LogMover(Path(f"{self._real}-wal"), lambda: self.connect("mode=rw"))
        self.others_seen = False
        self._data_version: int | None = None
        self._pools: list[ThreadPoolExecutor] = []
        self._closed = False
        self._idle: dict[tuple[int, int] | None, list[sqlite3.Connection]] = {}  # by stamp, if immutable
        self._lock = threading.Lock()
        with self.errors():
            self._check_header()

    def rows(self, sql: str, params: Params = (), *, text: int | None = None) -> Iterator[tuple[Any, ...]]:
        """Stream the rows of a SELECT. Several streams may be open at once. ``text``: where they have that of an item.

        An immutable file that turns out to be in use is opened again in the way that fits, as long as no
        row was handed on; after that StoreBusy asks to run the command again.
        """
        with self.errors():
            while True:
                started = False
                try:
                    for block in self._blocks(sql, params, text):
                        started = True
                        yield from block
                except _FileChangedError:
                    if started:
                        raise StoreBusy(
                            f"{self.path} was written by its application while it was being read",
                            hint="run the command again: it then reads beside the writer",
                        ) from None
                else:
                    return

    def rows_by_range(self, sql: str, columns: int, ranges: Iterable[Params]) -> Iterator[Sequence[Any]]:
        """The rows of one SELECT of so many ``columns`` for each of ``ranges`` in turn, read ahead in threads.

        A range comes as one JSON array: SQLite then works on it outside Python's lock from end to end, where
        a row at a time would take and give that lock for each. Each range
        is a snapshot of its own; StoreBusy where the file was rebuilt meanwhile (VACUUM renumbers rows).
        """
        from concurrent.futures import Future, ThreadPoolExecutor  # not for every start

        with self.errors(), ThreadPoolExecutor(_READERS, "sqlite-reader") as pool:
            schema = self.row("PRAGMA schema_version")
            packed = _packed(sql, columns)
            self._pools.append(pool)
            ahead: deque[Future[list[tuple[Any, ...]]]] = deque()
            try:
                for params in ranges:
                    ahead.append(pool.submit(self._whole, packed, params))
                    if len(ahead) > 2 * _READERS:
                        yield from json.loads(ahead.popleft().result()[0][0])
                while ahead:
                    yield from json.loads(ahead.popleft().result()[0][0])
            finally:
                for waiting in ahead:
                    waiting.cancel()
                with suppress(ValueError):  # the store was closed before this pass was
                    self._pools.remove(pool)
        if self.row("PRAGMA schema_version") != schema:
            raise StoreBusy(f"{self.path} was rebuilt while it was being read", hint="run the command again")

    def row(self, sql: str, params: Params = ()) -> tuple[Any, ...]:
        """The only row of a SELECT that yields one."""
        found = list(self.rows(sql, params))
        return found[0]

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one instant of the file, for reading. StoreBusy where it could not be kept so.

        Cursors of it are to be closed or read to their ends before it is left: it is used again.
        """
        with self.errors():
            immutable = self._wal_mode and self._wal_size() is None
            before = self._file_stamp()
            with self._lock:
                idle = self._idle.setdefault(before if immutable else None, [])
                connection = idle.pop() if idle else self._open("immutable=1" if immutable else "mode=ro")
            try:
                connection.execute("BEGIN")
                yield connection
                if connection in self._opened:  # else the store was closed before this was
                    connection.execute("COMMIT")
            except BaseException:
                self._drop(connection)
                raise
            if immutable and before != self._file_stamp():
                self._drop(connection)
                raise StoreBusy(
                    f"{self.path} was written by its application while it was being read",
                    hint="run the command again: it then reads beside the writer",
                )
            with self._lock:
                if connection in self._opened:
                    idle.append(connection)

    def _drop(self, connection: sqlite3.Connection) -> None:
        with suppress(ValueError):  # the store was closed before this was
            self._opened.remove(connection)
        connection.close()

    @contextmanager
    def transaction(self, spent: Spent, rows: Callable[[], int] | None = None) -> Iterator[sqlite3.Connection]:
        """A write transaction that holds the write lock from its start; rolled back on any error.

        ``rows``: how many were changed by then, where SQLite does not count them.
        """
        with self.errors():
            connection = self._writing()
            started = time.monotonic()
            _begin_immediate(connection)
            locked = time.monotonic()
            spent.wait += locked - started
            spent.met += self._others_are_there(connection)
            changes = connection.total_changes
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            committing = time.monotonic()
            connection.execute("COMMIT")
            committed = time.monotonic()
            spent.delete += committed - committing
            if self._wal_mode:
                changed = rows() if rows else connection.total_changes - changes
                self._log.committed(changed, alone=not self.others_seen)
            spent.tidy += time.monotonic() - committed

    def _others_are_there(self, connection: sqlite3.Connection) -> bool:
        """Had others the file open when it was opened for changes, or have they written since? They stay then.

        Those who wait for the lock cannot be seen, only that they got it (SQLite: PRAGMA data_version).
        """
        before, self._data_version = self._data_version, connection.execute("PRAGMA data_version").fetchone()[0]
        self.others_seen |= before is not None and before != self._data_version
        return self.others_seen

    @property
    def has_log(self) -> bool:
        """Do changes go through a write-ahead log, rather than a rollback journal?"""
        return self._wal_mode

    def sizes(self) -> tuple[int, int]:
        """Octets of the file and of its log."""
        with self.errors():
            return self.path.stat().st_size, self._wal_size() or 0

    def close(self) -> None:
        self._closed = True
        self.let_go()

    def let_go(self) -> None:
        """Close every connection; the next use opens them again."""
        # A connection that is closed under a thread at work in it takes the process along.
        for connection in self._opened if self._pools else ():
            if connection is not self._writer:  # it moves its log into the file as it closes
                connection.interrupt()
        for pool in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)
        self._pools.clear()
        self._log.close()
        # The writer last: who only reads cannot move the log into the file and remove it.
        for connection in sorted(self._opened, key=lambda opened: opened is self._writer):
            connection.close()
        self._opened.clear()
        self._idle.clear()
        self._reader = self._writer = None

    def errors(self) -> AbstractContextManager[None]:
        """Turn what SQLite and the system say into sentences."""
        return sentences(self.path)

    def _check_header(self) -> None:
        if self.path.is_dir():
            raise StoreUnavailable(f"{self.path} is a directory")
        header = peek(self.path, LONGEST)
        if not header:
            raise StoreNotUnderstood(f"{self.path} is an empty file, not a session store")
        if mark := mark_in(header):
            raise StoreDamaged(
                f"{self.path} was being written anew when that was cut off; all of it is in {mark.copy}",
                hint=f"sessionctl vacuum --full --via {mark.copy.parent} -s {self.path} goes on from there",
            )
        if not header.startswith(_HEADER):
            raise StoreNotUnderstood(f"{self.path} is not a SQLite database")
        self._wal_mode = header[18] == _WAL_VERSION

    def _wal_size(self) -> int | None:
        try:
            return Path(f"{self._real}-wal").stat().st_size
        except FileNotFoundError:
            return None

    def _blocks(self, sql: str, params: Params, text: int | None) -> Iterator[list[tuple[Any, ...]]]:
        connection = self._reading()
        stamp = self._stamp
        cursor = connection.cursor()
        try:
            began = False
            while True:
                try:
                    if not began:  # this reads already, a sort even everything
                        cursor.execute(sql, params)
                        began = True
                    block = cursor.fetchmany(_BLOCK) if text is None else _little(cursor, text)
                except sqlite3.DatabaseError:
                    if stamp is not None and stamp != self._file_stamp():
                        raise _FileChangedError from None
                    raise
                if stamp is not None and stamp != self._file_stamp():
                    self._reader = None
                    raise _FileChangedError
                if not block:
                    return
                yield block
        finally:
            with suppress(sqlite3.ProgrammingError):  # the store was closed before this stream was
                cursor.close()

    def _whole(self, sql: str, params: Params) -> list[tuple[Any, ...]]:
        """All rows at once, on a connection that no other thread uses meanwhile."""
        while True:
            with self._lock:
                if self._closed:
                    raise sqlite3.ProgrammingError("the store is closed")
                immutable = self._wal_mode and self._wal_size() is None
                before = self._file_stamp()
                idle = self._idle.setdefault(before if immutable else None, [])
                connection = idle.pop() if idle else self._open("immutable=1" if immutable else "mode=ro")
            try:
                found = connection.execute(sql, params).fetchall()
            except sqlite3.DatabaseError:
                if not immutable or before == self._file_stamp():
                    raise
                continue
            if not immutable or before == self._file_stamp():
                with self._lock:
                    idle.append(connection)
                return found

    def _reading(self) -> sqlite3.Connection:
        """The reading connection for the file's present state."""
        immutable = self._wal_mode and self._wal_size() is None
        as_opened = immutable == (self._stamp is not None) and (not immutable or self._stamp == self._file_stamp())
        if self._reader is not None and as_opened:
            return self._reader
        if not self._opened:
            self._check_header()
        self._stamp = self._file_stamp() if immutable else None
        self._reader = self._open("immutable=1" if immutable else "mode=ro")
        return self._reader

    def _refuse_to_make_an_index(self) -> None:
        """A log without its index (restored so from a backup) makes every reader write one.

        SQLite gives it the file's owner where it may; anybody else's would shut the application out.
        """
        if not self._wal_mode or self._wal_size() is None or Path(f"{self._real}-shm").exists():
            return
        if os.geteuid() not in (0, self._real.stat().st_uid) and os.access(self._real.parent, os.W_OK):
            raise StoreUnavailable(
                f"{self.path} has a log without an index, which only its owner can make",
                hint="open it once with its application, or run this as its owner",
            )

    def _file_stamp(self) -> tuple[int, int]:
        stat = self.path.stat()
        return stat.st_size, stat.st_mtime_ns

    def _writing(self) -> sqlite3.Connection:
        if self._writer is None:
            # Whoever closes a file last takes its log away: where none stands, nobody else has it open.
            self.others_seen = not self._wal_mode or self._wal_size() is not None
            self._writer = self._open("mode=rw")
            # A commit in a WAL needs no sync to be whole after a power cut, only to be there; the checkpoint syncs.
            self._writer.execute(f"PRAGMA synchronous = {'NORMAL' if self._wal_mode else 'FULL'}")
            self._writer.execute("PRAGMA wal_autocheckpoint = 0")  # ours comes when the lock is given back
            self._writer.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._reader = None  # from here on the log is there, and reads must see it
        return self._writer

    def _open(self, how: str) -> sqlite3.Connection:
        if how == "mode=ro":
            self._refuse_to_make_an_index()
        connection = self.connect(how)
        self._opened.append(connection)
        return connection

    def connect(self, how: str) -> sqlite3.Connection:
        """A connection that is the caller's to close, before this file is closed."""
        uri = f"file:{quote(str(self.path.absolute()))}?{how}"
        connection = connect(self._real, uri, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        connection.text_factory = _decode
        return connection


def _begin_immediate(connection: sqlite3.Connection) -> None:
    """Wait for the write lock in short turns: Python's signal handlers only run between them."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    connection.execute(f"PRAGMA busy_timeout = {_TURN_MS}")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            else:
                return
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000:.0f}")


def _packed(sql: str, columns: int) -> str:
    """The same SELECT with all its rows in one JSON array; a BLOB, which JSON has none of, as text."""
    names = [f"c{number}" for number in range(columns)]
    values = ", ".join(f"iif(typeof({name}) = 'blob', CAST({name} AS TEXT), {name})" for name in names)
    return f"WITH found({', '.join(names)}) AS ({sql}) SELECT json_group_array(json_array({values})) FROM found"


def _little(cursor: sqlite3.Cursor, text: int) -> list[tuple[Any, ...]]:
    """The next rows, as many as are a block."""
    block, size = [], 0
    for row in islice(cursor, _BLOCK):
        block.append(row)
        size += len(row[text]) if isinstance(row[text], str | bytes) else 0
        if size >= _LITTLE:
            break
    return block
