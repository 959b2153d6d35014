"""A ledger that several homes and hosts share: one history, undone from anywhere, and outages of its server."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from operating import DAY, Ran, ids_in, sessionctl, store_of, wait_for
from servers import IN_CI, NotInstalled, OwnServer, fresh_postgres, own_postgres, postgres_execute

SECRET = "sw0rdfish"
SESSIONS = 60
IMPATIENT = """
import sys
from sessionctl.core import patience
patience.GIVE_UP_S = 1.0
from sessionctl.cli.app import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of(tmp_path / "store.db", {f"s{n:02}": 30 * DAY for n in range(SESSIONS)})


def homes(directory: Path, ledger: str) -> list[dict[str, str]]:
    """The surroundings of two users whose settings name the same ledger."""
    found = []
    for name in ("one", "two"):
        config = directory / name / ".config" / "sessionctl" / "config.toml"
        config.parent.mkdir(parents=True)
        config.write_text(f'ledger = "{ledger}"\n')
        config.chmod(0o600)
        home = str(directory / name)
        found.append({"HOME": home, "XDG_CONFIG_HOME": f"{home}/.config", "XDG_STATE_HOME": f"{home}/state"}
                     | {"SESSIONCTL_ACTOR": name})  # fmt: skip
    return found


def purge(store: Path, directory: Path, *more: str) -> tuple[str, ...]:
    fixed = ("purge", "-s", str(store), "--older-than", "20d", "--max-share", "1", "--yes", "-o", "json")
    return (*fixed, "--archive", str(directory / "archive"), *more)


def test_one_history_for_two_homes(postgres_url: str, store: Path, tmp_path: Path) -> None:
    url = postgres_url.replace("postgres@", f"postgres:{SECRET}@").replace("postgresql:", "postgresql+asyncpg:")
    one, two = homes(tmp_path, url)
    ran = [sessionctl(*purge(store, tmp_path, "--reason", "retention"), env=one)]
    run_id = ran[0].json["run_id"]
    ran.append(sessionctl("runs", "list", "-o", "json", env=two))
    [record] = ran[-1].json["runs"]
    assert (record["run_id"], record["actor"], record["reason"]) == (run_id, "one", "retention")

    postgres_execute(postgres_url, "UPDATE sessionctl_runs SET host = 'elsewhere'")
    ran.append(sessionctl("undo", run_id, "--yes", "-o", "json", env=two))
    assert (ran[-1].status, "of elsewhere" in ran[-1].error["message"], ids_in(store)) == (2, True, set())
    ran.append(sessionctl("undo", run_id, "-s", store, "--yes", "-o", "json", env=two))
    assert (ran[-1].status, len(ids_in(store))) == (0, SESSIONS)

    ran.append(sessionctl("runs", "list", "-o", "json", env=one))
    assert [(r["command"], r["actor"], r["undoes"]) for r in ran[-1].json["runs"]] == [
        ("undo", "two", run_id), ("purge", "one", None),
    ]  # fmt: skip
    ran.append(sessionctl("config", "show", env=one))
    assert SECRET.encode() not in b"".join(done.out + done.err for done in ran)
    assert not list(tmp_path.rglob("ledger.db"))


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(own_postgres())
        except NotInstalled as missing:
            if IN_CI:
                raise
            pytest.skip(f"no server to crash: {missing}")
        yield found


@contextlib.contextmanager
def slowly(env: Mapping[str, str], *program: str) -> Iterator[subprocess.Popen[bytes]]:
    pace = ("--batch-size", "1", "--rate", "10")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, *program, *pace], env={**os.environ, **env}, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def in_mid_run(store: Path, process: subprocess.Popen[bytes]) -> None:
    wait_for(lambda: len(ids_in(store)) < SESSIONS - 5 or process.poll() is not None, "a few deletions", every=0.05)
    assert process.poll() is None, process.communicate()


def result(process: subprocess.Popen[bytes]) -> Ran:
    out, err = process.communicate(timeout=60)
    return Ran(status=process.returncode, out=out, err=err)


def test_a_run_outlives_a_restart_of_the_ledgers_server(server: OwnServer, store: Path, tmp_path: Path) -> None:
    with fresh_postgres(server.url) as url:
        one, two = homes(tmp_path, url)
        with slowly(one, "-m", "sessionctl", *purge(store, tmp_path)) as process:
            in_mid_run(store, process)
            server.crash()
            time.sleep(1.5)
            server.start()
            ran = result(process)
        assert (ran.status, ran.json["removed"]["sessions"], ran.said) == (0, SESSIONS, ran.said)
        run = sessionctl("runs", "show", ran.json["run_id"], "-o", "json", env=two).json["run"]
        assert (run["stopped"], run["counts"]["removed"]["sessions"]) == ("done", SESSIONS)
        assert all(segment["committed_at"] for segment in run["segments"])


def test_a_run_stops_where_the_ledgers_server_stays_away(server: OwnServer, store: Path, tmp_path: Path) -> None:
    """What it did not come to stays; the next run finds out what it did, and all of it comes back."""
    with fresh_postgres(server.url) as url:
        one, two = homes(tmp_path, url)
        with slowly(one, "-c", IMPATIENT, *purge(store, tmp_path)) as process:
            in_mid_run(store, process)
            server.crash()
            ran = result(process)
            left = ids_in(store)
        refused = sessionctl(*purge(store, tmp_path), env=two)
        server.start()
        assert (ran.status, "ledger of runs" in ran.text) == (3, True)
        assert len(left) == SESSIONS - ran.json["removed"]["sessions"] > 0
        assert (refused.status, refused.error["code"], ids_in(store)) == (1, "ledger_unavailable", left)

        again = sessionctl(*purge(store, tmp_path), env=two)
        assert (again.status, again.json["removed"]["sessions"], ids_in(store)) == (0, len(left), set())
        first = ran.json["run_id"]
        shown = sessionctl("runs", "show", first, "-o", "json", env=two).json["run"]
        assert ("cut off" in shown["error"], len(shown["segments"][0]["kept"])) == (True, len(left))
        for run_id in (again.json["run_id"], first):
            assert sessionctl("undo", run_id, "--yes", env=two).status == 0
        assert len(ids_in(store)) == SESSIONS


FAR_AWAY = """
import sys
from datetime import timedelta
from sessionctl.ledger import record
record._pid_space = lambda: "that of another host"
record._SILENT = timedelta(seconds=1)
from sessionctl.cli.app import run
sys.exit(run(sys.argv[1:]))
"""


def stopped_between_batches(process: subprocess.Popen[bytes], store: Path) -> bool:
    """Stop it; where it holds a lock of its store, let it go on and say so."""
    process.send_signal(signal.SIGSTOP)
    with contextlib.closing(sqlite3.connect(store, timeout=0, isolation_level=None)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            process.send_signal(signal.SIGCONT)
            return False
    return True


def test_one_that_stood_still_for_too_long_stops_when_it_goes_on(
    postgres_url: str, store: Path, tmp_path: Path
) -> None:
    """Meanwhile another host took it for cut off, and undid it: nothing more may go, and all is back."""
    one, two = homes(tmp_path, postgres_url)
    with slowly(one, "-m", "sessionctl", *purge(store, tmp_path)) as process:
        in_mid_run(store, process)
        wait_for(lambda: stopped_between_batches(process, store), "a moment between two batches")
        assert ids_in(store), "it was over too soon to tell"
        [run_id] = sessionctl("runs", "list", "-o", "name", env=two).text.split()
        time.sleep(1.5)
        undo = [sys.executable, "-c", FAR_AWAY, "undo", run_id, "--yes"]
        done = subprocess.run(undo, env={**os.environ, **two}, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, len(ids_in(store))) == (0, SESSIONS), done.stderr
        process.send_signal(signal.SIGCONT)
        ran = result(process)
    assert (ran.status, "taken for cut off" in ran.json["error"]) == (3, True)
    assert len(ids_in(store)) == SESSIONS
