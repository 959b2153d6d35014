"""AdvancedSQLiteSession's structure, which has no index by the item, is put together once for a session."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from agents.extensions.memory import AdvancedSQLiteSession

from sessionctl.stores.sqlite.items import items_sql, ordered
from sessionctl.stores.sqlite.layout import SqliteLayout

EVERY = 100


def steps_of(path: Path, items: int) -> int:
    """How many steps of SQLite's machine it takes to read a session of so many items, by the hundred."""
    with closing(AdvancedSQLiteSession(session_id="s", db_path=path, create_tables=True)) as session:
        asyncio.run(session.add_items([{"role": "user", "content": str(number)} for number in range(items)]))
    layout = SqliteLayout(sessions="agent_sessions", messages="agent_messages", flavour="AdvancedSQLiteSession")
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    with closing(sqlite3.connect(path)) as connection:
        connection.set_progress_handler(count, EVERY)
        rows = connection.execute(ordered(items_sql(layout)), {"session": "s"}).fetchall()
    assert [row[0] for row in rows] == list(range(1, items + 1))
    return steps


def test_a_session_of_eight_times_the_items_takes_about_eight_times_the_work(tmp_path: Path) -> None:
    few, many = (steps_of(tmp_path / f"{items}.db", items) for items in (250, 2000))
    assert few < many < 16 * few
