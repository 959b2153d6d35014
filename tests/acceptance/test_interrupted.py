"""Signals and crashes in mid-run: what was planned goes whole or stays whole, and the next run finishes it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pexpect
import pytest
from operating import (
    DAY,
    assert_whole,
    ids_in,
    in_process,
    ledger_file,
    ledger_rows,
    on_terminal,
    running,
    store_of,
    wait_for,
)

SLOW = ("--yes", "-o", "json", "--batch-size", "1", "--rate", "20")


def ages(stale: int) -> dict[str, float]:
    return {f"stale{n:04}": 40 * DAY for n in range(stale)} | {f"live{n}": DAY for n in range(5)}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of(tmp_path / "store.db", ages(220))


def purge(store: Path, *flags: str) -> tuple[str, ...]:
    return ("purge", "-s", str(store), "--older-than", "30d", "--max-share", "1", *flags)


def under_way(store: Path, process: subprocess.Popen[bytes], gone: int = 2) -> None:
    """Until the run has removed at least so many sessions."""

    def ready() -> bool:
        assert process.poll() is None, process.communicate()
        return len(ids_in(store)) <= 225 - gone

    wait_for(ready, "the first batches")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_after_the_batch(store: Path, home: Path, number: signal.Signals, status: int) -> None:
    with running(*purge(store, *SLOW)) as process:
        under_way(store, process)
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == status, err
    report = json.loads(out)
    left = ids_in(store)
    assert report["stopped"] == "signal"
    assert report["removed"]["sessions"] == 225 - len(left)
    assert report["remaining"]["sessions"] == len(left) - 5 > 0
    assert_whole(store)
    (row,) = ledger_rows(home)
    assert (row["stopped"], bool(row["ended_at"])) == ("signal", True)
    assert json.loads(row["counts"])["removed"] == report["removed"]
    assert b"Traceback" not in err
    again = in_process(*purge(store, "--yes", "-o", "json"))
    assert (again.status, again.json["removed"]["sessions"]) == (0, report["remaining"]["sessions"])
    assert len(ids_in(store)) == 5


def test_ctrl_c_on_a_terminal_shows_the_report(store: Path) -> None:
    child = on_terminal(*purge(store, "--yes", "--batch-size", "1", "--rate", "20"))
    wait_for(lambda: len(ids_in(store)) < 223, "the first batches")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert b"stopped by a signal" in child.before
    assert b"run it again" in child.before
    assert_whole(store)


def test_a_second_one_ends_it_at_once(store: Path, home: Path) -> None:
    """Here the batch cannot end: another program holds the store."""
    with running(*purge(store, *SLOW)) as process:
        under_way(store, process)
        holder = sqlite3.connect(store, isolation_level=None)
        try:
            holder.execute("BEGIN IMMEDIATE")
            time.sleep(0.5)  # at 20 a second, the next batch has begun by now, and waits for the lock
            left = ids_in(store)
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            assert b"once more stops at once" in process.stderr.readline()
            asked = time.monotonic()
            process.send_signal(signal.SIGINT)
            process.wait(timeout=20)
            took = time.monotonic() - asked
        finally:
            holder.close()
    assert process.returncode == 130
    assert took < 5  # the batch itself would have waited for the lock for ten seconds
    assert ids_in(store) == left
    assert_whole(store)
    assert len(ledger_rows(home)) == 1


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_at_any_instant(store: Path, home: Path, seed: int) -> None:
    pick = random.Random(seed)
    with running(*purge(store, "--yes", "-o", "json", "--batch-size", "7", "--rate", "400")) as process:
        under_way(store, process, pick.randrange(1, 150))
        time.sleep(pick.random() / 50)  # anywhere between two batches or within one
        process.kill()
        process.wait()
    left = ids_in(store)
    assert {f"live{n}" for n in range(5)} <= left
    assert_whole(store)
    (row,) = ledger_rows(home)
    assert (row["stopped"], row["ended_at"]) == (None, None)
    again = in_process(*purge(store, "--yes", "-o", "json"))
    assert (again.status, again.json["removed"]["sessions"]) == (0, len(left) - 5)
    assert ids_in(store) == {f"live{n}" for n in range(5)}
    assert [row["stopped"] for row in ledger_rows(home)] == [None, "done"]
    assert not list(ledger_file(home).parent.glob("*tmp*")), "a plan lies about"


def test_a_signal_among_several_stores(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet"
    fleet.mkdir()
    for name in ("a.db", "b.db"):
        store_of(fleet / name, ages(220))
    with running(*purge(fleet, *SLOW)) as process:
        under_way(fleet / "a.db", process)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 143
    first, second = json.loads(out)["stores"]
    assert (first["stopped"], second["stopped"], second["removed"]["sessions"]) == ("signal", "signal", 0)
    assert second["remaining"]["sessions"] == 220
    assert len(ids_in(fleet / "b.db")) == 225


@pytest.mark.parametrize("lose", ["remove", "replace"])
def test_a_ledger_lost_in_mid_run(store: Path, home: Path, lose: str) -> None:
    with running(*purge(store, *SLOW, "--max-sessions", "30")) as process:
        under_way(store, process)
        shutil.rmtree(ledger_file(home).parent)
        if lose == "replace":
            ledger_file(home).parent.write_text("in the way")
        out, err = process.communicate(timeout=20)
    report = json.loads(out)
    assert report["removed"]["sessions"] == 225 - len(ids_in(store)) > 0
    assert report["stopped"] == "error"
    assert "ledger" in report["error"]
    assert process.returncode not in (0, None)
    assert b"Traceback" not in err
    assert_whole(store)


def test_ctrl_c_while_it_only_reads(store: Path) -> None:
    """A pipe that nobody reads holds it up."""
    with running("list", "-s", store, "-o", "jsonl") as process:
        assert process.stdout is not None
        process.stdout.read(1)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode in (0, 130)
    assert b"Traceback" not in err
    assert b"unforeseen" not in err
