"""SQLite files that a rotation made: marked as such, and compressed once they are closed.

The mark is SQLite's own place for it, ``application_id``; the SDK leaves that alone and does not look at it.
Nothing but a file with the mark is ever compressed or removed.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

from sessionctl.archive.codecs import Compression, Unsound, compressor, decompressed, recognised
from sessionctl.errors import ArchiveDamaged, ArchiveUnavailable

MARK = 0x53524F54
"""``SROT``."""
_MARK_AT = 68
"""In the header of a SQLite file (sqlite.org/fileformat2.html, 1.3)."""
_HEADER = 100
_CHUNK = 1 << 20
PART = ".part"


class InUse(Exception):
    """Somebody else has the file open."""


def mark(path: Path) -> None:
    """Put the mark into a file that nobody else uses."""
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA application_id = {MARK}")


def is_marked(path: Path) -> bool:
    """Did a rotation make this file? It may be compressed; what is no such file, or cannot be read, is not marked."""
    start = b""
    try:
        with path.open("rb") as file, suppress(Unsound):
            for chunk in decompressed(file):
                start += chunk
                if len(start) >= _HEADER:
                    break
    except OSError:
        return False
    return start.startswith(b"SQLite format 3\0") and start[_MARK_AT : _MARK_AT + 4] == MARK.to_bytes(4, "big")


def pack(path: Path, compression: Compression) -> Path:
    """Put a compressed file in the place of ``path``, read back and compared before that goes; the new path.

    Raises InUse where somebody has it open, ArchiveUnavailable where the disk refuses; ``path`` is as it was then.
    """
    packed = path.with_name(path.name + compression.suffix)
    part = packed.with_name(packed.name + PART)
    try:
        with closing(_alone(path)), path.open("rb") as file:
            try:
                digest = _write(file, part, compression)
                _compare(part, digest)
                part.rename(packed)
                _sync_directory(packed.parent)
            finally:
                part.unlink(missing_ok=True)
            path.unlink()
            _sync_directory(path.parent)
    except sqlite3.OperationalError as error:
        raise InUse(str(error)) from error
    except OSError as error:
        raise ArchiveUnavailable(f"{packed} cannot be written: {error.strerror or error}") from error
    return packed


def unpack(packed: Path, to: Path) -> None:
    """Write what a compressed file holds to ``to``. Raises ArchiveDamaged, ArchiveUnavailable."""
    try:
        with packed.open("rb") as file, to.open("xb") as out:
            for chunk in decompressed(file):
                out.write(chunk)
    except Unsound as error:
        raise ArchiveDamaged(f"{packed}: {error}") from error
    except OSError as error:
        raise ArchiveUnavailable(f"{packed} cannot be unpacked: {error.strerror or error}") from error


def is_same(path: Path, packed: Path) -> bool:
    """Is ``packed`` what ``path`` is, compressed? Only for a file without a log."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        _compare(packed, digest)
    except (ArchiveDamaged, OSError):
        return False
    return not Path(f"{path}-wal").exists()


def discard(path: Path) -> None:
    """Remove a file, compressed or not. Raises InUse where somebody has it open, ArchiveUnavailable."""
    try:
        if recognised(_start(path)) is Compression.NONE:
            with closing(_alone(path)):
                path.unlink()
        else:
            path.unlink()
        _sync_directory(path.parent)
    except sqlite3.OperationalError as error:
        raise InUse(str(error)) from error
    except OSError as error:
        raise ArchiveUnavailable(f"{path} cannot be removed: {error.strerror or error}") from error


def sync(path: Path) -> None:
    """See to it that a power cut takes nothing of a closed SQLite file, its log or its name."""
    for name in (path, Path(f"{path}-wal")):
        with suppress(FileNotFoundError):
            descriptor = os.open(name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    _sync_directory(path.parent)


def _alone(path: Path) -> sqlite3.Connection:
    """A connection that keeps everybody else out, with the log moved into the file: that alone is the store then."""
    db = sqlite3.connect(path, timeout=1, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = DELETE")  # for that nobody else may have it open
        db.execute("BEGIN EXCLUSIVE")
    except BaseException:
        db.close()
        raise
    return db


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _write(file: BinaryIO, part: Path, compression: Compression) -> str:
    digest, packer = hashlib.sha256(), compressor(compression)
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        for chunk in _chunks(file):
            digest.update(chunk)
            out.write(packer.compress(chunk))
        out.write(packer.flush())
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def _compare(packed: Path, digest: str) -> None:
    found = hashlib.sha256()
    with packed.open("rb") as file:
        try:
            for chunk in decompressed(file):
                found.update(chunk)
        except Unsound as error:
            raise ArchiveDamaged(f"{packed}: {error}") from error
    if found.hexdigest() != digest:
        raise ArchiveDamaged(f"{packed} is not what was written there")


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
