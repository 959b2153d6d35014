"""Start-up: whole runs beside the smallest Typer app."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.engines import Engine
from benchmarks.figures import Figure, Target, side_by_side, typical
from benchmarks.processes import SMALLEST_APP, environment, imports_of, seconds_of, sessionctl

HEAVY = frozenset(
    {"agents", "aiomysql", "aiosqlite", "asyncio", "asyncpg", "openai", "psycopg", "pymysql", "sqlalchemy"}
)


def figures(small: Engine, directory: Path, rounds: int, *, calls: int = 9) -> Iterator[Figure]:
    """``--help``, and ``list`` of a small SQLite store, beside the smallest Typer app's ``--help``."""
    app, env = directory / "smallest.py", environment(directory)
    app.write_text(SMALLEST_APP)
    bare = [sys.executable, str(app), "--help"]
    for name, args, limit, also in (
        ("--help", ["--help"], 1.3, {"sqlite3"}),
        ("list, 50 sessions", ["list", "-s", str(small.address)], 1.6, set()),
    ):
        command = sessionctl(*args)
        for warm_up in (command, bare):  # compiles what is not compiled yet
            seconds_of(warm_up, env)
        mine, theirs = side_by_side(
            rounds,
            lambda command=command: typical(lambda: seconds_of(command, env), calls),  # type: ignore[misc]
            lambda: typical(lambda: seconds_of(bare, env), calls),
        )
        heavy = imports_of(args, env) & (HEAVY | also)
        yield Figure(
            measure="startup", engine="", name=name, unit="s", ours=mine, baseline=theirs, target=Target(ratio=limit),
            note=f"IMPORTS {', '.join(sorted(heavy))}" if heavy else "imports nothing heavy",
        )  # fmt: skip
