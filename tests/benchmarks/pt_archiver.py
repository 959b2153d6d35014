"""Percona's pt-archiver, the respected tool for this on MySQL, at work on a store in MariaDB."""

from __future__ import annotations

import os
import shutil
import subprocess
from urllib.parse import unquote, urlsplit

from benchmarks.figures import seconds

HOW_TO_GET = "pt-archiver is not installed (apt-get install percona-toolkit): its figures are left out"


def is_installed() -> bool:
    return shutil.which("pt-archiver") is not None


def cascade_seconds(url: str, before: str) -> float:
    """Its best: sessions a thousand at a time by one statement, which checks nothing; items go by the foreign key."""
    return _seconds(url, "agent_sessions", f"updated_at < '{before}'", "--bulk-delete")


def items_seconds(url: str, before: str, last: int) -> float:
    """As it is used by default, row by row: the items of such sessions among those up to the key ``last``."""
    older = f"SELECT session_id FROM agent_sessions WHERE updated_at < '{before}'"
    return _seconds(url, "agent_messages", f"id <= {last} AND session_id IN ({older})")


def _seconds(url: str, table: str, where: str, *more: str) -> float:
    """Without its start, which is that of a run that finds nothing."""
    return max(
        1e-3, seconds(lambda: _run(url, table, where, *more)) - seconds(lambda: _run(url, table, "1 = 0", *more))
    )


def _run(url: str, table: str, where: str, *more: str) -> None:
    parts = urlsplit(url)
    source = f"h={parts.hostname},P={parts.port or 3306},u={parts.username or 'root'},D={parts.path[1:]},t={table}"
    command = ["pt-archiver", "--source", source, "--purge", "--where", where, "--limit", "1000", "--commit-each",
               "--no-check-charset", "--set-vars", "time_zone='+00:00'", *more]  # fmt: skip
    env = os.environ | {"MYSQL_PWD": unquote(parts.password or "")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
