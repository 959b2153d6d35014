"""Full disks and long locks under a purge of a SQLite file in mid-run; the ledger's disk likewise.

A small tmpfs is a disk that can be filled to its last byte. Another connection holds the write lock while that
is done, so that the fault meets the run between two batches at a known place.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from operating import DAY, assert_whole, ids_in, running, store_of, wait_for
from purged_servers import PURGE, report_of
from small_disks import fill_up

STALE = {f"stale{n:03}": 40 * DAY for n in range(120)}
LIVE = {f"live{n}": DAY for n in range(5)}
SLOWLY = ("--batch-size", "5", "--rate", "100")


def made(path: Path, journal: str = "wal") -> Path:
    store = store_of(path, STALE | LIVE)
    with contextlib.closing(sqlite3.connect(store)) as db:
        assert db.execute(f"PRAGMA journal_mode = {journal}").fetchone() == (journal,)
    return store


@contextlib.contextmanager
def held_in_mid_run(store: Path) -> Iterator[sqlite3.Connection]:
    """Once some batches are done, the lock that the next ones wait for."""
    wait_for(lambda: len(ids_in(store)) < len(STALE | LIVE), "the first batch")
    with contextlib.closing(sqlite3.connect(store, isolation_level=None, timeout=20)) as db:
        db.execute("BEGIN IMMEDIATE")
        assert left_of(db)
        yield db


def left_of(db: sqlite3.Connection) -> int:
    (left,) = db.execute("SELECT count(*) FROM agent_sessions WHERE session_id LIKE 'stale%'").fetchone()
    return int(left)


def is_sound(store: Path) -> None:
    """Sessions are whole or gone, those alive are there, and SQLite finds no fault with the file."""
    with contextlib.closing(sqlite3.connect(store)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert_whole(store)
    assert ids_in(store) >= LIVE.keys()


def purge(store: Path, *flags: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    return running("purge", "-s", store, *PURGE, *flags)


def completes(store: Path, left: int) -> None:
    with purge(store) as process:
        assert report_of(process)["removed"]["sessions"] == left
    assert ids_in(store) == LIVE.keys()
    is_sound(store)


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_the_stores_disk_becomes_full(disk: Path, journal: str) -> None:
    store = made(disk / "store.db", journal)
    with purge(store, *SLOWLY) as process:
        with held_in_mid_run(store):
            ballast = fill_up(disk)
        report = report_of(process, 3)
    ballast.unlink()
    left = len(ids_in(store)) - len(LIVE)
    assert (report["stopped"], report["removed"]["sessions"]) == ("error", len(STALE) - left)
    assert report["remaining"]["sessions"] == left > 0
    assert report["error"] == f"the disk that holds {store} is full; the batch was taken back"
    is_sound(store)
    completes(store, left)


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_the_stores_disk_is_full_from_the_start(disk: Path, journal: str) -> None:
    store = made(disk / "store.db", journal)
    ballast = fill_up(disk)
    with purge(store) as process:
        report = report_of(process, 1)
    assert f"the disk that holds {store} is full" in report["error"]
    ballast.unlink()
    assert ids_in(store) == (STALE | LIVE).keys()
    is_sound(store)
    completes(store, len(STALE))


def test_the_ledgers_disk_becomes_full(tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSIONCTL_STATE_DIR", str(disk / "state"))
    store = made(tmp_path / "store.db")
    with purge(store, *SLOWLY) as process:
        with held_in_mid_run(store):
            ballast = fill_up(disk)
        report = report_of(process, 3)
    ballast.unlink()
    left = len(ids_in(store)) - len(LIVE)
    assert (report["stopped"], report["removed"]["sessions"]) == ("error", len(STALE) - left)
    assert "the ledger of runs cannot be used: its disk is full" in report["error"]
    is_sound(store)
    completes(store, left)


def test_a_ledger_that_becomes_read_only(tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSIONCTL_STATE_DIR", str(disk / "state"))
    store = made(tmp_path / "store.db")
    with purge(store, *SLOWLY) as process:
        with held_in_mid_run(store):
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        report = report_of(process, 3)
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    left = len(ids_in(store)) - len(LIVE)
    assert (report["stopped"], report["removed"]["sessions"]) == ("error", len(STALE) - left)
    assert "the ledger of runs cannot be used" in report["error"]
    is_sound(store)
    completes(store, left)


def test_a_lock_held_for_longer_than_one_attempt_waits(tmp_path: Path) -> None:
    """The run says so, tries again, and goes on once the lock is given back."""
    store = made(tmp_path / "store.db")
    with purge(store, *SLOWLY) as process:
        with held_in_mid_run(store) as holder:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert b"waiting: " in said
            assert b"stayed locked by another program" in said
            assert left_of(holder)
        report = report_of(process)
    assert report["removed"]["sessions"] == len(STALE)
    assert report["retries"] >= 1
    assert report["time"]["wait_s"] >= 1
    assert ids_in(store) == LIVE.keys()
    is_sound(store)
