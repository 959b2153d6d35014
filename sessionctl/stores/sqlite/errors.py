"""What SQLite says, for the user."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sessionctl.errors import (
    AccessRefused,
    SessionctlError,
    StoreBusy,
    StoreDamaged,
    StoreMissing,
    StoreNotUnderstood,
    StoreUnavailable,
)

BUSY_TIMEOUT_S = 10.0
_NEXT_TO_NOTHING = 64 * 1024


@contextmanager
def sentences(path: Path) -> Iterator[None]:
    """What SQLite and the system say of the file at ``path``, turned into sentences."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(error, path) from error
    except FileNotFoundError as error:
        raise StoreMissing(f"there is no file {path}") from error
    except PermissionError as error:
        raise AccessRefused(f"{path} may not be read by this user") from error
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be read: {error.strerror or error}") from error


@contextmanager
def told_if_full(path: Path) -> Iterator[None]:
    """A disk that becomes full while the file at ``path`` is written anew is perhaps not the one it lies on."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if not _is_full(error.sqlite_errorcode, path):
            raise
        raise SessionctlError(
            f"a disk became full while {path} was written anew; that was taken back, and the file is as it was",
            hint="sessionctl vacuum --full --via DIR goes by way of another disk",
        ) from error


def _is_full(code: int, path: Path) -> bool:
    """Some of what SQLite does on a full disk, like making a log's index, it only tells as an error of the disk."""
    if code & 0xFF != sqlite3.SQLITE_IOERR:
        return code == sqlite3.SQLITE_FULL
    disk = os.statvfs(path.parent)
    return code == sqlite3.SQLITE_IOERR_SHMSIZE or disk.f_bavail * disk.f_frsize < _NEXT_TO_NOTHING


def _translated(error: sqlite3.Error, path: Path) -> SessionctlError:
    """SQLite's error for the user."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    match code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreBusy(f"{path} stayed locked by another program for {BUSY_TIMEOUT_S:.0f} seconds")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return AccessRefused(f"{path} may not be written by this user")
        case sqlite3.SQLITE_CANTOPEN:
            return StoreUnavailable(f"{path} cannot be opened: {error}")
        case _ if _is_full(code, path):
            return SessionctlError(f"the disk that holds {path} is full; the batch was taken back")
        case sqlite3.SQLITE_CORRUPT:  # not StoreNotUnderstood: a fleet must not pass over it as no store
            return StoreDamaged(f"{path} is damaged: {error}", hint="sqlite3 FILE 'PRAGMA integrity_check' tells more")
        case sqlite3.SQLITE_NOTADB:
            return StoreNotUnderstood(f"{path} is not a SQLite database: {error}")
        case sqlite3.SQLITE_IOERR:
            return StoreDamaged(f"{path}: the disk reported an error ({error})")
    return SessionctlError(f"{path}: SQLite said: {error}")
