"""``rotate`` and ``undo`` on each kind of store: the SDK reads and continues what was moved, and all comes back."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from acceptance.test_live_writers import Live, finished, store_of
from acceptance.transcripts import MYSQL, POSTGRESQL, SQLITE, load, read_transcripts
from operating import in_process, running
from sdk_cases import CASES, CaseMaker, PostgresCase, SdkCase, SqliteCase, fill, made
from sdk_process import SdkProcess
from soak.forker import forker
from soak.killing import killed

from sessionctl.testing.case import turn, user

NAMES = ("sqlite", "sqlite-sqlalchemy", "sqlite-advanced", "postgresql", "mariadb")
MAKERS = {maker.name: maker for maker in CASES if maker.name in NAMES}
GENERATIONS = "session_clear_generations"  # they count deletions and never go back
MORE = [user("and now?")]
STALE_SESSIONS = 600
LIVE_IDS = [f"live-{number:02}" for number in range(60)]
SEED = turn(3)


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest) -> Iterator[SdkCase]:
    maker: CaseMaker = MAKERS[request.param]
    with made(maker, request) as made_case:
        yield made_case


def address(case: SdkCase) -> str:
    return str(case.path) if isinstance(case, SqliteCase) else str(getattr(case, "url", ""))


def rows(case: SdkCase) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, past sessionctl."""
    return {t: sorted(case.execute(f"SELECT * FROM {t}"), key=repr) for t in case._tables if t != GENERATIONS}


def rotated(store: str | Path, *arguments: str | Path, status: int = 0) -> dict[str, Any]:
    ran = in_process("rotate", "-s", store, *arguments, "--max-share", "1", "--yes", "-o", "json")
    assert ran.status == status, ran.said
    return ran.json


def undone(store: str | Path, run_id: str, status: int = 0) -> dict[str, Any]:
    ran = in_process("undo", run_id, "-s", store, "--yes", "--hold-for", "0", "-o", "json")
    assert ran.status == status, ran.said
    return ran.json


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*.db") if path.is_file())


def sessions_in(path: Path) -> dict[str, str]:
    """The ids in a file, with their last activity."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return dict(db.execute("SELECT session_id, updated_at FROM agent_sessions"))


def by_sdk(path: Path, ids: list[str], more: list[Any]) -> dict[str, list[Any]]:
    """What SQLiteSession reads in the file, after which it appends ``more``."""
    from agents import SQLiteSession

    async def read() -> dict[str, list[Any]]:
        found = {}
        for session_id in ids:
            session = SQLiteSession(session_id, path)
            found[session_id] = [dict(item) for item in await session.get_items()]
            await session.add_items(more)
            assert await session.get_items() == [*found[session_id], *more]
            session.close()
        return found

    return asyncio.run(read())


def test_the_sdk_continues_what_was_moved_and_undo_puts_all_back_exactly(case: SdkCase, tmp_path: Path) -> None:
    dialect = SQLITE if isinstance(case, SqliteCase) else POSTGRESQL if isinstance(case, PostgresCase) else MYSQL
    some = read_transcripts()[:: 40 if isinstance(case, SqliteCase) else 24]
    load(case, address(case), dialect, some)
    ids = [name for (name,) in case.execute("SELECT session_id FROM agent_sessions")]
    read = {session_id: case.read(session_id) for session_id in ids}
    before = rows(case)
    report = rotated(address(case), "--by", "month", "--into", tmp_path / "cold" / "{year}-{month}.db")
    assert report["removed"] == report["matched"]
    assert report["changed"] == {"sessions": 0}
    assert report["removed"]["sessions"] > 5
    stayed = {name for (name,) in case.execute("SELECT session_id FROM agent_sessions")}
    found: dict[str, list[Any]] = {}
    assert sum(target["sessions"] for target in report["targets"]) == report["removed"]["sessions"]
    for path in files(tmp_path / "cold"):
        there = sessions_in(path)
        assert {updated[:7] for updated in there.values()} == {path.stem}
        found |= by_sdk(path, sorted(there), MORE)
    assert found == {session_id: items for session_id, items in read.items() if session_id not in stayed}
    month = datetime.now(UTC).strftime("%Y-%m")
    assert not (tmp_path / "cold" / f"{month}.db").exists()
    assert rotated(address(case), "--by", "month", "--into", tmp_path / "cold" / "{year}-{month}.db")["matched"] == {
        "sessions": 0, "items": 0, "bytes": 0,
    }  # fmt: skip
    assert undone(address(case), report["run_id"])["restored"]["sessions"] == len(found)
    assert rows(case) == before
    assert {session_id: case.read(session_id) for session_id in ids} == read


def test_branches_and_usage_come_back_though_no_file_has_them(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with made(MAKERS["sqlite-advanced"], request) as case:
        case.write("s", turn(1), turn(2), turn(3))
        case._call("s", lambda session: session.create_branch_from_turn(2, "other"))
        case._call("s", lambda session: session.add_items([user("in another branch"), *turn(4)[1:]]))
        main = case.read("s")
        case.stamp("s", updated_at=datetime.now(UTC) - timedelta(days=60))
        before = rows(case)
        ran = in_process("rotate", "-s", address(case), "--all", "--into", tmp_path / "old.db", "--dry-run")
        assert "branches other than main" in ran.text
        report = rotated(address(case), "--all", "--into", tmp_path / "old.db")
        assert by_sdk(tmp_path / "old.db", ["s"], MORE) == {"s": main}
        undone(address(case), report["run_id"])
        assert rows(case) == before


def test_from_one_server_into_another_store_and_back(request: pytest.FixtureRequest) -> None:
    with made(MAKERS["postgresql"], request) as hot, made(MAKERS["mariadb"], request) as cold:
        fill(hot, ["a", "b"], turn(2), idle=timedelta(days=60))
        cold.write("b", turn(9))  # another session of that id
        before, other = rows(hot), cold.read("b")
        report = rotated(address(hot), "--older-than", "30d", "--into", address(cold), status=3)
        assert report["removed"]["sessions"] == 1
        assert [failed["session_id"] for failed in report["failed"]] == ["b"]
        assert cold.read("a") == turn(2)
        assert cold.read("b") == other
        assert hot.read("b") == turn(2)
        undone(address(hot), report["run_id"])
        assert rows(hot) == before


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def crowd(request: pytest.FixtureRequest) -> Iterator[Live]:
    """Stale sessions; 60 of them are about to come alive again."""
    for store in store_of(MAKERS[request.param], request):
        fill(store.case, [*LIVE_IDS, *(f"stale-{n:04}" for n in range(STALE_SESSIONS))], SEED, idle=timedelta(days=2))
        yield store


def test_a_writer_at_work_beside_a_rotation(crowd: Live, sdk: SdkProcess, tmp_path: Path) -> None:
    """No error reaches it, and each session is whole: in the store, in a file, or in a file and begun anew."""
    rotate = [
        "rotate", "-s", crowd.url, "--older-than", "1h", "--into", tmp_path / "cold.db", "--min-idle", "1m",
        "--max-share", "1.0", "--yes", "--batch-size", "20", "--rate", "600", "-o", "json",
    ]  # fmt: skip
    with sdk.running(crowd.url, LIVE_IDS, at_random=True, think_s=0.002, **crowd.how) as writer:
        writer.wait_appends(5)
        with running(*rotate) as process:
            seen = _while_it_moves(crowd.case, process)
            report = finished(process)
        writer.wait_appends(5)
    assert not writer.errors
    assert len({append.session for append in writer.appends if seen[0] <= append.at <= seen[1]}) >= 5
    moved = sessions_in(tmp_path / "cold.db")
    assert len(moved) >= report["removed"]["sessions"] >= STALE_SESSIONS
    assert report["skipped"]["failed"] == report["skipped"]["missing"] == 0
    for session_id in LIVE_IDS:
        here = [json.loads(text) for text in crowd.case.texts(session_id)]
        appended = writer.acknowledged.get(session_id, [])
        if here != SEED + appended:
            assert session_id in moved
            assert here == appended
    if isinstance(crowd.case, SqliteCase):
        assert crowd.case.execute("PRAGMA integrity_check") == [("ok",)]


def _while_it_moves(case: SdkCase, process: subprocess.Popen[bytes]) -> tuple[float, float]:
    seen: list[float] = []
    everything = case.execute("SELECT count(*) FROM agent_sessions WHERE session_id LIKE 'stale-%'")[0][0]
    while process.poll() is None:
        at = time.time()
        (stale,) = case.execute("SELECT count(*) FROM agent_sessions WHERE session_id LIKE 'stale-%'")[0]
        if 0 < stale < everything:
            seen.append(at)
        time.sleep(0.02)
    assert seen, "the rotation was not seen at work"
    return seen[0], seen[-1]


def test_killed_at_random_instants(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A few of those that tests/soak/archive_kills.py --command rotate does by hundreds, on every kind of store."""
    with made(MAKERS["sqlite"], request) as store, forker() as process:
        tally = killed(store, tmp_path, process, kills=6, seed=5, sessions=80, command="rotate")
    assert (tally.breaches, tally.kills) == ([], 6)
