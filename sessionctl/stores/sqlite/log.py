"""Moving a write-ahead log into its file with no lock held that a writer needs.

A log begins anew only when all of it lies in the file at the moment of a commit (https://sqlite.org/wal.html,
"Checkpointing"). Alone, passes keep up in a thread while the next changes are made, until the log is long; then a
last one finds nothing new. Beside others a pass comes between two changes: what nobody has moved is moved at the
end of the others' next commit, who would wait for it, and longer while we write.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_LONG = 44 * 1024 * 1024
"""Octets of log at which it is brought to its end."""
_WORTH_A_PASS = 1024 * 1024
"""Octets, alone: each pass waits for the disk, but what none has moved yet is left to be waited for at the end."""
_A_ROW = 2500.0
"""Octets that a changed row adds to the log, until it is known."""
_SMOOTHING = 0.5
_LEAST_ROWS = 200
_FRAME_HEADER = 24
_SALT = slice(16, 24)
"""Of a log's header."""
_A_LITTLE = 4 * 1024 * 1024
_TRIES = 6
_A_COMMIT_S = 0.003
_PATIENCE_MS = 10
"""How long the last means may wait for a commit or a reader: no longer than a batch holds the lock."""


class _Pass(NamedTuple):
    """What one checkpoint found.

    ``length``: octets of the log when it began; None where it was not looked at: another checkpoint is under way
    (writers end their commits with one), or an error. ``everything``: all of them lie in the file. ``rows`` were
    changed by us before it, and ``salt`` is the log's own, which is another one when it begins anew.
    """

    length: int | None
    everything: bool
    rows: int
    salt: bytes


class LogMover:
    """One thread with one connection, both made on first need.

    How long the log is now is only known when a pass begins; until the next, it is reckoned from the rows
    that were changed.
    """

    def __init__(self, log: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._log = log
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._frame_size = 0
        self._pool: ThreadPoolExecutor | None = None
        self._pass: Future[_Pass] | None = None
        self._limit, self._a_row = float(_LONG), _A_ROW
        self._rows = 0
        self._known = _Pass(0, everything=True, rows=0, salt=b"")
        self._begins_at = 0  # octets of log at that time, none where it is about to begin anew

    def committed(self, rows: int, *, alone: bool) -> None:
        """After each commit that changed so many rows, its lock given back. Where it changed none, nothing is moved."""
        if not rows:
            return
        self._rows += rows
        if self._length >= self._limit:
            self._bring_to_its_end()
        elif not alone:
            self._wait()
            self._start("PASSIVE")
            self._wait()
        elif self._unmoved >= _WORTH_A_PASS and (self._pass is None or self._pass.done()):
            self._wait()
            self._start("PASSIVE")

    def close(self) -> None:
        """Move what is left, as far as others let it, and end the thread. Idempotent."""
        if self._pool is not None:
            self._start("PASSIVE")
            self._pool.shutdown(wait=True)
        if self._connection is not None:
            self._connection.close()
        self._pool = self._pass = self._connection = None

    @property
    def _unmoved(self) -> float:
        """Octets that no pass has seen yet."""
        return (self._rows - self._known.rows) * self._a_row

    @property
    def _length(self) -> float:
        return self._begins_at + self._unmoved

    def _bring_to_its_end(self) -> None:
        """Passes until one finds nothing new; where others write all the time, one that keeps them from it.

        A pass moves what was there when it began. Where somebody's lock keeps the log from its end, this is
        tried again when it has grown by a little.
        """
        self._wait()
        for mode in (*("PASSIVE",) * _TRIES, "FULL"):
            before = self._length
            self._start(mode)
            if self._wait() and (mode == "FULL" or self._length == before):
                self._limit, self._begins_at = _LONG, 0
                return
            time.sleep(_A_COMMIT_S)
        self._limit = self._length + _A_LITTLE

    def _start(self, mode: str) -> None:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # not for every start

            self._pool = ThreadPoolExecutor(1, "sqlite-log")
        self._pass = self._pool.submit(self._move, mode)

    def _wait(self) -> bool:
        """Learn from the pass under way, if there is one; did it do all that it was asked to?"""
        if self._pass is None:
            return False
        found, self._pass = self._pass.result(), None
        if found.length is None:
            return False
        rows = found.rows - self._known.rows
        grown = found.length - ((self._known.length or 0) if found.salt == self._known.salt else 0)
        if grown > 0 and rows >= _LEAST_ROWS:
            self._a_row += _SMOOTHING * (grown / rows - self._a_row)
        self._known, self._begins_at = found, found.length
        return found.everything

    def _move(self, mode: str) -> _Pass:
        """One checkpoint. The changes are committed: that the log stays longer must not look as if they were not."""
        rows = self._rows
        try:
            if self._connection is None:
                connection = self._connect()
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
                self._frame_size = connection.execute("PRAGMA page_size").fetchone()[0] + _FRAME_HEADER
                self._connection = connection
            salt = self._salt()
            busy, pages, moved = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except (sqlite3.Error, OSError):
            return _Pass(None, everything=False, rows=rows, salt=b"")
        length = None if pages < 0 else pages * self._frame_size
        return _Pass(length, everything=not busy and pages == moved, rows=rows, salt=salt)

    def _salt(self) -> bytes:
        """Changed whenever a log begins anew (https://sqlite.org/fileformat2.html, "WAL File Format")."""
        with self._log.open("rb") as log:  # no lock is ever taken on this file, so that closing it drops none
            return log.read(_SALT.stop)[_SALT]
