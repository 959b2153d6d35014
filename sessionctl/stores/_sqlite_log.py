"""Moving a write-ahead log into its file while the next changes are being made.

A log begins anew only when all of it lies in the file at the moment of a commit (https://sqlite.org/wal.html,
"Checkpointing"), which never comes about beside steady writers. So passes run in a thread, which holds no
lock that a writer needs, and keep up with the changes; once the log is long, one step with the
write lock held moves the little that is left.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_LONG = 36 * 1024 * 1024
"""Octets of log at which it is brought to its end."""
_PASS_AFTER, _PASS_AFTER_ALONE = 2 * 1024 * 1024, 12 * 1024 * 1024
"""Octets of log worth a pass. Each pass waits for the disk twice, and a longer one moves fewer pages twice; but
beside others none may be left to do for the pass that SQLite makes their commits end with."""
_LEAST_SAMPLE_S = 0.005
_WRITTEN_A_SECOND = 200e6
"""Octets that a second of changes adds to the log, until it is known."""
_SMOOTHING = 0.5
_FRAME_HEADER = 24


class LogMover:
    """One thread with one connection, both made on first need.

    How long the log is now is only known when a pass begins; until the next, it is reckoned from how long
    changes took.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._frame_size = 0
        self._pool: ThreadPoolExecutor | None = None
        self._pass: Future[tuple[int, int]] | None = None
        self._last_length = self._length = 0.0
        self._limit, self._a_second = float(_LONG), _WRITTEN_A_SECOND
        self._since_pass_s = self._before_pass_s = 0.0

    def committed(self, held_s: float, *, alone: bool) -> None:
        """After each commit, its lock given back; the changes took ``held_s``. Waits only where the log gets long."""
        self._since_pass_s += held_s
        unmoved = self._since_pass_s * self._a_second
        worth_it = unmoved >= (_PASS_AFTER_ALONE if alone else _PASS_AFTER)
        if self._length + unmoved >= self._limit:
            self._bring_to_its_end()
        elif worth_it and (self._pass is None or self._pass.done()):
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

    def _bring_to_its_end(self) -> None:
        """Two passes, so that next to nothing is left to be done while the second holds the write lock.

        Where readers of an older state keep the log from its end, it is left alone until it has grown by half.
        """
        for mode in ("PASSIVE", "FULL"):
            self._wait()
            self._start(mode)
        self._limit = _LONG if self._wait() else self._length + _LONG / 2

    def _start(self, mode: str) -> None:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # not for every start

            self._pool = ThreadPoolExecutor(1, "sqlite-log")
        self._last_length, self._length = self._length, self._length + self._since_pass_s * self._a_second
        self._before_pass_s, self._since_pass_s = self._since_pass_s, 0.0
        self._pass = self._pool.submit(self._move, mode)

    def _wait(self) -> bool:
        """Learn from the pass under way, if there is one; did it move everything?"""
        if self._pass is None:
            return False
        (length, moved), self._pass = self._pass.result(), None
        if length > self._last_length and self._before_pass_s >= _LEAST_SAMPLE_S:
            seen = (length - self._last_length) / self._before_pass_s
            self._a_second += _SMOOTHING * (seen - self._a_second)
        everything = length == moved
        self._length = 0.0 if everything and not self._since_pass_s else length
        return everything

    def _move(self, mode: str) -> tuple[int, int]:
        """One checkpoint: octets of the log when it began, and how much of them is moved. Waits for no lock."""
        try:
            if self._connection is None:
                connection = self._connect()
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA busy_timeout = 0")
                self._frame_size = connection.execute("PRAGMA page_size").fetchone()[0] + _FRAME_HEADER
                self._connection = connection
            _, pages, moved = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.Error:
            return 0, 0  # the changes are committed: that the log stays longer must not look as if they were not
        return max(0, pages) * self._frame_size, max(0, moved) * self._frame_size
