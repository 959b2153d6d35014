"""Writing a SQLite file anew by way of another directory, where its own disk has no room for that.

While nobody else has the file open a compact copy is made elsewhere, checked, and brought to the disk. Then the
file is written over with it, in place, so that it stays the file that it is. At no instant is neither of
them whole: while the file is not, it begins with a ``Mark``, which no SQLite takes for a database, and which says
where the copy is. Cut off then, the next call with the same directory goes on from there.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import BinaryIO

from sessionctl.core.space import Part
from sessionctl.errors import GuardRefused, SessionctlError, StoreBusy, StoreDamaged
from sessionctl.stores.interruptible import interruptibly
from sessionctl.stores.sqlite.errors import told_if_full
from sessionctl.stores.sqlite.file import SqliteFile
from sessionctl.stores.sqlite.mark import LONGEST, Mark, read_mark

_FIRST_LOCK, _LOCKS = 0x40000000, 512
"""The octets that SQLite locks; a write lock on all of them keeps every connection out."""
_BLOCK = 1024 * 1024
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})

Alone = Callable[[SqliteFile], AbstractContextManager[sqlite3.Connection]]


def is_in_memory(directory: Path) -> bool:
    """Does a power cut take along what lies there? As far as the system tells."""
    with suppress(OSError, ValueError):
        device = directory.stat().st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
            fields = line.split()
            if fields[2] == wanted:
                return fields[fields.index("-") + 1] in _IN_MEMORY
    return False


def rebuild_via(
    file: SqliteFile, directory: Path, alone: Alone, enough: Callable[[], bool], *, incremental: bool
) -> Part:  # fmt: skip
    """Write the file anew by way of ``directory``. ``enough`` is heeded until the file begins to be written over."""
    path = Path(os.path.realpath(file.path))
    copy = directory.absolute() / f"{path.name}.{os.getpid()}.vacuumed"
    mark = Mark(copy, file.has_log)
    if len(mark.to_bytes()) > LONGEST:
        raise SessionctlError(f"the path of {directory} is too long for this", hint="name another directory")
    try:
        with alone(file) as connection:
            if incremental:
                connection.execute("PRAGMA auto_vacuum = 2")
            with told_if_full(path):
                interruptibly(lambda: connection.execute("VACUUM INTO ?", (str(copy),)), connection.interrupt, enough)
        _refuse_a_log(path)
        with path.open("rb") as now:
            was = _state(now)
        _check(copy)
        _to_disk(copy)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
    _write_over(path, mark, was)
    _end(path, mark)
    return Part()


def finish(path: Path) -> bool:
    """Go on where a call was cut off while it wrote over ``path``; False where none was.

    Raises StoreDamaged where the copy is not there, GuardRefused where somebody else is at it.
    """
    real = Path(os.path.realpath(path))
    mark = read_mark(real)
    if mark is None:
        return False
    if not mark.copy.exists():
        raise StoreDamaged(
            f"{path} was being written anew from {mark.copy}, and that is not there",
            hint="bring its disk back, or put the copy back to its place",
        )
    _check(mark.copy)
    _write_over(real, mark, None)
    _end(real, mark)
    return True


def _refuse_a_log(path: Path) -> None:
    """Whoever closes a file last moves its log into it and takes it away, if there is room for that."""
    if _side_files(path):
        raise SessionctlError(
            f"the log beside {path} could not be moved into it, because its disk is full; it is left as it is",
            hint="make a little room there first: as much as the log is long",
        )


def _state(file: BinaryIO) -> tuple[int, int, bytes]:
    """What is another one after anybody's write: its length, its time, its header with the change counter."""
    stat = os.fstat(file.fileno())
    return stat.st_size, stat.st_mtime_ns, os.pread(file.fileno(), 100, 0)


def _check(copy: Path) -> None:
    """Raises StoreDamaged for a copy that is not whole."""
    with closing(sqlite3.connect(f"file:{copy}?immutable=1", uri=True)) as connection:
        (said,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if said != "ok":
        raise StoreDamaged(f"the copy of the file at {copy} is not whole: {said}")


def _to_disk(copy: Path) -> None:
    for place in (copy, copy.parent):
        number = os.open(place, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _write_over(path: Path, mark: Mark, was: tuple[int, int, bytes] | None) -> None:
    """Make ``path`` what its copy is, in place, if it still is as it ``was``; its first page last.

    No file of ours that is the store may be closed meanwhile: that would give the lock back.
    """
    import fcntl  # where there is none, there is no way to keep others out

    with path.open("r+b", buffering=0) as target, mark.copy.open("rb") as source:
        try:
            fcntl.lockf(target, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCKS, _FIRST_LOCK)
        except OSError as error:
            raise GuardRefused(f"{path} was opened by another program; it is left as it is") from error
        if was is not None and (was != _state(target) or _side_files(path)):
            mark.copy.unlink()
            raise StoreBusy(f"{path} was written by another program meanwhile; it is left as it is")
        target.write(mark.to_bytes())
        os.fsync(target.fileno())
        first = source.read(LONGEST)
        target.seek(LONGEST)
        while block := source.read(_BLOCK):
            _write_all(target, block)
        target.truncate(source.tell())
        os.fsync(target.fileno())
        target.seek(0)
        _write_all(target, first)
        os.fsync(target.fileno())


def _side_files(path: Path) -> bool:
    return any(Path(f"{path}{end}").exists() for end in ("-wal", "-journal"))


def _write_all(target: BinaryIO, block: bytes) -> None:
    left = memoryview(block)
    while left:
        left = left[target.write(left) :]


def _end(path: Path, mark: Mark) -> None:
    """The file is whole: have it keep a log again, if it did, and let the copy go."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise StoreDamaged(f"{path} is not what was written into it: {said}", hint=f"all of it is in {mark.copy}")
        if mark.has_log:
            connection.execute("PRAGMA journal_mode = WAL")
    mark.copy.unlink()
