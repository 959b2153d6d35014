"""A SQLite file written anew by way of another directory: full disks, kill -9 at any instant, and who is in the way."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from operating import on_terminal, running, sessionctl, write_sessions
from small_disks import disk, fill_up

from sessionctl.stores.sqlite.mark import read_mark
from sessionctl.testing.case import turn, user

__all__ = ["disk"]

KILOBYTE = json.dumps(user("x" * 900))


@pytest.fixture
def lasting() -> Iterator[Path]:
    """A directory that is not in memory, as those of the tests may be: no file goes by way of such a one unasked,
    and on a disk each step takes long enough to be met."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        yield Path(directory)


def made(path: Path, *, kept: int, gone: int, mode: int = 0) -> Path:
    """A store with ``kept`` items of about a kilobyte that stay, and free pages of ``gone`` more."""
    write_sessions(path, {"stays": turn(1)})
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA auto_vacuum = {mode}")
        db.execute("VACUUM")
        db.execute("BEGIN")
        insert = "INSERT INTO agent_messages (session_id, message_data) VALUES (?, ?)"
        db.executemany(insert, [("goes", KILOBYTE)] * gone)
        db.executemany(insert, [("more", KILOBYTE)] * kept)
        db.execute("DELETE FROM agent_messages WHERE session_id = 'goes'")
        db.execute("COMMIT")
    return path


def is_whole(path: Path, *, kept: int) -> bool:
    with contextlib.closing(sqlite3.connect(path)) as db:
        (said,) = db.execute("PRAGMA integrity_check").fetchone()
        (count,) = db.execute("SELECT count(*) FROM agent_messages WHERE session_id = 'more'").fetchone()
        stays = db.execute("SELECT message_data FROM agent_messages WHERE session_id = 'stays' ORDER BY id").fetchall()
        mode = db.execute("PRAGMA journal_mode").fetchone()[0]
    return (said, count, mode) == ("ok", kept, "wal") and [json.loads(text) for (text,) in stays] == turn(1)


def test_where_its_own_disk_is_full(disk: Path, lasting: Path) -> None:
    store = made(disk / "store.db", kept=300, gone=400)
    size, inode, mode = store.stat().st_size, store.stat().st_ino, store.stat().st_mode
    fill_up(disk)
    refused = sessionctl("vacuum", "-s", store, "--full", "--yes", "-o", "json")
    assert (refused.status, refused.error["code"]) == (2, "guard")
    assert "needs about" in refused.error["message"]
    elsewhere = lasting / "elsewhere"
    elsewhere.mkdir()
    done = sessionctl("vacuum", "-s", store, "--full", "--via", elsewhere, "--yes", "-o", "json")
    assert done.status == 0, done.said
    assert is_whole(store, kept=300)
    assert store.stat().st_size < 0.6 * size
    assert (store.stat().st_ino, store.stat().st_mode) == (inode, mode)
    assert list(elsewhere.iterdir()) == []


def test_where_the_other_directory_has_no_room(disk: Path, tmp_path: Path) -> None:
    store = made(tmp_path / "store.db", kept=500, gone=500)
    fill_up(disk)
    before = store.read_bytes()
    refused = sessionctl("vacuum", "-s", store, "--full", "--via", disk, "--yes", "--force", "-o", "json")
    assert (refused.status, refused.error["code"]) == (2, "guard")
    assert "needs about" in refused.error["message"]
    assert store.read_bytes() == before
    assert is_whole(store, kept=500)


@pytest.mark.parametrize("way", ["in place", "via", "in short steps"])
def test_a_disk_that_becomes_full_meanwhile(disk: Path, tmp_path: Path, way: str) -> None:
    """What the plan reckoned with is gone by the time of the answer."""
    kept = 350
    mode = 2 if way == "in short steps" else 0
    store = made((tmp_path if way == "via" else disk) / "store.db", kept=kept, gone=500, mode=mode)
    how = {"in place": ["--full"], "via": ["--full", "--via", disk, "--force"], "in short steps": []}
    child = on_terminal("vacuum", "-s", store, *how[way], env={"SQLITE_TMPDIR": str(disk)}, columns=200)
    with contextlib.closing(child):
        child.expect(rb"\[y/N\] ")
        fill_up(disk)
        child.sendline(b"y")
        child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1
    assert re.search(rb"disk (became full while|that holds .* is full)", child.before)
    (disk / "ballast").unlink()
    assert is_whole(store, kept=kept)
    assert not list(disk.glob("*.vacuumed"))


@pytest.mark.parametrize("instant", ["copying", "writing over"])
def test_kill_9(lasting: Path, instant: str) -> None:
    kept = 10_000
    store = made(lasting / "store.db", kept=kept, gone=5000)
    other = lasting / "other"
    other.mkdir()
    arguments = ["vacuum", "-s", store, "--full", "--via", other, "--force", "--yes"]
    with running(*arguments) as process:
        while process.poll() is None:
            if read_mark(store) if instant == "writing over" else any(other.iterdir()):
                os.kill(process.pid, signal.SIGKILL)
                break
        process.wait()
    assert process.returncode == -signal.SIGKILL
    if instant == "copying":
        assert is_whole(store, kept=kept)
    else:
        with pytest.raises(sqlite3.DatabaseError):
            is_whole(store, kept=kept)
        told = sessionctl("list", "-s", store, "-o", "json")
        assert told.status == 10
        assert str(other) in told.error["message"]
        assert f"vacuum --full --via {other}" in told.error["hint"]
    again = sessionctl(*arguments)
    assert again.status == 0, again.said
    assert is_whole(store, kept=kept)
    assert store.stat().st_size < 1.05 * len(KILOBYTE) * kept * 1.2


def test_what_was_cut_off_is_not_finished_while_somebody_is_at_it(lasting: Path) -> None:
    store = made(lasting / "store.db", kept=100, gone=100)
    copy = lasting / "copy.db"
    with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as db:
        db.execute("VACUUM INTO ?", (str(copy),))
    from sessionctl.stores.sqlite.mark import Mark

    with store.open("r+b") as file:
        file.write(Mark(copy, has_log=True).to_bytes())
    arguments = ["vacuum", "-s", store, "--full", "--via", lasting, "--yes", "-o", "json"]
    with store.open("r+b") as other:
        fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)
        refused = sessionctl(*arguments)
        assert (refused.status, refused.error["code"]) == (2, "guard")
        assert copy.exists()
    hidden = copy.rename(lasting / "hidden")
    told = sessionctl(*arguments)
    assert told.status == 10
    hidden.rename(copy)
    assert sessionctl(*arguments).status == 0
    assert is_whole(store, kept=100)
