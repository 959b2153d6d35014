"""``migrate`` of a SQLite store into PostgreSQL beside a COPY of the same rows, written by hand, and beside pgloader.

The COPY is what somebody would write in Python: it reads the file as it lies, in one connection, and sends the texts
as they are, without a look at them; keys, index and foreign key come after the load, or stand in the tables before it.
pgloader is given what it needs to be at its best. Ours is the whole command from its start: it looks for what has no
place there first, writes each item as the target's class would, and keeps what can go on after a crash.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from benchmarks import pgloader
from benchmarks.figures import Figure, Target, seconds, side_by_side
from benchmarks.processes import environment, seconds_of, sessionctl
from benchmarks.server_engines import Postgresql
from benchmarks.sqlite_engine import Sqlite
from servers import postgres_connect, postgres_execute

from sessionctl.core.address import parse_address
from sessionctl.stores import create_store
from sessionctl.stores.schema import schema_of

_BLOCK = 1000
_KEYS = (
    "ALTER TABLE agent_sessions ADD PRIMARY KEY (session_id)",
    "ALTER TABLE agent_messages ADD PRIMARY KEY (id)",
)
_STAMP = "TIMESTAMP NOT NULL"
_BARE = (
    f"CREATE TABLE agent_sessions (session_id VARCHAR NOT NULL, created_at {_STAMP}, updated_at {_STAMP})",
    f"CREATE TABLE agent_messages (id BIGINT NOT NULL, session_id VARCHAR, message_data TEXT, created_at {_STAMP})",
)


def figures(engine: Sqlite, server: Postgresql, directory: Path, rounds: int) -> Iterator[Figure]:
    """Items a second: whole commands beside one connection's COPY."""
    source = engine.address.path
    assert source is not None
    items = engine.generated.scale.sessions * engine.generated.scale.items
    schema = schema_of("postgresql", {})
    after = (*_KEYS, *filter(None, (schema.index, schema.foreign_key)))

    def ours(*flags: str, made: bool) -> Callable[[], float]:
        def run() -> float:
            with server.nothing() as url:
                if made:
                    create_store(parse_address(url)).close()
                env = environment(directory)
                command = ["migrate", str(source), url, "--follow-up", "0", "--yes", "--quiet", *flags]
                took = seconds_of(sessionctl(*command), env)
                _is_whole(url, engine)
            return items / took

        return run

    def by_hand(before: tuple[str, ...], then: tuple[str, ...]) -> Callable[[], float]:
        def run() -> float:
            with server.nothing() as url:
                for statement in before:
                    postgres_execute(url, statement)
                took = seconds(lambda: _copy(str(source), url, then))
                _is_whole(url, engine)
            return items / took

        return run

    def loading() -> float:
        with server.nothing() as url:
            took = seconds(lambda: pgloader.load(source, url))
            _is_whole(url, engine)
        return items / took

    for name, mine, theirs in (
        ("migrate : COPY, index after", ours("--create-tables", made=False), by_hand(_BARE, after)),
        ("migrate : COPY in place", ours(made=True), by_hand(schema.statements, ())),
    ):
        values = side_by_side(rounds, mine, theirs)
        yield Figure(
            measure="migrate", engine=server.name, name=name, unit="items/s", ours=values[0], baseline=values[1],
            target=Target(ratio=0.8, at_least=True), note="a whole command, items in the target's style",
        )  # fmt: skip
    if not pgloader.is_installed():
        print(pgloader.HOW_TO_GET, file=sys.stderr)
        return
    values = side_by_side(rounds, ours("--create-tables", made=False), loading)
    yield Figure(
        measure="migrate", engine=server.name, name="migrate : pgloader", unit="items/s", ours=values[0],
        baseline=values[1], target=Target(ratio=1.5, at_least=True), note="tuned, into tables it makes",
    )  # fmt: skip


def _copy(path: str, url: str, then: tuple[str, ...]) -> None:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source, closing(postgres_connect(url)) as target:
        target.autocommit = False
        for table, columns in (
            ("agent_sessions", "session_id, created_at, updated_at"),
            ("agent_messages", "id, session_id, message_data, created_at"),
        ):
            rows = source.execute(f"SELECT {columns} FROM {table} ORDER BY rowid")
            with target.cursor().copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                while block := rows.fetchmany(_BLOCK):
                    lines = ["\t".join([str(value).replace("\\", "\\\\") for value in row]) for row in block]
                    copy.write("\n".join(lines).replace("\r", "\\r") + "\n")
        for statement in then:
            target.execute(statement)
        target.commit()


def _is_whole(url: str, engine: Sqlite) -> None:
    counts = postgres_execute(
        url, "SELECT (SELECT count(*) FROM agent_sessions), (SELECT count(*) FROM agent_messages)"
    )
    scale = engine.generated.scale
    assert counts == [(scale.sessions, scale.sessions * scale.items)]
