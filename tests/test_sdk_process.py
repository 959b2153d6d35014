"""The instruments of the other tests: an SDK in another process does what it is told, at the point it is told."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mysql_tables import create_mysql_tables
from sdk_process import SdkError, SdkProcess
from servers import mysql_execute, postgres_execute

HELLO = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "good day"}]
SQLITE_CLASSES = ["SQLiteSession", "AsyncSQLiteSession", "SQLAlchemySession", "AdvancedSQLiteSession"]


def rows(path: Path, table: str = "agent_messages") -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def is_locked(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
        return False


@pytest.mark.parametrize("kind", SQLITE_CLASSES)
@pytest.mark.parametrize("process", ["sdk", "old_sdk"])
def test_an_append_on_sqlite_is_held_with_its_lock(
    kind: str, process: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    sdk: SdkProcess = request.getfixturevalue(process)
    path = tmp_path / "store.db"
    sdk.add(str(path), "a", HELLO, kind=kind)
    held = sdk.begin_add(str(path), "a", HELLO, hold="commit", kind=kind)
    held.wait_holding()
    assert is_locked(path)
    assert rows(path) == 2
    assert not held.is_done
    held.go()
    held.result()
    assert not is_locked(path)
    assert rows(path) == 4
    assert sdk.get(str(path), "a", kind=kind) == HELLO + HELLO
    assert sdk.pop(str(path), "a", kind=kind) == HELLO[1]
    sdk.clear(str(path), "a", kind=kind)
    assert rows(path, "agent_sessions") == rows(path) == 0


@pytest.mark.parametrize("kind", SQLITE_CLASSES)
def test_an_append_on_sqlite_waits_for_a_lock_and_says_that_it_began(
    kind: str, sdk: SdkProcess, tmp_path: Path
) -> None:
    path = tmp_path / "store.db"
    sdk.add(str(path), "a", HELLO, kind=kind)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        held = sdk.begin_add(str(path), "a", HELLO, hold=None, kind=kind)
        held.wait_begun()
        with pytest.raises(TimeoutError):
            held.result(timeout=0.3)
        connection.execute("ROLLBACK")
    held.result()
    assert rows(path) == 4


@pytest.mark.parametrize("point", ["items", "commit"])
@pytest.mark.parametrize("process", ["sdk", "old_sdk"])
def test_an_append_on_postgresql_is_held(
    point: str, process: str, request: pytest.FixtureRequest, postgres_url: str
) -> None:
    sdk: SdkProcess = request.getfixturevalue(process)
    sdk.add(postgres_url, "a", HELLO)
    held = sdk.begin_add(postgres_url, "a", HELLO, hold=point)
    held.wait_holding()
    free = postgres_execute(postgres_url, "SELECT 1 FROM agent_sessions FOR UPDATE SKIP LOCKED")
    assert free == []  # an old SDK too: its items hold a key-share lock on the session they refer to
    held.go()
    held.result()
    assert postgres_execute(postgres_url, "SELECT count(*) FROM agent_messages") == [(4,)]


@pytest.mark.parametrize("process", ["sdk", "old_sdk"])
def test_an_append_on_mariadb_is_held(process: str, request: pytest.FixtureRequest, mysql_url: str) -> None:
    sdk: SdkProcess = request.getfixturevalue(process)
    create_mysql_tables(mysql_url)
    sdk.add(mysql_url, "a", HELLO)
    held = sdk.begin_add(mysql_url, "a", HELLO)
    held.wait_holding()
    assert mysql_execute(mysql_url, "SELECT 1 FROM agent_sessions FOR UPDATE SKIP LOCKED") == []
    held.go()
    held.result()
    assert mysql_execute(mysql_url, "SELECT count(*) FROM agent_messages") == [(4,)]


def test_an_append_held_before_its_first_statement_has_locked_nothing(sdk: SdkProcess, postgres_url: str) -> None:
    sdk.add(postgres_url, "a", HELLO)
    held = sdk.begin_add(postgres_url, "a", HELLO, hold="begin")
    held.wait_holding()
    assert postgres_execute(postgres_url, "SELECT 1 FROM agent_sessions FOR UPDATE SKIP LOCKED") == [(1,)]
    held.go()
    held.result()


def test_a_live_writer_reports_exactly_what_was_stored(sdk: SdkProcess, tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    with sdk.running(path, ["a", "b"], think_s=0, items_per_append=2) as writer:
        writer.wait_appends(20)
    assert not writer.errors
    assert len(writer.appends) >= 20
    assert all(append.latency > 0 for append in writer.appends)
    assert writer.acknowledged == {name: sdk.get(path, name) for name in ("a", "b")}


def test_two_processes_and_an_error_of_the_sdk(
    sdk: SdkProcess, sdk_processes: Callable[..., SdkProcess], tmp_path: Path
) -> None:
    path, other = tmp_path / "store.db", sdk_processes()
    held = sdk.begin_add(str(path), "a", HELLO)
    held.wait_holding()
    with pytest.raises(SdkError, match="database is locked"):
        other.add(str(path), "b", HELLO)  # the SDK gives up after 5 s
    other.kill()
    assert not other.is_alive
    held.go()
    held.result()
    assert rows(path) == 2


def test_releases(sdk: SdkProcess, old_sdk: SdkProcess) -> None:
    assert old_sdk.version == "0.19.4"
    assert sdk.version != old_sdk.version
