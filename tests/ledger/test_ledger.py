"""The ledger records every run, whoever runs beside it and however a run ends."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sessionctl.core.report import Stopped
from sessionctl.errors import LedgerUnavailable
from sessionctl.ledger import Ledger, Run, Segment, new_run, new_run_id, private_directory

NOW = datetime(2026, 3, 1, 12, 30, 0, 125000, UTC)
PROCESSES = 8
RUNS_EACH = 10

RUNNER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from sessionctl.ledger import Ledger, new_run
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    ledger = Ledger.open(Path(sys.argv[1]))
    run = new_run("purge", "sqlite:///a.db", datetime.now(UTC), {})
    ledger.begin(run)
    print(run.run_id, flush=True)
    ledger.progress(run.run_id, {"removed": {"sessions": number}})
    if len(sys.argv) > 3:
        sys.stdin.readline()
    ledger.finish(run.run_id, {"removed": {"sessions": number + 1}}, "done")
"""


def start(path: Path, runs: int, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(path), str(runs), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "sessionctl" / "ledger.db"


def a_run(**facts: object) -> Run:
    return new_run("purge", "postgresql://ops:***@db/agents", NOW, {}, **facts)  # type: ignore[arg-type]


def test_a_run_is_read_back_as_it_was_recorded(path: Path) -> None:
    ledger = Ledger.open(path)
    run = a_run(reason="ticket 7", criteria=("older than 30 days", "not matching vip:*"), digest="abc")
    ledger.begin(run)

    begun = ledger.run(run.run_id)
    assert begun is not None
    assert (begun.started_at, begun.heartbeat_at, begun.stopped, begun.ended_at) == (NOW, NOW, None, None)
    assert (begun.criteria, begun.reason, begun.digest) == (run.criteria, run.reason, run.digest)
    assert (begun.pid, begun.host, begun.store) == (os.getpid(), run.host, "postgresql://ops:***@db/agents")

    ledger.progress(run.run_id, {"removed": {"sessions": 1}})
    moved = ledger.run(run.run_id)
    assert moved is not None
    assert moved.counts == {"removed": {"sessions": 1}}
    assert moved.heartbeat_at is not None
    assert moved.heartbeat_at > NOW
    assert moved.stopped is None

    counts = {"matched": {"sessions": 3}, "removed": {"sessions": 2}, "skipped": {"failed": 1}}
    ledger.finish(run.run_id, counts, Stopped.ERROR, "the store went away")
    ended = ledger.run(run.run_id)
    assert ended is not None
    assert (ended.counts, ended.stopped, ended.error) == (counts, Stopped.ERROR, "the store went away")
    assert ended.ended_at is not None


def test_runs_come_newest_first_and_by_store(path: Path) -> None:
    ledger = Ledger.open(path)
    made = [new_run("purge", f"store-{n % 2}", NOW + timedelta(seconds=n), {}) for n in range(6)]
    for run in reversed(made):
        ledger.begin(run)
    assert [run.run_id for run in ledger.runs()] == [run.run_id for run in reversed(made)]
    assert [run.run_id for run in ledger.runs(limit=2)] == [made[5].run_id, made[4].run_id]
    assert [run.run_id for run in ledger.runs(store="store-0", limit=2)] == [made[4].run_id, made[2].run_id]
    assert ledger.run("nothing") is None


def test_the_actor_is_the_one_named_in_the_environment() -> None:
    assert new_run("purge", "s", NOW, {"SESSIONCTL_ACTOR": "cron@ops"}).actor == "cron@ops"
    run = new_run("purge", "s", NOW, {})
    assert run.actor == run.user != ""


def test_ids_sort_by_time_and_do_not_repeat() -> None:
    ids = [new_run_id(NOW + timedelta(milliseconds=n)) for n in range(2000)]
    assert ids == sorted(ids)
    assert len({new_run_id(NOW) for _ in range(20000)}) == 20000
    assert new_run_id(datetime(2100, 1, 1, tzinfo=UTC)) > ids[-1]


@pytest.mark.parametrize(
    "text", ["\x1b[31m red", "nul \0 inside", "lone \udc80\ud83d", "'); DROP TABLE runs; --", "😀" * 999]
)
def test_hostile_text_is_kept(path: Path, text: str) -> None:
    ledger = Ledger.open(path)
    run = new_run("purge", text, NOW, {"SESSIONCTL_ACTOR": text}, reason=text, criteria=(text,))
    ledger.begin(run)
    ledger.finish(run.run_id, {text: 1}, "error", text)
    found = ledger.run(run.run_id)
    assert found is not None
    assert found.criteria == (text,)
    assert found.counts == {text: 1}
    spelled = text.encode("utf-8", "backslashreplace").decode()
    assert (found.actor, found.reason, found.store, found.error) == (spelled,) * 4
    assert len(ledger.runs(store=text)) == 1


def test_processes_side_by_side_lose_no_run(path: Path) -> None:
    """Each opens the ledger anew for every run, the first of them all at once on a missing file."""
    runners = [start(path, RUNS_EACH) for _ in range(PROCESSES)]
    for runner in runners:
        assert runner.stdin
        runner.stdin.write("\n")
        runner.stdin.flush()
    ids: set[str] = set()
    for runner in runners:
        out, err = runner.communicate(timeout=100)
        assert (runner.returncode, err) == (0, "")
        ids |= set(out.split())
    runs = Ledger.open(path).runs()
    assert len(ids) == PROCESSES * RUNS_EACH
    assert {run.run_id for run in runs} == ids
    assert {run.stopped for run in runs} == {Stopped.DONE}
    assert sorted(run.counts["removed"]["sessions"] for run in runs) == sorted([*range(1, RUNS_EACH + 1)] * PROCESSES)


def test_threads_share_one_ledger(path: Path) -> None:
    ledger = Ledger.open(path)

    def one(number: int) -> None:
        run = new_run("purge", f"store-{number}", NOW, {})
        ledger.begin(run)
        ledger.finish(run.run_id, {}, "done")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(40)))
    assert {run.store for run in ledger.runs()} == {f"store-{number}" for number in range(40)}


def test_a_killed_run_stays_readable_and_unfinished(path: Path) -> None:
    runner = start(path, 1, "wait")
    assert runner.stdin
    assert runner.stdout
    runner.stdin.write("\n")
    runner.stdin.flush()
    run_id = runner.stdout.readline().strip()
    runner.send_signal(signal.SIGKILL)
    runner.communicate(timeout=30)

    ledger = Ledger.open(path)
    run = ledger.run(run_id)
    assert run is not None
    assert (run.stopped, run.ended_at, run.pid) == (None, None, runner.pid)
    ledger.begin(a_run())
    assert len(ledger.runs()) == 2


def test_the_files_are_the_owners_alone(path: Path) -> None:
    ledger = Ledger.open(path)
    with closing(sqlite3.connect(path)) as reader:  # keeps the side files in being
        reader.execute("SELECT count(*) FROM runs").fetchone()
        ledger.begin(a_run())
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_reading_makes_nothing(path: Path) -> None:
    assert Ledger.existing(path) is None
    assert not path.parent.parent.exists()
    Ledger.open(path).begin(a_run())
    found = Ledger.existing(path)
    assert found is not None
    assert len(found.runs()) == 1


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnavailable, match="not a directory"):
        Ledger.open(tmp_path / "file" / "ledger.db")
    with pytest.raises(LedgerUnavailable, match="not a directory"):
        private_directory(tmp_path / "file")


def test_a_directory_at_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="cannot be used"):
        Ledger.open(tmp_path)


def test_a_directory_without_write_permission_is_refused(tmp_path: Path) -> None:
    """Root may write anywhere, so the look is taken as an ordinary user."""
    script = (
        "import os, sys\nfrom pathlib import Path\n"
        "from sessionctl.ledger import Ledger\nfrom sessionctl.errors import LedgerUnavailable\n"
        "Ledger.open(Path('ours/ledger.db'))\n"
        "os.chmod('ours/ledger.db', 0o444); os.chmod('ours', 0o555); os.chmod('.', 0o555)\n"
        "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "for place in ('theirs/ledger.db', 'ours/ledger.db'):\n"
        "    try: Ledger.open(Path(place))\n"
        "    except LedgerUnavailable as error: print(error.message)\n"
    )
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    tmp_path.chmod(0o755)
    (tmp_path / "ours").chmod(0o755)
    first, second = done.stdout.splitlines()
    assert "permission denied" in first
    assert "ours/ledger.db" in second


def test_a_full_disk_shows_before_the_first_change(path: Path) -> None:
    Ledger.open(path)
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from sessionctl.ledger import Ledger\nfrom sessionctl.errors import LedgerUnavailable\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
        "try: Ledger.open(Path(sys.argv[1]))\n"
        "except LedgerUnavailable as error: print(error.message)\n"
        "else: print('opened')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert "the ledger of runs cannot be used" in done.stdout


def test_what_is_no_ledger_is_left_alone(path: Path) -> None:
    private_directory(path.parent)
    path.write_bytes(b"this is not a database, whatever its name says " * 100)
    before = path.read_bytes()
    with pytest.raises(LedgerUnavailable, match="not a database"):
        Ledger.open(path)
    assert path.read_bytes() == before

    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE agent_sessions (session_id TEXT)")
    before = path.read_bytes()
    with pytest.raises(LedgerUnavailable, match="something else"):
        Ledger.open(path)
    assert path.read_bytes() == before


LAYOUT_1 = """
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, command TEXT NOT NULL, store TEXT NOT NULL, actor TEXT NOT NULL, user TEXT NOT NULL,
    host TEXT NOT NULL, pid INTEGER NOT NULL, reason TEXT, criteria TEXT NOT NULL, digest TEXT,
    started_at TEXT NOT NULL, heartbeat_at TEXT NOT NULL, ended_at TEXT, stopped TEXT, counts TEXT NOT NULL, error TEXT
) WITHOUT ROWID;
INSERT INTO runs VALUES ('00old', 'purge', 'sqlite:////a.db', 'mia', 'mia', 'host', 1, 'retention', '["older"]', 'd',
    '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z', '2026-01-01T00:01:00Z', 'done', '{"removed": {"sessions": 3}}',
    NULL);
PRAGMA application_id = 1396921412;
PRAGMA user_version = 1;
"""


def test_a_ledger_of_the_layout_before_is_read_and_then_taken_further(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as db:
        db.executescript(LAYOUT_1)
    before = path.read_bytes()
    reading = Ledger.existing(path)
    assert reading is not None
    [old] = reading.runs()
    assert (old.run_id, old.archive, old.counts) == ("00old", None, {"removed": {"sessions": 3}})
    assert (reading.segments("00old"), reading.unsettled("sqlite:////a.db")) == ((), ())
    assert path.read_bytes() == before
    ledger = Ledger.open(path)
    ledger.begin(a_run(archive="/archives/x"))
    assert ledger.runs()[-1] == old
    assert ledger.runs()[0].archive == "/archives/x"


def test_segments_from_sealed_to_returned(path: Path) -> None:
    ledger, run = Ledger.open(path), a_run(archive="/archives/x")
    ledger.begin(run)
    one, two = (
        Segment(run_id=run.run_id, number=n, name=f"{n}.zst", sessions=3, items=6, bytes=9, sha256="0", sealed_at=NOW)
        for n in (1, 2)
    )
    ledger.sealed(one)
    ledger.sealed(two)
    assert ledger.segments(run.run_id) == (one, two)
    assert [found.run_id for found in ledger.unsettled(run.store)] == [run.run_id]
    ledger.committed(run.run_id, 1, ["a"], wholly=False)
    assert (ledger.segments(run.run_id)[0].committed_at, ledger.segments(run.run_id)[0].kept) == (None, ("a",))
    for number in (1, 2):
        ledger.committed(run.run_id, number, ["a"])
    ledger.returned(run.run_id, 2, ["b\udcff"])
    assert [(s.kept, s.returned) for s in ledger.segments(run.run_id)] == [(("a",), ()), (("a",), ("b\udcff",))]
    assert ledger.unsettled(run.store) == ()


def test_when_a_run_is_over() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    here = a_run(heartbeat_at=NOW)
    assert not here.is_over(NOW)
    assert here.is_over(NOW + timedelta(minutes=6))
    assert replace(here, ended_at=NOW).is_over(NOW)
    assert replace(here, pid=gone.pid).is_over(NOW)
    assert not replace(here, pid=gone.pid, host="another").is_over(NOW)


def test_a_newer_layout_is_refused(path: Path) -> None:
    Ledger.open(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerUnavailable, match="newer sessionctl") as caught:
        Ledger.open(path)
    assert caught.value.hint == "update sessionctl"


def test_a_damaged_file_is_refused(path: Path) -> None:
    ledger = Ledger.open(path)
    for _ in range(50):
        ledger.begin(a_run(reason="x" * 1000))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(LedgerUnavailable):
        Ledger.open(path).begin(a_run())


def test_a_held_lock_ends_in_a_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger.open(path)
    monkeypatch.setattr("sessionctl.ledger.local._BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable, match="locked"):
            ledger.begin(a_run())
        assert ledger.runs() == ()
    with pytest.raises(LedgerUnavailable, match="has no run"):
        ledger.finish("nothing", {}, "done")
