"""Raw ways to delete the sessions stamped earlier than a moment, on each engine; the best single statement first.

Each takes a function that runs one statement, committed unless a transaction is open, and returns its rows.
None looks at a session again, keeps a record or leaves anybody time: they are what a purge is measured by.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

Run = Callable[..., list[Any]]
Shape = Callable[[Run, str], object]

BATCH = 1000
OLDER = "SELECT session_id FROM agent_sessions WHERE updated_at < "


# --- SQLite: foreign keys are declared and not enforced --------------------------------------------


def _sorted_rowids(run: Run, before: str) -> None:
    """Items in the order in which they lie: with ids at random, any other order reads each page many times."""
    run("BEGIN IMMEDIATE")
    run(
        "CREATE TEMP TABLE doomed AS SELECT m.id FROM agent_sessions s JOIN agent_messages m "
        "ON m.session_id = s.session_id WHERE s.updated_at < ? ORDER BY m.id",
        before,
    )
    run("DELETE FROM agent_messages WHERE id IN (SELECT id FROM doomed)")
    run("DELETE FROM agent_sessions WHERE updated_at < ?", before)
    run("COMMIT")


def _items_then_sessions(run: Run, before: str) -> None:
    run("BEGIN IMMEDIATE")
    run(f"DELETE FROM agent_messages WHERE session_id IN ({OLDER} ?)", before)
    run("DELETE FROM agent_sessions WHERE updated_at < ?", before)
    run("COMMIT")


def _enforced_cascade(run: Run, before: str) -> None:
    run("PRAGMA foreign_keys = ON")
    run("DELETE FROM agent_sessions WHERE updated_at < ?", before)


def _sqlite_batches(run: Run, before: str) -> None:
    for ids in _batches(run(f"{OLDER} ? ORDER BY rowid", before)):
        run("BEGIN IMMEDIATE")
        for table in ("agent_messages", "agent_sessions"):
            run(f"DELETE FROM {table} WHERE session_id IN (SELECT value FROM json_each(?))", json.dumps(ids))
        run("COMMIT")


SQLITE: Mapping[str, Shape] = {
    "one raw statement": _sorted_rowids,
    "raw items, then sessions": _items_then_sessions,
    "raw cascade": _enforced_cascade,
    f"raw batches of {BATCH}": _sqlite_batches,
}


# --- PostgreSQL -----------------------------------------------------------------------------------


def _cascade(run: Run, before: str) -> None:
    run("DELETE FROM agent_sessions WHERE updated_at < %s", before)


def _postgresql_items_then_sessions(run: Run, before: str) -> None:
    run("BEGIN")
    run(
        "DELETE FROM agent_messages m USING agent_sessions s WHERE m.session_id = s.session_id AND s.updated_at < %s",
        before,
    )
    _cascade(run, before)
    run("COMMIT")


def _postgresql_batches(run: Run, before: str) -> None:
    statement = (
        "WITH gone AS (DELETE FROM agent_sessions WHERE updated_at < %s AND ctid = ANY(ARRAY("
        f"SELECT ctid FROM agent_sessions WHERE updated_at < %s LIMIT {BATCH} FOR UPDATE SKIP LOCKED)) "
        "RETURNING 1) SELECT count(*) FROM gone"
    )
    while run(statement, before, before)[0][0]:
        pass


POSTGRESQL: Mapping[str, Shape] = {
    "one raw statement": _cascade,
    "raw items, then sessions": _postgresql_items_then_sessions,
    f"raw batches of {BATCH}": _postgresql_batches,
}


# --- MariaDB --------------------------------------------------------------------------------------


def _mariadb_items_then_sessions(run: Run, before: str) -> None:
    run("DELETE m FROM agent_messages m JOIN agent_sessions s USING (session_id) WHERE s.updated_at < %s", before)
    _cascade(run, before)


def _mariadb_batches(run: Run, before: str) -> None:
    for ids in _batches(run(f"{OLDER} %s ORDER BY updated_at", before)):
        run("DELETE FROM agent_sessions WHERE session_id IN %s AND updated_at < %s", ids, before)


MARIADB: Mapping[str, Shape] = {
    "one raw statement": _cascade,
    "raw items, then sessions": _mariadb_items_then_sessions,
    f"raw batches of {BATCH}": _mariadb_batches,
}


def _batches(rows: list[Any]) -> list[list[str]]:
    return [[session_id for (session_id,) in rows[at : at + BATCH]] for at in range(0, len(rows), BATCH)]
