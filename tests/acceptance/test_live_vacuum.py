"""Agents go on writing while a store is vacuumed or compressed: they see no error, and nothing is lost or doubled.

Small forms of ``tests/soak/vacuuming.py``.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from operating import in_process, sessionctl
from sdk_cases import CASES, MariadbCase, PostgresCase, SdkCase, SqliteCase, fill, made
from sdk_process import SdkProcess
from servers import mysql_connect, postgres_connect
from vacuumed import vacuum_beside

from sessionctl.stores.mysql import vacuum as _mysql_vacuum
from sessionctl.stores.postgresql import vacuum as _postgresql_vacuum
from sessionctl.testing.case import turn, user

MAKERS = {maker.name: maker for maker in CASES}
LARGE = [*turn(1), user("a long story " * 400)]
"""PostgreSQL compresses none that is shorter than two kilobytes."""
SESSIONS = 600


def url_of(case: SdkCase) -> str:
    if isinstance(case, SqliteCase):
        return str(case.path)
    assert isinstance(case, PostgresCase | MariadbCase)
    return case.url


def how(case: SdkCase) -> dict[str, Any]:
    return {"kind": case._class if isinstance(case, SqliteCase) else "SQLAlchemySession"}


@contextlib.contextmanager
def half_empty(name: str, request: pytest.FixtureRequest, *, movable: bool = False) -> Iterator[SdkCase]:
    """A store of which every other session has been deleted."""
    with made(MAKERS[name], request) as case:
        if movable:
            case.write("first", [user("x")])
            _make_movable(case)
        fill(case, [f"s{number:04}" for number in range(SESSIONS)], LARGE, idle=timedelta(days=9))
        for table in ("agent_messages", "agent_sessions"):
            case.execute(f"DELETE FROM {table} WHERE session_id LIKE 's%' AND session_id < 's0300'")
        yield case


def _make_movable(case: SdkCase) -> None:
    assert isinstance(case, SqliteCase)
    with contextlib.closing(sqlite3.connect(case.path, isolation_level=None)) as db:
        db.execute("PRAGMA auto_vacuum = 2")
        db.execute("VACUUM")


@pytest.mark.parametrize(
    ("name", "arguments", "task"),
    [
        ("sqlite", [], "rebuild"),  # small enough to be written anew beside writers
        ("sqlite-movable", [], "shrink"),
        ("sqlite-sqlalchemy", ["--incremental"], "rebuild"),
        ("postgresql", [], "reuse"),
        ("postgresql", ["--full"], "rebuild"),
        ("postgresql", ["--compress", "--force"], "rewrite"),
        ("mariadb", ["--full"], "rebuild"),
        ("mariadb", ["--compress"], "rebuild"),
    ],
    ids=lambda value: value if isinstance(value, str) else "".join(value) or "plain",
)
def test_writers_see_nothing_of_it(
    name: str, arguments: list[str], task: str, request: pytest.FixtureRequest, sdk: SdkProcess
) -> None:
    with half_empty(name.removesuffix("-movable"), request, movable=name.endswith("-movable")) as case:
        left = {each: case.read(each) for each in ("s0300", "s0599")}
        tables = {"tables_exist": True} if isinstance(case, MariadbCase) else {}
        beside = vacuum_beside([sdk], url_of(case), *arguments, runs=4, think_s=0.002, **how(case), **tables)
        assert beside.status == 0, beside.said
        assert beside.errors == []
        assert beside.wrong == []
        assert beside.amid
        steps = {step["task"]: step["done"] for step in beside.report["steps"]}
        assert steps[task]
        assert all(steps.values())
        assert {each: case.read(each) for each in left} == left == dict.fromkeys(left, LARGE)
        if isinstance(case, SqliteCase):
            assert case.execute("PRAGMA integrity_check") == [("ok",)]
            assert beside.report["freed"] > 0


@contextlib.contextmanager
def held(case: SdkCase) -> Iterator[None]:
    """A transaction of somebody else that has read the items, and stays open; of a file, one that writes."""
    if isinstance(case, SqliteCase):
        with contextlib.closing(sqlite3.connect(case.path, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            yield
        return
    connect = postgres_connect if isinstance(case, PostgresCase) else mysql_connect
    with contextlib.closing(connect(url_of(case))) as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT id FROM agent_messages LIMIT 1")
        yield
        other.rollback()


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_a_table_that_somebody_has_is_let_alone_and_nobody_waits_for_it(
    name: str, request: pytest.FixtureRequest, sdk: SdkProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (_postgresql_vacuum, _mysql_vacuum):
        monkeypatch.setattr(module, "_PATIENCE_S", 2.0)
    items, appends, over = [user("it goes on")], [0], threading.Event()
    with half_empty(name, request) as case, held(case):

        def append() -> None:
            while not over.is_set():  # behind a request for the table that waits they would not come through
                sdk.add(url_of(case), "other", items, tables_exist=True, **how(case))
                appends[0] += 1

        with ThreadPoolExecutor(1) as pool:
            appending = pool.submit(append)
            refused = in_process("vacuum", "-s", url_of(case), "--full", "--force", "--yes", "-o", "json")
            over.set()
            appending.result()
        assert refused.status == 1
        assert "stayed in use" in refused.json["error"]
        assert case.read("other") == items * appends[0] != []
        assert case.read("s0599") == LARGE


def test_a_locked_file_is_told_in_time(request: pytest.FixtureRequest) -> None:
    with half_empty("sqlite", request) as case:
        with held(case):
            told = sessionctl("vacuum", "-s", url_of(case), "--force", "--yes", "-o", "json")
        assert told.status == 1
        assert "locked" in told.json["error"]
        assert case.execute("PRAGMA integrity_check") == [("ok",)]
        assert in_process("vacuum", "-s", url_of(case), "--force", "--yes").status == 0


def test_compression_and_the_way_back(request: pytest.FixtureRequest) -> None:
    methods = "SELECT DISTINCT pg_column_compression(message_data) FROM agent_messages ORDER BY 1"
    with half_empty("postgresql", request) as case:
        for argument, method in (("--compress", "lz4"), ("--decompress", "pglz")):
            done = in_process("vacuum", "-s", url_of(case), argument, "--force", "--yes", "-o", "json")
            assert done.status == 0, done.said
            assert (method,) in case.execute(methods)
            assert len(case.execute(methods)) == 2  # and none, of what is short
            assert case.read("s0599") == LARGE
    formats = (
        "SELECT row_format FROM information_schema.tables WHERE table_name = 'agent_messages' AND table_schema = ?"
    )
    with half_empty("mariadb", request) as case:
        database = url_of(case).rsplit("/", 1)[1]
        for argument, shape in (("--compress", "Compressed"), ("--decompress", "Dynamic")):
            done = in_process("vacuum", "-s", url_of(case), argument, "--yes", "-o", "json")
            assert done.status == 0, done.said
            assert case.execute(formats, database) == [(shape,)]
            assert case.read("s0599") == LARGE
