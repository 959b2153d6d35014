"""Who else has a SQLite file open: by the locks that SQLite takes (https://sqlite.org/lockingv3.html, walformat.html).

A connection to a file with a write-ahead log keeps a shared lock on the file and one on the log's index for as
long as it lives, idle or not. Linux lists them; elsewhere, and across containers, only the attempt to have the
file alone tells.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_OF_FILE = range(0x40000000, 0x40000200)
_OF_INDEX = range(120, 129)
_ALL_LOCKS = Path("/proc/locks")


def holders(path: Path) -> tuple[str, ...]:
    """Other processes with a lock on the file, by number and name; none where the system does not tell."""
    found = {*_holding(path, _OF_FILE), *_holding(Path(f"{path}-shm"), _OF_INDEX)} - {os.getpid()}
    return tuple(f"process {pid}{_name(pid)}" for pid in sorted(found))


def _holding(path: Path, bytes_: range) -> Iterator[int]:
    try:
        stat, lines = path.stat(), _ALL_LOCKS.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return
    device = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    for line in lines:
        fields = line.split()
        if "->" not in fields and fields[5:6] == [device] and int(fields[6]) in bytes_:
            yield int(fields[4])


def _name(pid: int) -> str:
    try:
        return f" ({Path(f'/proc/{pid}/comm').read_text(encoding='utf-8').strip()})"
    except (OSError, ValueError):
        return ""
