"""SQLite stores large enough to be read in ranges side by side, and what must not be changed."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from operating import DAY, store_of

from sessionctl.core.address import parse_address
from sessionctl.core.model import Delete, Guard, Order, Want
from sessionctl.core.selector import Bound, Query
from sessionctl.errors import StoreNotUnderstood
from sessionctl.stores import open_store

MANY = 9000
ODD_IDS = (b"quote\"'\\", b"two\nlines", b"\xff\xfe no utf-8", "\u05d0\U0001f600".encode())


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sessions of one to three items, some without, and some with ids and stamps that JSON finds hard."""
    path = store_of(tmp_path_factory.mktemp("large") / "store.db", {"s": DAY})
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM agent_messages")
        db.execute("DELETE FROM agent_sessions")
        ids = [f"s{number}".encode() for number in range(MANY)]
        for place, odd in enumerate(ODD_IDS):
            ids[1000 + 2000 * place] = odd
        stamp = "datetime('2026-01-01', '+' || ? || ' minutes')"
        for number, session_id in enumerate(ids):
            row = f"INSERT INTO agent_sessions VALUES (CAST(? AS TEXT), {stamp}, {stamp})"
            db.execute(row, (session_id, number, number))
            for _ in range(number % 4):
                item = "INSERT INTO agent_messages (session_id, message_data) VALUES (CAST(? AS TEXT), ?)"
                db.execute(item, (session_id, "x" * (number % 50) + "\u00e9"))
        db.execute("UPDATE agent_sessions SET updated_at = X'ff00' WHERE session_id = 's4000'")
    return path


def truth(path: Path) -> list[tuple[str, int, int]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.text_factory = lambda stored: stored.decode("utf-8", "surrogateescape")
        return db.execute(
            "SELECT s.session_id, count(m.id), coalesce(sum(length(CAST(m.message_data AS BLOB))), 0) "
            "FROM agent_sessions s LEFT JOIN agent_messages m USING (session_id) GROUP BY s.rowid ORDER BY s.rowid"
        ).fetchall()


def test_a_pass_in_ranges_misses_nothing(large: Path) -> None:
    expected = truth(large)
    with open_store(parse_address(str(large))) as store:
        every = list(store.sessions(Query(), order=Order.PHYSICAL, want=Want.SIZE | Want.VERSION))
        assert [(ref.id, ref.items, ref.bytes) for ref in every] == expected
        assert next(ref for ref in every if ref.id == "s4000").updated_at is None
        for ref in (every[0], every[1000], every[5000], every[-1]):  # the same as one by one
            assert store.session(ref.id, Want.SIZE | Want.VERSION) == ref
        volume = store.volume()
        assert (volume.items, volume.bytes) == (sum(r[1] for r in expected), sum(r[2] for r in expected))
        late = Bound("updated_at", ">=", (every[0].updated_at or store.now()) + timedelta(minutes=8000))
        some = store.sessions(Query(bounds=(late,), min_items=3), order=Order.PHYSICAL, want=Want.SIZE)
        assert [ref.id for ref in some] == [row[0] for row in expected[8000:] if row[1] >= 3]


def test_whole_sessions_half_read_outlive_their_store(large: Path) -> None:
    with open_store(parse_address(str(large))) as store:
        reading = store.whole(["s1", "s2"])
        assert next(iter(next(reading).items)).text
    reading.close()  # type: ignore[attr-defined]


def test_a_pass_that_is_left_early_ends_with_its_store(large: Path) -> None:
    """As when a run is interrupted while it plans: the readers are at work, and the store is closed."""
    for _ in range(20):
        with open_store(parse_address(str(large))) as store:
            passing = store.sessions(Query(), order=Order.PHYSICAL, want=Want.SIZE)
            assert next(passing).id == "s0"
            assert [thread for thread in threading.enumerate() if thread.name.startswith("sqlite-reader")]
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("sqlite-reader")]


def test_a_newer_layout_is_not_changed_even_when_asked_directly(tmp_path: Path) -> None:
    path = store_of(tmp_path / "store.db", {"a": DAY})
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("ALTER TABLE agent_sessions ADD COLUMN owner TEXT")
    with open_store(parse_address(str(path))) as store:
        ref = store.session("a", Want.VERSION)
        assert ref is not None
        with pytest.raises(StoreNotUnderstood, match="owner"):
            store.apply([Delete(session_id="a", version=ref.version or "")], Guard())
        assert store.session("a") is not None


def test_rows_whose_ids_are_none_do_not_stand_in_the_way(tmp_path: Path) -> None:
    store_of(tmp_path / "store.db", {"s": DAY})
    with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
        db.execute("INSERT INTO agent_sessions (session_id) VALUES (NULL), (x'ff00')")
        db.execute("INSERT INTO agent_messages (session_id, message_data) VALUES (x'ff00', '{}')")
    with open_store(parse_address(str(tmp_path / "store.db"))) as store:
        for order in Order:
            for want in (Want.NOTHING, Want.SIZE | Want.VERSION):
                assert [ref.id for ref in store.sessions(Query(), order=order, want=want)] == ["s"]
                assert [ref.id for ref in store.sessions(Query(), order=order, limit=5, want=want)] == ["s"]
