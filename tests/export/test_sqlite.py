"""SQLite: a file that the SDK opens, reads and writes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from exporting import session, written

from sessionctl.errors import UsageError
from sessionctl.export.formats import Format
from sessionctl.testing.case import BROKEN_TEXTS, HOSTILE_IDS, HOSTILE_ITEMS, turn, user


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made.db"


def read(path: Path, session_id: str) -> list[Any]:
    from agents import SQLiteSession

    async def items() -> list[Any]:
        opened = SQLiteSession(session_id, path)
        found = await opened.get_items()
        opened.close()
        return list(found)

    return asyncio.run(items())


def test_the_sdk_reads_and_appends(path: Path) -> None:
    from operating import write_sessions

    path.write_bytes(written(Format.SQLITE, session("one", turn(1)), session("two", turn(2))))
    assert (read(path, "one"), read(path, "two")) == (turn(1), turn(2))
    write_sessions(path, {"one": [user("more")]})
    assert read(path, "one") == [*turn(1), user("more")]


def test_the_tables_are_those_that_the_sdk_makes(path: Path, tmp_path: Path) -> None:
    from operating import write_sessions

    path.write_bytes(written(Format.SQLITE))
    sdks = write_sessions(tmp_path / "sdk.db", {"one": [user("hi")]})
    assert described(path) == described(sdks)


def described(path: Path) -> list[Any]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        tables = ("agent_sessions", "agent_messages")
        columns = [db.execute(f"PRAGMA table_info({table})").fetchall() for table in tables]
        indexes = db.execute("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index' ORDER BY 1").fetchall()
        keys = db.execute("PRAGMA foreign_key_list(agent_messages)").fetchall()
        return [*columns, indexes, keys]


@pytest.mark.parametrize("session_id", HOSTILE_IDS.values())
def test_texts_and_stamps_stay(path: Path, session_id: str) -> None:
    texts = [*map(json.dumps, HOSTILE_ITEMS.values()), *BROKEN_TEXTS.values(), '"\udcff"']
    path.write_bytes(written(Format.SQLITE, session(session_id, texts)))
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.text_factory = bytes
        rows = db.execute("SELECT session_id, message_data, created_at FROM agent_messages ORDER BY id").fetchall()
        assert [row[1] for row in rows] == [text.encode("utf-8", "surrogateescape") for text in texts]
        assert {(row[0].decode(), row[2]) for row in rows} == {(session_id, b"2026-01-01 10:00:00")}
        assert db.execute("SELECT typeof(message_data), typeof(session_id) FROM agent_messages").fetchone() == (
            b"text", b"text"
        )  # fmt: skip


def test_one_id_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="several of these stores"):
        written(Format.SQLITE, session("one", []), session("one", []))
