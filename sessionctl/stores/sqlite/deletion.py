"""Deleting whole sessions from a SQLite file: the SDK enables no foreign keys, so every table is named."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from sessionctl.stores.sqlite.layout import SqliteLayout, quoted
from sessionctl.stores.sqlite.values import among, bound

_OF_A_SESSION = ("branch_reservations", "message_structure", "turn_usage")
"""AdvancedSQLiteSession's tables whose rows go with their session."""


class RefusedError(Exception):
    """A trigger of others refused one of several sessions."""


def delete_sessions(
    connection: sqlite3.Connection, layout: SqliteLayout, ids: Sequence[str], *, one_by_one: bool
) -> set[str]:
    """Delete these sessions whole, inside the caller's transaction.

    RefusedError where a trigger of others refuses; ``one_by_one``, those refused are returned. That takes a
    savepoint each, and a savepoint makes SQLite keep a copy of every page it changes.
    """
    refused: set[str] = set()
    for some in ([session_id] for session_id in ids) if one_by_one else [ids]:
        if one_by_one:
            connection.execute("SAVEPOINT one")
        try:
            if some:
                _delete_rows(connection, layout, some)
        except sqlite3.IntegrityError as error:
            if not one_by_one:
                raise RefusedError from error
            connection.execute("ROLLBACK TO one")
            refused.update(some)
        if one_by_one:
            connection.execute("RELEASE one")
    return refused


def _delete_rows(connection: sqlite3.Connection, layout: SqliteLayout, ids: Sequence[str]) -> None:
    inside, params = among(ids)
    dependent = [table for table in _OF_A_SESSION if table in layout.advanced]
    for table in (layout.messages, *dependent, layout.sessions):
        connection.execute(f"DELETE FROM {quoted(table)} WHERE session_id IN ({inside})", params)
    if "session_clear_generations" in layout.advanced:
        # A live instance notices by this that its branch is gone, as after the SDK's own clear_session.
        connection.executemany(
            "INSERT INTO session_clear_generations (session_id, generation) VALUES (CAST(? AS TEXT), 1) "
            "ON CONFLICT (session_id) DO UPDATE SET generation = generation + 1",
            [(bound(session_id),) for session_id in ids],
        )
