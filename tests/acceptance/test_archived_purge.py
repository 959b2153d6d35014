"""``purge --archive`` and ``undo`` on each kind of store: every byte comes back, whatever was done between."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from acceptance.transcripts import MYSQL, POSTGRESQL, SQLITE, load, read_transcripts
from operating import in_process, ledger_file, running, wait_for
from purged_servers import report_of
from sdk_cases import CASES, CaseMaker, PostgresCase, SdkCase, SqliteCase, fill, made
from soak.forker import forker
from soak.killing import killed

from sessionctl.archive.reader import ArchiveReader
from sessionctl.ledger import Ledger, Run
from sessionctl.testing.case import turn, user

NAMES = ("sqlite", "sqlite-sqlalchemy", "sqlite-advanced", "postgresql", "mariadb")
MAKERS = [maker for maker in CASES if maker.name in NAMES]
BACK = [user("I am back")]
_AT = "TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL"
OWN_TABLES = (
    f"CREATE TABLE agent_sessions (session_id VARCHAR PRIMARY KEY, created_at {_AT}, updated_at {_AT})",
    f"CREATE TABLE agent_messages (id INTEGER PRIMARY KEY, session_id VARCHAR, message_data TEXT, created_at {_AT})",
)
GENERATIONS = "session_clear_generations"  # they count deletions and never go back


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.name)
def case(request: pytest.FixtureRequest) -> Iterator[SdkCase]:
    maker: CaseMaker = request.param
    with made(maker, request) as made_case:
        yield made_case


def address(case: SdkCase) -> str:
    return str(case.path) if isinstance(case, SqliteCase) else str(getattr(case, "url", ""))


def rows(case: SdkCase) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, past sessionctl."""
    return {
        table: sorted(case.execute(f"SELECT * FROM {table}"), key=repr)
        for table in case._tables
        if table != GENERATIONS
    }


def purged(case: SdkCase, directory: Path) -> str:
    """Purge with an archive; the run."""
    ran = in_process(
        "purge", "-s", address(case), "--older-than", "30d", "--max-share", "1", "--yes", "-o", "json",
        "--archive", directory,
    )  # fmt: skip
    assert ran.status == 0, ran.said
    assert ran.json["removed"] == ran.json["matched"]
    return str(ran.json["run_id"])


def undone(case: SdkCase, run_id: str, status: int = 0) -> dict[str, Any]:
    ran = in_process("undo", run_id, "-s", address(case), "--yes", "-o", "json")
    assert ran.status == status, ran.said
    return ran.json


def test_real_transcripts_come_back_to_the_byte(case: SdkCase, tmp_path: Path) -> None:
    dialect = SQLITE if isinstance(case, SqliteCase) else POSTGRESQL if isinstance(case, PostgresCase) else MYSQL
    some = read_transcripts()[:: 25 if isinstance(case, SqliteCase) else 12]
    store = load(case, address(case), dialect, some)
    stale = store.idle_for(30 * 86400)
    read = {session_id: case.read(session_id) for session_id in stale}  # Advanced: this reserves its branch
    before = rows(case)
    assert len(stale) > 5
    run_id = purged(case, tmp_path / "archive")
    assert set(store.rows()).isdisjoint(stale)
    assert undone(case, run_id)["restored"]["sessions"] == len(stale)
    assert rows(case) == before
    assert {session_id: case.read(session_id) for session_id in stale} == read


def test_what_the_application_did_between_is_kept(case: SdkCase, tmp_path: Path) -> None:
    """Its user came back; it was begun anew and cleared; rows of others, and other rows of its own, stand under
    its keys; and nothing at all."""
    names = ["back", "cleared", "moved", "blocked", "quiet"]
    for name in names:
        fill(case, [name], turn(3), idle=timedelta(days=60))
    fill(case, ["live"], turn(1), idle=timedelta(days=1))
    before = {name: case.read(name) for name in names}
    keys = dict(case.execute("SELECT session_id, min(id) FROM agent_messages GROUP BY session_id"))
    run_id = purged(case, tmp_path / "archive")
    case.write("back", BACK)
    case.write("cleared", BACK)
    case._call("cleared", lambda session: session.clear_session())
    for name, place in (("theirs", "moved"), ("blocked", "blocked")):
        case.execute("INSERT INTO agent_sessions (session_id) VALUES (?)", name)
        case.execute("INSERT INTO agent_messages (id, session_id, message_data) VALUES (?, ?, '{}')", keys[place], name)

    report = undone(case, run_id, status=3)
    assert (report["restored"]["sessions"], report["refused"]) == (4, ["blocked"])
    assert case.read("back") == before["back"] + BACK
    for name in ("cleared", "moved", "quiet"):
        assert case.read(name) == before[name]
    assert case.texts("theirs") == case.texts("blocked") == ["{}"]
    case.write("back", turn(4))
    assert case.read("back") == [*before["back"], *BACK, *turn(4)]

    case._call("quiet", lambda session: session.clear_session())
    again = undone(case, run_id, status=3)
    assert (again["restored"]["sessions"], again["refused"]) == (0, ["blocked"])
    assert case.read("quiet") == []


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_two_runs_on_one_store_at_the_same_time(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, home: Path
) -> None:
    """Both archive all that they planned; each session goes once, by the run whose archive answers for it."""
    [maker] = [maker for maker in CASES if maker.name == name]
    with made(maker, request) as case, ExitStack() as stack:
        names = {f"s{number:03}" for number in range(300)}
        fill(case, sorted(names), turn(1), idle=timedelta(days=60))
        before = rows(case)
        flags = (
            "--older-than",
            "30d",
            "--max-share",
            "1",
            "--yes",
            "-o",
            "json",
            "--archive",
            str(tmp_path / "archive"),
        )
        slow = ("--batch-size", "10", "--rate", "60")
        both = [stack.enter_context(running("purge", "-s", address(case), *flags, *slow))]
        counted = "SELECT count(*) FROM agent_sessions"
        wait_for(lambda: case.execute(counted)[0][0] < len(names), "the first batch", every=0.05)
        both.append(stack.enter_context(running("purge", "-s", address(case), *flags)))
        reports = [report_of(process) for process in both]
        removed = [report["removed"]["sessions"] for report in reports]
        assert min(removed) > 0, "they did not meet"
        assert sum(removed) == len(names)
        for report in reports:
            assert report["matched"]["sessions"] == report["removed"]["sessions"] + sum(report["skipped"].values())
        ledger, gone = Ledger(ledger_file(home)), Counter[str]()
        for report in reports:
            for segment in ledger.segments(report["run_id"]):
                assert segment.committed_at is not None
                with ArchiveReader(f"{report['archive']}/{segment.name}") as reader:
                    gone.update({whole.session.id for whole in reader.sessions()} - set(segment.kept))
        assert gone == dict.fromkeys(names, 1)
        assert [undone(case, report["run_id"])["restored"]["sessions"] for report in reports] == removed
        assert rows(case) == before


def test_keys_that_are_given_again(tmp_path: Path, home: Path) -> None:
    """Tables of the application's own migrations, without AUTOINCREMENT: what is new takes the keys of what went."""
    [maker] = [maker for maker in CASES if maker.name == "sqlite-sqlalchemy"]
    with made(maker, _Place(tmp_path)) as case:
        for statement in OWN_TABLES:
            case.execute(statement)
        names = [f"s{number}" for number in range(5)]
        for number, name in enumerate(names):
            fill(case, [name], turn(number), idle=timedelta(days=60))
        before = {name: case.read(name) for name in names}
        keys = {key for (key,) in case.execute("SELECT id FROM agent_messages")}
        run_id = purged(case, tmp_path / "archive")
        for name in ("s1", "new"):
            case.write(name, turn(9))
        assert {key for (key,) in case.execute("SELECT id FROM agent_messages")} < keys

        report = undone(case, run_id, status=3)
        assert (report["restored"]["sessions"], report["refused"]) == (4, ["s1"])
        now = {**before, "s1": turn(9), "new": turn(9)}
        assert {name: case.read(name) for name in now} == now

        with closing(sqlite3.connect(ledger_file(home))) as db, db:  # as after a kill before this was recorded
            db.execute("UPDATE segments SET returned = '[]'")
        case.write("s4", BACK)
        assert undone(case, run_id, status=3)["restored"]["sessions"] == 0
        now["s4"] = before["s4"] + BACK
        assert {name: case.read(name) for name in now} == now
        assert in_process("restore", tmp_path / "archive", "-s", address(case), "--id", "s1", "--as", "s1-before",
                          "--yes").status == 0  # fmt: skip
        assert case.read("s1-before") == before["s1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_undo_cut_off_is_run_again(tmp_path: Path, number: signal.Signals) -> None:
    """In the midst of it: some sessions are back, others are not."""
    with ExitStack() as stack:
        [maker] = [maker for maker in CASES if maker.name == "sqlite"]
        case = stack.enter_context(made(maker, _Place(tmp_path)))
        names = [f"s{number:04}" for number in range(3000)]
        fill(case, names, turn(1), idle=timedelta(days=60))
        before = rows(case)
        run_id = purged(case, tmp_path / "archive")
        count = "SELECT count(*) FROM agent_sessions"
        with running("undo", run_id, "-s", address(case), "--yes") as process:
            wait_for(lambda: case.execute(count)[0][0] >= 100, "the first portions")
            os.kill(process.pid, number)
            process.wait(timeout=20)
        if number == signal.SIGTERM:
            assert process.returncode in (143, 0)
        back = case.execute(count)[0][0]
        report = undone(case, run_id)
        assert report["restored"]["sessions"] == len(names) - back
        assert rows(case) == before


class _Place:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def getfixturevalue(self, argname: str) -> Any:
        assert argname == "tmp_path"
        return self._directory


def runs_in(home: Path) -> tuple[Run, ...]:
    ledger = Ledger.existing(home / ".local/state/sessionctl/ledger.db")
    return ledger.runs() if ledger else ()


def test_an_undo_of_a_run_under_way_is_refused(tmp_path: Path, home: Path) -> None:
    with ExitStack() as stack:
        [maker] = [maker for maker in CASES if maker.name == "sqlite"]
        case = stack.enter_context(made(maker, _Place(tmp_path)))
        fill(case, [f"s{number:04}" for number in range(60)], turn(1), idle=timedelta(days=60))
        slow = ("--batch-size", "1", "--rate", "5", "--max-share", "1", "--archive", str(tmp_path / "archive"))
        with running("purge", "-s", address(case), "--older-than", "30d", "--yes", *slow) as process:
            # By the ledger: whoever opens and closes the file again and again looks like its application.
            wait_for(lambda: any(run.counts.get("removed", {}).get("sessions") for run in runs_in(home)), "a batch")
            [run] = runs_in(home)
            ran = in_process("undo", run.run_id, "--yes")
            assert process.poll() is None, "it was over too soon to tell"
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        assert (ran.status, "is still under way" in ran.said) == (5, True)
        undone(case, run.run_id)
        assert case.execute("SELECT count(*) FROM agent_sessions")[0][0] == 60


def test_killed_at_random_instants(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A few of those that tests/soak/archive_kills.py does by hundreds, on every kind of store."""
    [maker] = [maker for maker in CASES if maker.name == "sqlite"]
    with made(maker, request) as store, forker() as process:
        tally = killed(store, tmp_path, process, kills=10, seed=5, sessions=120)
    assert (tally.breaches, tally.kills) == ([], 10)
