"""Session rows for items that were appended while their session was being deleted: ``recently`` says how that comes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from sessionctl.stores.sqlite.layout import SqliteLayout, quoted
from sessionctl.stores.sqlite.values import among


def give_back(connection: sqlite3.Connection, layout: SqliteLayout, ids: Sequence[str]) -> int:
    """Insert the rows that are missing among ``ids``, inside the caller's transaction; how many that were.

    With the stamps that the SDK would have written: those of its oldest and of its newest item.
    """
    if not ids:
        return 0
    inside, params = among(ids)
    sessions, messages = quoted(layout.sessions), quoted(layout.messages)
    found = connection.execute(
        f"INSERT INTO {sessions} (session_id, created_at, updated_at) "
        "SELECT session_id, coalesce(min(created_at), CURRENT_TIMESTAMP), "
        "coalesce(max(created_at), CURRENT_TIMESTAMP) "
        f"FROM {messages} m WHERE session_id IN ({inside}) "
        f"AND NOT EXISTS (SELECT 1 FROM {sessions} s WHERE s.session_id = m.session_id) GROUP BY session_id",
        params,
    )
    return max(0, found.rowcount)
