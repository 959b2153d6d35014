"""pgloader, the respected tool for this, at work on a SQLite file and an empty PostgreSQL database."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HOW_TO_GET = "pgloader is not installed (apt-get install pgloader): its figures are left out"
_TUNED = (
    "create tables, create indexes, reset sequences, foreign keys, workers = 2, concurrency = 1, "
    "prefetch rows = 2000, batch rows = 2000, batch size = 8MB, batch concurrency = 2"
)
"""With what it takes by itself it runs out of memory on items of 1 KB."""


def is_installed() -> bool:
    return shutil.which("pgloader") is not None


def load(path: Path, url: str) -> None:
    """All of it: tables, rows, then indexes and keys."""
    script = f"LOAD DATABASE FROM sqlite://{path.absolute()} INTO {url} WITH {_TUNED};"
    done = subprocess.run(["pgloader", "/dev/stdin"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
