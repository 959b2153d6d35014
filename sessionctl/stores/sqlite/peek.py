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
_kept: defaultdict[_File, list[int]] = defaultdict(list)


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
    file = _file(database or path)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, size, 0)
    finally:
        with _lock:
            _kept[file].append(descriptor)
            if not _connections[file]:
                _close_unlocked(file)


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


def _close_unlocked(file: _File) -> None:
    left = [descriptor for descriptor in _kept.pop(file, ()) if not _close(descriptor)]
    if left:
        _kept[file] = left


def _close(descriptor: int) -> bool:
    """Close it, unless this process has a lock on its file."""
    if os.getpid() in holding(os.fstat(descriptor)):
        return False
    os.close(descriptor)
    return True
