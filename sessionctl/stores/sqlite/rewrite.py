"""Taking items out of sessions in a SQLite file and replacing texts; the sessions stay."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from sessionctl.core.model import Outcome, Rewrite, Span
from sessionctl.stores.sqlite.deletion import RefusedError
from sessionctl.stores.sqlite.layout import SqliteLayout, quoted
from sessionctl.stores.sqlite.structure import STRUCTURE, forget, only_main, reclassify
from sessionctl.stores.sqlite.values import bound

_MINE = "session_id = CAST(? AS TEXT)"


def rewrite_sessions(
    connection: sqlite3.Connection, layout: SqliteLayout, rewrites: Sequence[Rewrite], *, one_by_one: bool
) -> dict[str, Outcome]:
    """Make these changes inside the caller's transaction; returns those that could not be made, and why.

    RefusedError where a trigger of others refuses; ``one_by_one``, those refused are FAILED (see
    ``delete_sessions`` on what that costs).
    """
    undone: dict[str, Outcome] = {}
    for rewrite in rewrites:
        if not _is_as_read(connection, layout, rewrite):
            undone[rewrite.session_id] = Outcome.CHANGED
            continue
        if one_by_one:
            connection.execute("SAVEPOINT one")
        try:
            _rewrite(connection, layout, rewrite)
        except (sqlite3.IntegrityError, RefusedError) as error:
            if not one_by_one:
                raise RefusedError from error
            connection.execute("ROLLBACK TO one")
            undone[rewrite.session_id] = Outcome.FAILED
        if one_by_one:
            connection.execute("RELEASE one")
    return undone


def in_span(layout: SqliteLayout) -> str:
    """The condition of a session's items in a span, as ``values_of`` gives the values.

    Where the index on the session is not by key, the plus keeps SQLite from going through everybody's keys.
    """
    return f"{_MINE} AND {'+' if layout.order != 'id' else ''}id BETWEEN ? AND ?"


def values_of(session_id: str, span: Span) -> tuple[bytes, int, int]:
    return bound(session_id), span.first, span.last


def _is_as_read(connection: sqlite3.Connection, layout: SqliteLayout, rewrite: Rewrite) -> bool:
    if rewrite.unbranched and STRUCTURE in layout.advanced and not only_main(connection, rewrite.session_id):
        return False
    messages = quoted(layout.messages)
    counting = f"SELECT count(*) FROM {messages} WHERE {in_span(layout)}"
    there = f"SELECT 1 FROM {messages} WHERE id = ? AND {_MINE}"
    return all(
        connection.execute(counting, values_of(rewrite.session_id, span)).fetchone()[0] == span.items
        for span in rewrite.remove
    ) and all(
        connection.execute(there, (key, bound(rewrite.session_id))).fetchone() is not None for key, _ in rewrite.replace
    )


def _rewrite(connection: sqlite3.Connection, layout: SqliteLayout, rewrite: Rewrite) -> None:
    messages, me = quoted(layout.messages), bound(rewrite.session_id)
    replacing = f"UPDATE {messages} SET message_data = CAST(? AS TEXT) WHERE id = ? AND {_MINE}"
    for key, data in rewrite.replace:
        if connection.execute(replacing, (data.encode("utf-8", "surrogateescape"), key, me)).rowcount != 1:
            raise RefusedError
        if STRUCTURE in layout.advanced:
            reclassify(connection, rewrite.session_id, key, data)
    deleting = f"DELETE FROM {messages} WHERE {in_span(layout)}"
    for span in rewrite.remove:
        staying = 0
        if STRUCTURE in layout.advanced:
            staying = forget(connection, layout.advanced, rewrite.session_id, span)
        if staying:
            unheld = f"{deleting} AND id NOT IN (SELECT message_id FROM message_structure WHERE {_MINE})"
            found = connection.execute(unheld, (*values_of(rewrite.session_id, span), me))
        else:
            found = connection.execute(deleting, values_of(rewrite.session_id, span))
        if found.rowcount != span.items - staying:  # a trigger of others quietly kept some
            raise RefusedError
