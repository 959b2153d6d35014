"""Reading SQLite's files past SQLite, without taking away the locks that this process has on them.

Whoever closes any descriptor of a file gives up all locks of his process on it (POSIX; fcntl(2)). Others would then
take a file for closed that is in use here, and remove its log under a writer. So connections are counted, and a
descriptor stays open for as long as there is one to the same file, as SQLite does with its own
(https://sqlite.org/howtocorrupt.html, "Posix advisory locks canceled by a separate thread doing close()"); and for as
long as anybody else in this process has a lock on it, an application that runs this within itself, where the system
tells that.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from sessionctl.stores.sqlite.holders import holding

_File = tuple[int, int]
"""Device and inode."""
_lock = threading.Lock()
_connections: Counter[_File] = Counter()
_kept: defaultdict[_File, dict[_File, int]] = defaultdict(dict)
"""Descriptors by database, one of each of its files."""


def connect(database: Path, uri: str, **options: Any) -> sqlite3.Connection:
    """``sqlite3.connect`` to an existing file; its ``close`` is counted."""
    file = _file(database)
    with _lock:
        _connections[file] += 1
    try:
        connection = sqlite3.connect(uri, uri=True, factory=_Connection, **options)
    except BaseException:
        _gone(file)
        raise
    connection.file = file
    return connection


def peek(path: Path, size: int, *, database: Path | None = None) -> bytes:
    """The first ``size`` octets of a database, or of the index of the log of ``database``. Raises OSError."""
    whole, file = _file(database or path), _file(path)
    with _lock:
        try:
            if file not in _kept[whole]:
                _kept[whole][file] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(_kept[whole][file], size, 0)
        finally:
            if not _connections[whole]:
                _close_unlocked(whole)


class _Connection(sqlite3.Connection):
    file: _File | None = None

    def close(self) -> None:
        super().close()
        file, self.file = self.file, None
        if file is not None:
            _gone(file)


def _file(path: Path) -> _File:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def _gone(file: _File) -> None:
    with _lock:
        _connections[file] -= 1
        if not _connections[file]:
            del _connections[file]
            _close_unlocked(file)


def _close_unlocked(database: _File) -> None:
    """Close its descriptors but for those of files on which this process has a lock."""
    for file, descriptor in list(_kept[database].items()):
        if os.getpid() not in holding(os.fstat(descriptor)):
            del _kept[database][file]
            os.close(descriptor)
    if not _kept[database]:
        del _kept[database]
