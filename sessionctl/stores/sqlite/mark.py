"""What a SQLite file begins with while it is written over from a copy: no database, and where the copy is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from sessionctl.stores.sqlite.peek import peek

_MARK = b"sessionctl vacuum\0"
LONGEST = 512
"""Octets of a mark at most: the smallest page."""


class Mark(NamedTuple):
    """``copy`` is whole and checked; ``has_log``: the file kept a write-ahead log."""

    copy: Path
    has_log: bool

    def to_bytes(self) -> bytes:
        said = {"copy": str(self.copy), "has_log": self.has_log}
        return _MARK + json.dumps(said).encode() + b"\n"


def read_mark(path: Path) -> Mark | None:
    """The mark of the file; None for any other file."""
    return mark_in(peek(path, LONGEST))


def mark_in(begins: bytes) -> Mark | None:
    """The same for what the file begins with."""
    if not begins.startswith(_MARK):
        return None
    said = json.loads(begins[len(_MARK) :].splitlines()[0])
    return Mark(Path(said["copy"]), said["has_log"])
