"""Agents go on writing while sessions are deleted: what they append is never lost, and they see no error.

The writer is the SDK in a process of its own, sessionctl a process beside it. Each test makes the two
overlap at one exact point and proves that they did: an append committed after the plan, one open when
the batch begins, one begun while the batch is open. The last one lets chance choose the points.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pexpect
import pytest
from operating import ledger_file, ledger_rows, on_terminal, running, wait_for
from sdk_cases import CASES, CaseMaker, MariadbCase, PostgresCase, SdkCase, SqliteCase, fill, made
from sdk_process import LiveWriter, SdkProcess
from servers import mysql_connect, postgres_connect

from sessionctl.testing.case import turn, user

OLD = [*turn(1), *turn(2)]
NEW = [user("are you still there?")]
STALE = ["--older-than", "30d", "--max-share", "1.0"]
HOLD_S = 0.5

EVERYWHERE = ["sqlite", "sqlite-sqlalchemy", "sqlite-advanced", "postgresql", "mariadb", "mariadb-no-fk"]
MAKERS = {maker.name: maker for maker in CASES}


@dataclass(frozen=True, kw_only=True)
class Live:
    """A store with two stale sessions, ``changing`` and ``stale``; ``how`` says how the writer opens it."""

    case: SdkCase
    url: str
    how: dict[str, str]

    def survives_whole(self, session_id: str = "changing") -> None:
        """Nothing of it is missing, neither to the SDK nor in the tables."""
        assert self.case.read(session_id) == OLD + NEW
        assert [json.loads(text) for text in self.case.texts(session_id)] == OLD + NEW

    def begun_anew(self, session_id: str = "changing") -> None:
        assert self.case.read(session_id) == NEW
        assert [json.loads(text) for text in self.case.texts(session_id)] == NEW

    def is_gone(self, session_id: str = "stale") -> None:
        assert self.case.remains(session_id) <= self.case.residue


def store_of(maker: CaseMaker, request: pytest.FixtureRequest) -> Iterator[Live]:
    with made(maker, request) as case:
        if isinstance(case, SqliteCase):
            live = Live(case=case, url=str(case.path), how={"kind": case._class})
        else:
            assert isinstance(case, PostgresCase | MariadbCase)
            live = Live(case=case, url=case.url, how={"kind": "SQLAlchemySession"})
        yield live


@pytest.fixture(params=EVERYWHERE)
def live(request: pytest.FixtureRequest) -> Iterator[Live]:
    for store in store_of(MAKERS[request.param], request):
        long_ago = datetime.now(UTC).replace(microsecond=0) - timedelta(days=60)
        for session_id in ("changing", "stale"):
            store.case.write(session_id, OLD[:4], OLD[4:])
            store.case.stamp(session_id, updated_at=long_ago, created_at=long_ago)
        yield store


def finished(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The report of a purge that was not stopped by anything."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    report: dict[str, Any] = json.loads(out)
    assert report["stopped"] == "done"
    return report


def has_begun(home: Path) -> bool:
    """Is a run in the ledger? It is written right before the first batch."""
    if not ledger_file(home).exists():
        return False
    with contextlib.suppress(sqlite3.OperationalError):  # its table is being made
        return bool(ledger_rows(home))
    return False


@pytest.mark.parametrize("release", ["sdk", "old_sdk"])
def test_an_append_committed_after_the_plan(live: Live, release: str, request: pytest.FixtureRequest) -> None:
    writer: SdkProcess = request.getfixturevalue(release)
    child = on_terminal("purge", "-s", live.url, *STALE, "-o", "json")
    with contextlib.closing(child):
        child.expect(rb"\[y/N\] ")  # the plan is made and shown
        writer.add(live.url, "changing", NEW, **live.how)
        child.sendline(b"y")
        child.expect(re.compile(rb'\{"schema".*\}'))
        report = json.loads(child.after)
        child.expect(pexpect.EOF)
    assert child.exitstatus == 0
    assert report["matched"]["sessions"] == 2
    assert report["removed"] == {"sessions": 1, "items": len(OLD), "bytes": report["removed"]["bytes"]}
    assert report["skipped"]["changed"] == 1
    live.survives_whole()
    live.is_gone()


def test_an_append_open_when_the_batch_begins(live: Live, sdk: SdkProcess, home: Path) -> None:
    held = sdk.begin_add(live.url, "changing", NEW, hold="commit", **live.how)
    held.wait_holding()
    with running("purge", "-s", live.url, *STALE, "--yes", "-o", "json") as purge:
        if isinstance(live.case, SqliteCase):  # there is one writer at a time: the batch waits for the append
            wait_for(lambda: has_begun(home), "the first batch")
            with pytest.raises(subprocess.TimeoutExpired):
                purge.wait(HOLD_S)
            assert [len(live.case.texts(session_id)) for session_id in ("changing", "stale")] == [len(OLD)] * 2
            held.go()
            held.result()
            report = finished(purge)
            assert report["elapsed_s"] >= HOLD_S
            assert report["skipped"]["changed"] == 1
        else:  # the batch passes over what the append has locked
            report = finished(purge)
            live.is_gone()
            assert not held.is_done
            held.go()
            held.result()
            assert report["skipped"]["active"] == 1
    assert report["matched"]["sessions"] == 2
    assert report["removed"]["sessions"] == 1
    live.survives_whole()
    live.is_gone()


def test_an_append_begun_while_the_batch_is_open(live: Live, sdk: SdkProcess) -> None:
    assert sdk.get(live.url, "changing", **live.how) == OLD  # the application has it open
    obstacle = _slow_deletion if isinstance(live.case, SqliteCase) else _locked_item
    with (
        obstacle(live) as batch_is_open,
        running("purge", "-s", live.url, *STALE, "--allow-cascade", "--yes", "-o", "json") as purge,
    ):
        batch_is_open.wait(appends=0)
        held = sdk.begin_add(live.url, "changing", NEW, hold=None, **live.how)
        held.wait_begun()
        batch_is_open.wait(appends=1)  # it waits behind the batch: the two overlap
        assert purge.poll() is None
        batch_is_open.end()
        held.result()
        report = finished(purge)
    assert report["matched"]["sessions"] == 2
    if report["removed"]["sessions"] == 2:
        live.begun_anew()
    else:  # a very slow machine: the batch gave up its locks for a moment and found it changed
        assert report["skipped"]["changed"] == 1
        live.survives_whole()
    live.is_gone()


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """What keeps a batch open. ``wait`` returns once it is and so many appends wait behind it."""

    wait: Callable[..., None]
    end: Callable[[], None]


@contextlib.contextmanager
def _locked_item(live: Live) -> Iterator[Obstacle]:
    """Another connection has locked one item of ``stale``: the batch locks both sessions, then waits for it."""
    key = live.case.execute("SELECT max(id) FROM agent_messages WHERE session_id = ?", "stale")[0][0]
    if isinstance(live.case, PostgresCase):
        connect, waits = postgres_connect, "pg_stat_activity WHERE wait_event_type = 'Lock'"
    else:
        connect, waits = mysql_connect, "information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"

    def wait(appends: int) -> None:
        def waiting() -> bool:
            time.sleep(0.11)  # MariaDB renews this table only when nobody has looked at it for 0.1 s
            return bool(live.case.execute(f"SELECT count(*) FROM {waits}")[0][0] > appends)

        wait_for(waiting, f"the batch and {appends} appends waiting for locks")

    with contextlib.closing(connect(live.url)) as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT id FROM agent_messages WHERE id = {key} FOR UPDATE")
        yield Obstacle(wait=wait, end=other.rollback)


@contextlib.contextmanager
def _slow_deletion(live: Live) -> Iterator[Obstacle]:
    """A trigger on the deletion of ``stale`` that counts for about a second and a half."""
    case = live.case
    assert isinstance(case, SqliteCase)
    case.execute("CREATE TABLE ballast (n INTEGER)")
    count = "SELECT count(*) FROM ballast a, ballast b WHERE a.n + b.n < 0"
    rows, took = 1000, 0.0
    numbers = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?)"
    case.execute(f"INSERT INTO ballast {numbers} SELECT n FROM c", rows)
    began = time.perf_counter()
    case.execute(count)
    took = time.perf_counter() - began
    case.execute("DELETE FROM ballast")
    case.execute(f"INSERT INTO ballast {numbers} SELECT n FROM c", int(rows * (1.5 / took) ** 0.5))
    case.execute(f"CREATE TRIGGER slow AFTER DELETE ON agent_sessions WHEN old.session_id = 'stale' BEGIN {count}; END")

    def wait(appends: int) -> None:
        del appends  # whether one waits cannot be seen from outside: that the lock is still there can
        wait_for(lambda: _is_locked(case.path), "the batch")

    yield Obstacle(wait=wait, end=lambda: None)


def _is_locked(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
        return False


# --- at random ----------------------------------------------------------------------------------

STALE_SESSIONS, LIVE_SESSIONS = 2000, 200
LIVE_IDS = [f"live-{number:03}" for number in range(LIVE_SESSIONS)]
SEED = turn(3)


@pytest.fixture(params=["sqlite", "sqlite-sqlalchemy", "postgresql", "mariadb"])
def crowd(request: pytest.FixtureRequest) -> Iterator[Live]:
    """A store of 2,200 stale sessions of one turn each; 200 of them are about to come alive again."""
    for store in store_of(MAKERS[request.param], request):
        ids = [*LIVE_IDS, *(f"stale-{number:04}" for number in range(STALE_SESSIONS))]
        fill(store.case, ids, SEED, idle=timedelta(days=2))
        yield store


def test_a_writer_at_work_beside_a_purge(crowd: Live, sdk: SdkProcess) -> None:
    case = crowd.case
    purge_stale = ["purge", "-s", crowd.url, "--older-than", "1h", "--min-idle", "1m", "--max-share", "1.0", "--yes"]
    slowly = ["--batch-size", "20", "--rate", "800"]  # so that the two are at it together for some time
    with sdk.running(crowd.url, LIVE_IDS, at_random=True, think_s=0.002, **crowd.how) as writer:
        writer.wait_appends(5)
        with running(*purge_stale, *slowly, "-o", "json") as purge:
            first, last = _while_it_deletes(case, purge)
            report = finished(purge)
        writer.wait_appends(5)
    assert not writer.errors
    during = [append for append in writer.appends if first <= append.at <= last]
    assert len({append.session for append in during}) >= 5
    survivors = _fates(case, writer)
    assert case.execute("SELECT count(*) FROM agent_sessions WHERE session_id LIKE 'stale-%'") == [(0,)]
    assert case.execute("SELECT count(*) FROM agent_messages WHERE session_id LIKE 'stale-%'") == [(0,)]
    assert report["removed"]["sessions"] == STALE_SESSIONS + LIVE_SESSIONS - survivors
    skipped = report["skipped"]
    assert skipped["failed"] == skipped["missing"] == 0
    left = report["matched"]["sessions"] - report["removed"]["sessions"]
    assert left == skipped["changed"] + skipped["active"]


def _while_it_deletes(case: SdkCase, purge: subprocess.Popen[bytes]) -> tuple[float, float]:
    """From when to when the stale sessions were seen to be less than all, and more than none."""
    seen: list[float] = []
    while purge.poll() is None:
        at = time.time()
        (stale,) = case.execute("SELECT count(*) FROM agent_sessions WHERE session_id LIKE 'stale-%'")[0]
        if 0 < stale < STALE_SESSIONS:
            seen.append(at)
        time.sleep(0.02)  # the looking itself must not slow the two down
    assert seen, "the purge was not seen at work"
    return seen[0], seen[-1]


def _fates(case: SdkCase, writer: LiveWriter) -> int:
    """Each session that was written to is whole, or was removed whole and begun anew; how many kept their past."""
    acknowledged = writer.acknowledged
    survivors = 0
    for session_id in LIVE_IDS:
        found = [json.loads(text) for text in case.texts(session_id)]
        appended = acknowledged.get(session_id, [])
        if appended and found != appended:
            assert found == SEED + appended, session_id
            survivors += 1
        elif not appended:
            assert case.remains(session_id) == set(), session_id
    assert survivors
    return survivors
