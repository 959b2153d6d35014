"""migrate beside live writers on its source, and killed again and again: nothing lost, nothing twice."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from operating import COMMAND, in_process, write_sessions
from sdk_cases import CASES, made
from sdk_process import SdkProcess
from servers import postgres_execute
from soak.forker import forker
from soak.migrating import killed_and_resumed, migrated_beside

from sessionctl.errors import SessionctlError
from sessionctl.operations.migration.record import MigrationRecord
from sessionctl.testing.case import turn, user

WRITERS = 4
MAKERS = {maker.name: maker for maker in CASES}


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSIONCTL_STATE_DIR", str(tmp_path / "state"))


def crowd(path: Path, sessions: int) -> list[str]:
    """A store of so many sessions of a turn each."""
    ids = [f"s{number:04}" for number in range(sessions)]
    write_sessions(path, {ids[0]: turn(1)})
    with closing(sqlite3.connect(path)) as connection, connection:
        for session_id in ids[1:]:
            connection.execute("INSERT INTO agent_sessions (session_id) VALUES (?)", (session_id,))
            connection.execute(
                "INSERT INTO agent_messages (session_id, message_data, created_at) "
                "SELECT ?, message_data, created_at FROM agent_messages WHERE session_id = 's0000' ORDER BY id",
                (session_id,),
            )
    return ids


def started(*arguments: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def arrived(place: str) -> int:
    """How many sessions are in the target; none while it has no tables."""
    count = "SELECT count(*) FROM agent_sessions"
    try:
        if place.startswith("postgresql"):
            return int(postgres_execute(place, count)[0][0])
        with closing(sqlite3.connect(f"file:{place}?mode=ro", uri=True)) as connection:
            return int(connection.execute(count).fetchone()[0])
    except (sqlite3.OperationalError, psycopg.errors.UndefinedTable):
        return 0


def test_four_writers_on_the_source_lose_nothing(
    tmp_path: Path, postgres_url: str, sdk: SdkProcess, sdk_processes: Callable[[], SdkProcess]
) -> None:
    """Two of them in one process, two in another."""
    source = tmp_path / "source.db"
    ids = crowd(source, 600)
    shares = [ids[number : 60 * WRITERS : WRITERS] for number in range(WRITERS)]  # a session has one writer at a time
    processes = [sdk, sdk_processes()]
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(
                processes[number % 2].running(
                    str(source), share, at_random=True, think_s=0.01, kind="SQLiteSession", seed=1
                )
            )
            for number, share in enumerate(shares)
        ]
        for writer in writers:
            writer.wait_appends(2)
        slowly = ["--rate", "500", "--batch-size", "25", "--create-tables", "--yes", "-o", "json"]
        began = time.time()
        process = started("migrate", source, postgres_url, *slowly)
        out, err = process.communicate(timeout=60)
        ended = time.time()
        for writer in writers:
            writer.wait_appends(2)
    report = json.loads(out)
    assert process.returncode in (0, 3), err.decode()
    assert report["stopped"] == "done"
    assert report["passes"] > 1
    for writer in writers:
        assert not writer.errors
        assert sum(began < append.at < ended for append in writer.appends) > 5
    last = in_process("migrate", source, postgres_url, "--yes", "-o", "json")
    assert (last.status, last.json["clean"]) == (0, True), last.said
    assert in_process("compare", source, postgres_url).status == 0
    stored = postgres_execute(
        postgres_url, "SELECT session_id, message_data FROM agent_messages ORDER BY session_id, created_at, id"
    )
    found: dict[str, list[object]] = {}
    for session_id, text in stored:
        found.setdefault(session_id, []).append(json.loads(text))
    for writer in writers:
        for session_id, items in writer.acknowledged.items():
            assert found[session_id] == [*turn(1), *items]
    with closing(sqlite3.connect(source)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_killed_at_random_and_run_again_it_is_the_same(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = tmp_path / "source.db"
    crowd(source, 300)
    place = str(tmp_path / "target.db") if kind == "sqlite" else request.getfixturevalue("postgres_url")
    for reached in sorted(random.Random(7).sample(range(20, 250), 3)):
        process = started("migrate", source, place, "--create-tables", "--yes", "--batch-size", "10", "--rate", "250")
        while arrived(place) < reached:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert arrived(place) < 300
    done = in_process("migrate", source, place, "--create-tables", "--yes", "-o", "json")
    assert (done.status, done.json["clean"]) == (0, True), done.said
    assert in_process("compare", source, place).status == 0
    assert in_process("schema", "check", "-s", place).status == 0


@pytest.mark.parametrize(("engine", "target"), [("postgresql", "mysql_url"), ("mariadb", "postgres_url")])
def test_agents_on_both_sides_lose_nothing(
    engine: str, target: str, request: pytest.FixtureRequest, sdk: SdkProcess
) -> None:
    """A small form of ``tests/soak/migrating.py --part live``."""
    with made(MAKERS[engine], request) as case:
        place = request.getfixturevalue(target)
        breaches, _ = migrated_beside(case, place, [sdk] * 5, sessions=120, seed=3, flags=("--rate", "400"))
    assert breaches == []


def test_killed_while_the_source_changes_it_is_the_same(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A small form of ``tests/soak/migrating.py --part killed``."""
    with made(MAKERS["sqlite"], request) as case, forker() as process:
        place = request.getfixturevalue("postgres_url")
        breaches, _ = killed_and_resumed(case, place, tmp_path, process, kills=4, sessions=200, seed=4)
    assert breaches == []


def test_what_was_put_and_not_settled_is_known_as_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, place = tmp_path / "source.db", tmp_path / "target.db"
    write_sessions(
        source, {session_id: [*turn(1), user("and")] for session_id in ("longer", "shorter", "gone", "same")}
    )
    with monkeypatch.context() as patch:

        def cut_off(*_: object, **__: object) -> None:
            raise SessionctlError("cut off")

        patch.setattr(MigrationRecord, "settle", cut_off)
        assert in_process("migrate", source, place, "--create-tables", "--yes").status == 1
    assert arrived(str(place)) == 4
    write_sessions(source, {"longer": turn(2)})
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("DELETE FROM agent_messages WHERE session_id = 'shorter' AND id % 5 = 0")
        for table in ("agent_messages", "agent_sessions"):
            connection.execute(f"DELETE FROM {table} WHERE session_id = 'gone'")
    done = in_process("migrate", source, place, "--yes", "-o", "json")
    assert (done.status, done.json["clean"], done.json["deleted"]) == (0, True, {"sessions": 1}), done.said
    assert in_process("compare", source, place).status == 0
