"""Real transcripts are trimmed to several limits on each engine: the SDK goes on from what is left, and undo returns
the rest to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from acceptance.strict_model import refusal
from acceptance.transcripts import MYSQL, POSTGRESQL, SQLITE, LoadedStore, load, read_transcripts
from operating import Ran, in_process
from sdk_cases import MariadbCase, PostgresCase, SqliteCase
from servers import fresh_mysql, fresh_postgres

from sessionctl.core.history import verdict
from sessionctl.core.payload import read_item

ENGINES = ["SQLiteSession", "AdvancedSQLiteSession", "postgresql", "mariadb"]
SESSIONS = 24
LIMITS = (
    ("--keep-turns", "4"),
    ("--max-items", "25", "--max-tokens", "2000"),
    ("--max-bytes", "5KiB", "--min-turns", "1"),
    ("--keep-turns", "9", "--elide-tool-output", "300"),
)

pytestmark = pytest.mark.timeout(300)


@contextmanager
def few(name: str, request: pytest.FixtureRequest, directory: Path) -> Iterator[LoadedStore]:
    """A store of the kind ``name`` with the longest transcripts."""
    longest = sorted(read_transcripts(), key=lambda transcript: -len(transcript.items))[:SESSIONS]
    if name == "postgresql":
        with fresh_postgres(request.getfixturevalue("postgres_server")) as url, closing(PostgresCase(url)) as case:
            yield load(case, url, POSTGRESQL, longest)
    elif name == "mariadb":
        server = request.getfixturevalue("mysql_server")
        with fresh_mysql(server) as url, closing(MariadbCase(url, ("case",), collation="utf8mb4_bin")) as maria:
            yield load(maria, url, MYSQL, longest)
    else:
        with closing(SqliteCase(directory / "store", name)) as sqlite:
            yield load(sqlite, str(sqlite.path), SQLITE, longest)


@pytest.mark.parametrize("engine", ENGINES)
def test_trim_and_undo(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with few(engine, request, tmp_path) as store:
        for limits in LIMITS:
            trimmed_and_undone(store, limits, tmp_path / "archive")


def trimmed_and_undone(store: LoadedStore, limits: tuple[str, ...], archive: Path) -> None:
    wanted = ("trim", "-s", store.url, "--all", "--max-share", "1", *limits, "-o", "json")
    before = store.messages(store.transcripts)
    foreseen = in_process(*wanted, "--dry-run").json
    assert store.messages(store.transcripts) == before
    done: Ran = in_process(*wanted, "--archive", archive, "--yes")
    assert done.status == 0, done.said
    report = done.json
    told = ("matched", "removed", "changed", "elided", "skipped", "tokens", "obstacles")
    assert [report[key] for key in told] == [foreseen[key] for key in told]
    assert report["changed"]["sessions"] >= SESSIONS / 2
    after = store.messages(store.transcripts)
    assert report["removed"]["items"] == sum(map(len, before.values())) - sum(map(len, after.values()))
    assert report["removed"]["bytes"] == octets(before) - octets(after)
    texts = {row[0]: row[1] for rows in before.values() for row in rows}
    assert report["elided"]["items"] == sum(row[1] != texts[row[0]] for rows in after.values() for row in rows)
    for name, transcript in store.transcripts.items():
        left = store.case.read(name)
        assert refusal(left) is None
        assert defects(after[name]) <= defects(before[name])
        assert [row[0] for row in after[name]] == [row[0] for row in before[name]][-len(after[name]) :]
        if "--elide-tool-output" not in limits:
            assert left == transcript.items[-len(left) :]
    undone = in_process("undo", report["run_id"], "-s", store.url, "--hold-for", "0", "--yes", "-o", "json")
    assert undone.status == 0, undone.said
    assert undone.json["restored"]["sessions"] == report["changed"]["sessions"]
    assert store.messages(store.transcripts) == before


def octets(messages: dict[str, list[tuple[Any, ...]]]) -> int:
    return sum(row[2] for rows in messages.values() for row in rows)


def defects(rows: list[tuple[Any, ...]]) -> set[tuple[str, Any]]:
    """What is wrong with a session, and at which items."""
    return {(found.kind, rows[found.position][0]) for found in verdict(read_item(row[1]) for row in rows).defects}
