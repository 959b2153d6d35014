"""The log stays short while much is deleted, whoever else is at work; errors of moving it do not get out."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from operating import DAY, store_of, wait_for
from sdk_process import SdkProcess

from sessionctl.core.address import parse_address
from sessionctl.core.model import Delete, Guard, Order, Outcome, Want
from sessionctl.core.selector import Query
from sessionctl.stores import open_store
from sessionctl.stores.base import Store
from sessionctl.stores.sqlite import log as _sqlite_log

SESSIONS, ITEMS, ITEM = 400, 20, 1000
BATCH = 4
LONG = 1024 * 1024
GUARD = Guard(min_idle=timedelta(0))


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight megabytes of old sessions; what counts as long is a tenth of that."""
    monkeypatch.setattr(_sqlite_log, "_LONG", LONG)
    monkeypatch.setattr(_sqlite_log, "_WORTH_A_PASS", LONG // 8)
    found = store_of(tmp_path / "store.db", {"s": DAY})
    with contextlib.closing(sqlite3.connect(found)) as db, db:
        for number in range(SESSIONS):
            db.execute("INSERT INTO agent_sessions VALUES (?, '2026-01-01', '2026-01-01')", (f"old-{number:03}",))
            item = "INSERT INTO agent_messages (session_id, message_data, created_at) VALUES (?, ?, '2026-01-01')"
            db.executemany(item, [(f"old-{number:03}", "x" * ITEM)] * ITEMS)
    return found


def batches(store: Store) -> Iterator[list[Delete]]:
    refs = store.sessions(Query(globs=("old-*",)), order=Order.PHYSICAL, want=Want.VERSION)
    changes = [Delete(session_id=ref.id, version=ref.version or "") for ref in refs]
    assert len(changes) == SESSIONS
    return (changes[start : start + BATCH] for start in range(0, SESSIONS, BATCH))


def log_of(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size


def delete_all(store: Store, path: Path) -> int:
    """How long the log became."""
    longest = 0
    for batch in batches(store):
        assert set(store.apply(batch, GUARD)) == {Outcome.DONE}
        longest = max(longest, log_of(path))
    return longest


def total_written(path: Path) -> int:
    """What the same writes to a log that nobody moves."""
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())
    with contextlib.closing(sqlite3.connect(copy)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        for start in range(0, SESSIONS, BATCH):
            ids = [f"old-{number:03}" for number in range(start, start + BATCH)]
            for table in ("agent_messages", "agent_sessions"):
                db.execute(f"DELETE FROM {table} WHERE session_id IN ({','.join('?' * BATCH)})", ids)
            db.commit()
        return log_of(copy)


def test_alone(path: Path) -> None:
    assert total_written(path) > 4 * LONG
    with open_store(parse_address(str(path))) as store:
        assert delete_all(store, path) < 2 * LONG
        assert store.spent.met == 0
    assert not Path(f"{path}-wal").exists(), "the last to close a file moves all of its log"
    assert [thread for thread in threading.enumerate() if thread.name.startswith("sqlite-log")] == []


def test_beside_a_writer(path: Path, sdk: SdkProcess) -> None:
    with sdk.running(str(path), ["live-1", "live-2"], think_s=0.01) as writer:
        writer.wait_appends(5)
        longest = 0
        with open_store(parse_address(str(path))) as store:
            for batch in batches(store):
                assert set(store.apply(batch, GUARD)) == {Outcome.DONE}
                longest = max(longest, log_of(path))
                writer.wait_appends(1)  # the two take turns
            assert store.spent.met == SESSIONS // BATCH
    assert not writer.errors
    assert longest < 2 * LONG
    assert len(sdk.get(str(path), "live-1")) == len(writer.acknowledged["live-1"])


def test_beside_a_reader_of_an_older_state(path: Path) -> None:
    """It keeps the log from its end, and nothing else; once it is done, the log is as short as ever."""
    how_many = "SELECT count(*) FROM agent_messages"
    with (
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader,
        open_store(parse_address(str(path))) as store,
    ):
        every = list(batches(store))
        reader.execute("BEGIN")
        before = reader.execute(how_many).fetchone()
        for batch in every[: len(every) // 2]:
            assert set(store.apply(batch, GUARD)) == {Outcome.DONE}
        held_up = log_of(path)
        assert held_up > 2 * LONG
        assert reader.execute(how_many).fetchone() == before
        reader.execute("COMMIT")
        for batch in every[len(every) // 2 :]:
            assert set(store.apply(batch, GUARD)) == {Outcome.DONE}
        assert log_of(path) < held_up + LONG


def test_others_are_seen_by_the_log_they_keep_and_by_what_they_write(path: Path, sdk: SdkProcess) -> None:
    with open_store(parse_address(str(path))) as store:
        first, second, third, *_ = batches(store)
        store.apply(first, GUARD)
        assert store.spent.met == 0
        sdk.add(str(path), "newcomer", [{"role": "user", "content": "hello"}])
        store.apply(second, GUARD)
        store.apply(third, GUARD)
        assert store.spent.met == 2, "whoever wrote once is taken to be there until the end"
    sdk.call("close")
    wait_for(lambda: not Path(f"{path}-wal").exists(), "the writer's last connection to close")
    with contextlib.closing(sqlite3.connect(path)) as idle, open_store(parse_address(str(path))) as store:
        idle.execute("SELECT count(*) FROM agent_sessions").fetchone()
        store.apply([Delete(session_id="nobody", version="")], GUARD)
        assert store.spent.met == 1


def test_a_log_that_cannot_be_moved_fails_no_batch(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The changes are committed by then."""

    def refuse(*_: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("disk I/O error")

    with open_store(parse_address(str(path))) as store:
        every = list(batches(store))
        store.apply(every[0], GUARD)
        store._file._log.close()
        monkeypatch.setattr(store._file._log, "_connect", refuse)
        for batch in every[1:]:
            assert set(store.apply(batch, GUARD)) == {Outcome.DONE}
        assert log_of(path) > 2 * LONG
    assert [file.name for file in path.parent.iterdir()] == [path.name]
