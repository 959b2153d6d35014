"""Who else has a SQLite file open: by the locks that SQLite takes (https://sqlite.org/lockingv3.html, walformat.html).

A connection to a file with a write-ahead log keeps a shared lock on the file and one on the log's index for as
long as it lives, idle or not. Linux lists them; elsewhere, and across containers, only the attempt to have the
file alone tells.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_OF_FILE = range(0x40000000, 0x40000200)
_OF_INDEX = range(120, 129)
_ALL_LOCKS = Path("/proc/locks")


def holders(path: Path) -> tuple[str, ...]:
    """Other processes with a lock on the file, by number and name; none where the system does not tell."""
    found = {os.getpid()}
    for place, octets in ((path, _OF_FILE), (Path(f"{path}-shm"), _OF_INDEX)):
        with suppress(OSError):
            found.update(holding(place.stat(), octets))
    found.remove(os.getpid())
    return tuple(f"process {pid}{_name(pid)}" for pid in sorted(found))


def holding(file: os.stat_result, octets: range | None = None) -> Iterator[int]:
    """The processes with a lock on the file, on one that begins in ``octets``; none where the system does not tell."""
    try:
        lines = _ALL_LOCKS.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return
    inode = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    for line in lines:
        fields = line.split()
        if "->" not in fields and fields[5:6] == [inode] and (octets is None or int(fields[6]) in octets):
            yield int(fields[4])


def _name(pid: int) -> str:
    try:
        return f" ({Path(f'/proc/{pid}/comm').read_text(encoding='utf-8').strip()})"
    except (OSError, ValueError):
        return ""
