"""What the system and the side files tell of a SQLite file, read past SQLite and without a trace."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from datetime import UTC, datetime
from pathlib import Path

from sessionctl.stores.sqlite.peek import peek

_HERE, _BIRTH = -100, 0x800
_STATX_SIZE, _SECONDS_AT = 256, 80
_INDEX_VERSION = 3007000
_INDEX = struct.Struct("=I12xI76xI")
"""Of a log's index: its version, the pages in the log, those of them that are in the file (sqlite: walformat.html)."""


def made_at(path: Path) -> datetime | None:
    """When the file was made here, as a copy or by its application; None where the system does not tell."""
    birth = getattr(path.stat(), "st_birthtime", None)
    if birth is not None:
        return datetime.fromtimestamp(birth, UTC)
    # Python asks Linux for it from 3.15 on (linux: statx(2)).
    ask = getattr(ctypes.CDLL(None), "statx", None) if sys.platform == "linux" else None
    told = ctypes.create_string_buffer(_STATX_SIZE)
    if ask is None or ask(_HERE, os.fsencode(path), 0, _BIRTH, told) != 0:
        return None
    if not int.from_bytes(told.raw[:4], sys.byteorder) & _BIRTH:
        return None
    return datetime.fromtimestamp(int.from_bytes(told.raw[_SECONDS_AT : _SECONDS_AT + 8], sys.byteorder), UTC)


def uncheckpointed(path: Path) -> tuple[int, int]:
    """Pages in the log of the file at ``path`` that are not in it yet, and all pages in the log."""
    try:
        begins = peek(Path(f"{os.path.realpath(path)}-shm"), _INDEX.size, database=path)
        version, pages, moved = _INDEX.unpack(begins)
    except (OSError, struct.error):
        return 0, 0
    return (max(0, pages - moved), pages) if version == _INDEX_VERSION else (0, 0)
