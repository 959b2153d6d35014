"""What ``schema print`` prints, applied by the database's own plain client, as an operator would."""

from __future__ import annotations

import os
import subprocess
from urllib.parse import unquote, urlsplit

from operating import in_process


def apply_printed(dialect: str, url: str, *flags: str) -> None:
    """Make the tables in the database at ``url``. The client must take every statement without a word."""
    printed = in_process("schema", "print", "--dialect", dialect, *flags)
    assert printed.status == 0, printed.said
    client = _psql(url) if dialect == "postgresql" else _mariadb(url)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "MYSQL_"))}
    done = subprocess.run(client, input=printed.out, capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr


def _psql(url: str) -> list[str]:
    return ["psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", url]


def _mariadb(url: str) -> list[str]:
    parts = urlsplit(url)
    secret = [f"--password={unquote(parts.password)}"] if parts.password else []
    return [
        "mariadb", "--no-defaults", f"--host={parts.hostname}", f"--port={parts.port or 3306}", "--protocol=tcp",
        f"--user={unquote(parts.username or 'root')}", "--skip-ssl", *secret, parts.path.lstrip("/"),
    ]  # fmt: skip
