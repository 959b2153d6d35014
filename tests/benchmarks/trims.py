"""Raw ways to delete all but the newest items of every session, on each engine; the best first.

As ``shapes``: none looks at what the items are, whether somebody is at work on a session, or where it can be cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.shapes import Run

Trim = Callable[[Run, int], object]

_NUMBERED = (
    "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY session_id ORDER BY {newest}) AS place "
    "FROM agent_messages) AS numbered WHERE place > {keep}"
)
_BY_TIME = "created_at DESC, id DESC"
_CUTS = (
    "SELECT s.session_id, (SELECT id FROM agent_messages m WHERE m.session_id = s.session_id "
    "ORDER BY {newest} LIMIT 1 OFFSET {keep}) AS last FROM agent_sessions s"
)


# --- SQLite ---------------------------------------------------------------------------------------


def _sorted_rowids(run: Run, keep: int) -> None:
    run("BEGIN IMMEDIATE")
    run(f"CREATE TEMP TABLE doomed AS {_NUMBERED.format(newest='id DESC', keep=int(keep))} ORDER BY id")
    run("DELETE FROM agent_messages WHERE id IN (SELECT id FROM doomed)")
    run("COMMIT")


def _sqlite_cuts(run: Run, keep: int) -> None:
    run("BEGIN IMMEDIATE")
    run(f"CREATE TEMP TABLE cuts AS {_CUTS.format(newest='id DESC', keep=int(keep))}")
    run(
        "DELETE FROM agent_messages WHERE id IN (SELECT m.id FROM cuts c JOIN agent_messages m "
        "ON m.session_id = c.session_id AND m.id <= c.last)"
    )
    run("COMMIT")


SQLITE: Mapping[str, Trim] = {"numbered items": _sorted_rowids, "cut by cut": _sqlite_cuts}


# --- PostgreSQL -----------------------------------------------------------------------------------


def _postgresql_numbered(run: Run, keep: int) -> None:
    run(f"DELETE FROM agent_messages WHERE id IN ({_NUMBERED.format(newest=_BY_TIME, keep=int(keep))})")


def _postgresql_cuts(run: Run, keep: int) -> None:
    cuts = _CUTS.format(newest=_BY_TIME, keep=int(keep))
    run(f"DELETE FROM agent_messages m USING ({cuts}) c WHERE m.session_id = c.session_id AND m.id <= c.last")


POSTGRESQL: Mapping[str, Trim] = {"numbered items": _postgresql_numbered, "cut by cut": _postgresql_cuts}


# --- MariaDB --------------------------------------------------------------------------------------


def _mariadb_numbered(run: Run, keep: int) -> None:
    numbered = _NUMBERED.format(newest=_BY_TIME, keep=int(keep))
    run(f"DELETE m FROM agent_messages m JOIN ({numbered}) AS doomed USING (id)")


def _mariadb_cuts(run: Run, keep: int) -> None:
    cuts = _CUTS.format(newest=_BY_TIME, keep=int(keep))
    run(f"DELETE m FROM agent_messages m JOIN ({cuts}) AS c USING (session_id) WHERE m.id <= c.last")


MARIADB: Mapping[str, Trim] = {"numbered items": _mariadb_numbered, "cut by cut": _mariadb_cuts}
