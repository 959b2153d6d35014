"""``restore`` into PostgreSQL beside a raw COPY of the same rows into the same empty tables.

The raw COPY is fed from files that were copied out before, as they are: nothing is read or checked for it. Ours reads
the archive twice, to know what would come of it and to put it in, and holds what it puts.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.engines import location
from benchmarks.figures import Figure, Target, seconds, side_by_side
from benchmarks.processes import environment, seconds_of, sessionctl
from benchmarks.server_engines import Postgresql
from servers import postgres_connect

TABLES = ("agent_sessions", "agent_messages")


def figures(engine: Postgresql, directory: Path, rounds: int) -> Iterator[Figure]:
    """Items a second, from an archive of the whole store, checked twice and held as restores are."""
    scale, env = engine.generated.scale, environment(directory)
    archive = directory / "whole.jsonl.zst"
    made = sessionctl("export", "-s", location(engine.address), "--format", "archive", "--out", str(archive), "--quiet")
    subprocess.run(made, env=env, check=True)

    def ours() -> float:
        with engine.empty() as address:
            args = ["restore", str(archive), "-s", location(address), "--yes", "--quiet"]
            took = seconds_of(sessionctl(*args), env)
            assert engine.left(address) == (scale.sessions, scale.sessions * scale.items)
        return scale.sessions * scale.items / took

    def raw() -> float:
        files = [directory / f"{table}.copy" for table in TABLES]
        for table, file in zip(TABLES, files, strict=True):
            _copy_out(engine.url, table, file)
        with engine.empty() as address, closing(postgres_connect(address.url)) as connection:
            took = seconds(lambda: [_copy_in(connection, *pair) for pair in zip(TABLES, files, strict=True)])
        for file in files:
            file.unlink()
        return scale.sessions * scale.items / took

    mine, theirs = side_by_side(rounds, ours, raw)
    yield Figure(
        measure="restore", engine=engine.name, name="restore : COPY", unit="items/s", ours=mine, baseline=theirs,
        target=Target(ratio=0.5, at_least=True), note="a whole command, looked at before it writes",
    )  # fmt: skip


def _copy_out(url: str, table: str, file: Path) -> None:
    with (
        closing(postgres_connect(url)) as connection,
        file.open("wb") as out,
        connection.cursor().copy(f"COPY {table} TO STDOUT") as copy,
    ):
        for data in copy:
            out.write(data)


def _copy_in(connection: object, table: str, file: Path) -> None:
    with file.open("rb") as source, connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:  # type: ignore[attr-defined]
        while data := source.read(2**18):
            copy.write(data)
