"""What a deletion in PostgreSQL will cost, told before it is done.

The catalog tells which indexes there are and how large the tables lie on disk; the planner is asked how it
will find the sessions. Nothing here needs more rights than reading, or waits for anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Select, text

from sessionctl.core.model import Preflight
from sessionctl.core.plan import Totals
from sessionctl.core.selector import Query
from sessionctl.stores.postgresql.layout import quoted
from sessionctl.stores.preflight import Rates, Scan, found_by, passing
from sessionctl.stores.sql.explain import explain
from sessionctl.stores.sql.layout import Layout, TableFacts

_RATES = Rates(rows=400_000, log_bytes=500e6, scanned=1.5e6)
"""Three quarters of the rows of one DELETE with its cascade of a million items of 950 octets, and the octets that
it wrote, on two cores with a fast disk; scans as they came out in tables of 40,000 rows on a busy machine."""
_RECORD = 64
"""Octets of log for each row deleted or locked, and each piece of a large text."""
_PIECES = 4
"""Pieces of large texts on a page of theirs (https://www.postgresql.org/docs/current/storage-toast.html)."""
_PAGE = 8192
_KEY = 10
"""Octets that ``wal_level = logical`` adds to a row for its key."""
_SQUEEZED = 0.6
"""What ``wal_compression`` leaves of a page of items; large texts are compressed already."""

_TABLES = text("""
    WITH named AS (
        SELECT row_number() OVER () AS place, to_regclass(name)::oid AS root
        FROM unnest(CAST(:names AS text[])) AS name),
    parts AS (
        SELECT n.place, c.* FROM named n, LATERAL (
            SELECT n.root AS part UNION SELECT relid FROM pg_partition_tree(n.root)) p
        JOIN pg_class c ON c.oid = p.part)
    SELECT place, bool_or(relkind = 'p') AS partitioned, bool_or(relreplident = 'f') AS logs_rows,
           sum(pg_relation_size(oid)) AS heap,
           sum(CASE WHEN reltoastrelid <> 0 THEN pg_relation_size(reltoastrelid) ELSE 0 END) AS toast,
           sum(CASE WHEN relpages > 0 AND reltuples >= 0
                    THEN reltuples / relpages * (pg_relation_size(oid) / current_setting('block_size')::int)
                    ELSE 0 END) AS rows
    FROM parts GROUP BY place ORDER BY place
""")
_INDEXES = text("""
    SELECT i.indrelid = to_regclass(:messages) AS of_messages, c.relname AS name, c.oid::regclass::text AS quoted,
           a.attname AS leads, i.indisvalid AS is_valid, i.indisprimary AS is_primary,
           i.indpred IS NULL AND m.amname IN ('btree', 'hash') AND i.indcollation[0] = a.attcollation AS serves
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_am m ON m.oid = c.relam
    LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] AND a.attnum > 0
    WHERE i.indrelid IN (to_regclass(:sessions), to_regclass(:messages)) ORDER BY c.relname
""")
_REFERRING = text("""
    SELECT k.conrelid::regclass::text AS shown, quote_ident(a.attname) AS col, a.attname AS name,
           greatest(c.reltuples, 0) AS rows, k.confrelid = to_regclass(:messages) AS to_items
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
    WHERE k.contype = 'f' AND k.confrelid IN (to_regclass(:sessions), to_regclass(:messages))
      AND k.conparentid = 0 AND k.conrelid <> to_regclass(:messages)
      AND NOT EXISTS (
        SELECT 1 FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
        WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL
          AND i.indkey[0] = ANY(k.conkey) AND m.amname IN ('btree', 'hash'))
    ORDER BY 1, 2
""")
_SETTINGS = text("""
    SELECT current_setting('full_page_writes') = 'on' AS full_pages,
           current_setting('wal_level') = 'logical' AS logical,
           current_setting('wal_compression') NOT IN ('off', 'no', 'false') AS squeezed
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """A table on disk: octets of its rows and of the large texts beside them, and about how many rows."""

    partitioned: bool
    logs_rows: bool
    heap: int
    toast: int
    rows: int


def preflight(
    connection: Connection, layout: Layout, query: Query, looking: Select[Any], planned: Totals, *, whole: float
) -> Preflight:
    """How the sessions of ``query`` will be found, by the statement ``looking``, and those of ``planned`` deleted.

    From a share ``whole`` of the sessions on, items are measured in one pass over them all. ``log_bytes`` was
    0.85 to 1.15 times of what was written right after a checkpoint, without and with compression, for stores
    of 16,000 to 160,000 items of 150 to 12,000 octets, of which the older half was purged. It takes the
    deleted rows to lie together, as those of a time do: rows scattered over all pages log all pages.
    """
    names = {"sessions": quoted(layout.sessions), "messages": quoted(layout.messages)}
    indexes = connection.execute(_INDEXES, names).all()
    sessions, messages = (_size(row) for row in connection.execute(_TABLES, {"names": list(names.values())}))
    messages = replace(messages, rows=_known_rows(messages, planned))
    log_bytes = _log_bytes(connection, planned, sessions, messages)
    by, table = _serving(indexes, "session_id", of_messages=True), layout.messages.shown
    looked_up = by is not None and (query.named is not None or planned.sessions < whole * sessions.rows)
    scans = list(_scans(connection, layout, names, planned, indexes, messages)) if planned.sessions else []
    return Preflight(
        selection=f"{_selection(connection, layout, query, looking, indexes)}; items "
        + (found_by(by, table) if looked_up else f"by one pass over {table}"),
        deletion=_deletion(layout, by),
        slow=tuple(scan.warning for scan in scans),
        rows_per_s=_RATES.rows_per_s(planned, log_bytes, scans),
        log="WAL",
        log_bytes=log_bytes,
    )


def _size(row: Any) -> _Size:
    return _Size(
        partitioned=row.partitioned,
        logs_rows=row.logs_rows,
        heap=int(row.heap or 0),
        toast=int(row.toast or 0),
        rows=round(row.rows or 0),
    )


def _serving(indexes: Sequence[Any], column: str, *, of_messages: bool) -> str | None:
    """An index that finds equal values of ``column``."""
    usable = (i for i in indexes if i.of_messages == of_messages and i.leads == column and i.serves and i.is_valid)
    return next((index.name for index in usable), None)


def _selection(
    connection: Connection, layout: Layout, query: Query, looking: Select[Any], indexes: Sequence[Any]
) -> str:
    sessions = layout.sessions.shown
    told = explain(connection, "EXPLAIN (FORMAT JSON)", looking)
    if told is None:
        return f"from {sessions}"
    plan = json.loads(told[0][0]) if isinstance(told[0][0], str) else told[0][0]
    used = next((name for name in _indexes_used(plan[0]["Plan"], layout.messages.name) if name), None)
    if used is None:
        return passing(sessions, query, time_index=_serving(indexes, "updated_at", of_messages=False))
    is_primary = any(index.name == used and index.is_primary for index in indexes)
    return "by the primary key" if is_primary else f"by {used}"


def _indexes_used(node: Any, passed_over: str) -> Iterator[str | None]:
    """The indexes of a plan but for those on the table ``passed_over``."""
    if node.get("Relation Name") != passed_over:
        yield node.get("Index Name")
        for inner in node.get("Plans", ()):
            yield from _indexes_used(inner, passed_over)


def _deletion(layout: Layout, by: str | None) -> str:
    items = found_by(by, layout.messages.shown)
    return f"foreign key cascade, items {items}" if layout.cascades else f"items {items}, then sessions (no cascade)"


def _scans(
    connection: Connection,
    layout: Layout,
    names: dict[str, str],
    planned: Totals,
    indexes: Sequence[Any],
    messages: _Size,
) -> Iterator[Scan]:
    if layout.messages.obstacle is None and _serving(indexes, "session_id", of_messages=True) is None:
        yield Scan(
            table=layout.messages.shown,
            column="session_id",
            rows=messages.rows,
            times=planned.sessions,
            remedy=_remedy(layout.messages, indexes, partitioned=messages.partitioned),
        )
    for row in connection.execute(_REFERRING, names):
        yield Scan(
            table=row.shown,
            column=row.name,
            rows=round(row.rows),
            times=planned.items if row.to_items else planned.sessions,
            remedy=f"CREATE INDEX CONCURRENTLY ON {row.shown} ({row.col})",
        )


def remedy(connection: Connection, layout: Layout) -> str:
    """The statement that makes the index by which a session's items are found."""
    names = {"sessions": quoted(layout.sessions), "messages": quoted(layout.messages)}
    _, messages = connection.execute(_TABLES, {"names": list(names.values())})
    return _remedy(layout.messages, connection.execute(_INDEXES, names).all(), partitioned=messages.partitioned)


def _remedy(messages: TableFacts, indexes: Sequence[Any], *, partitioned: bool) -> str:
    """The SDK's own index, made beside writers; one that was left unfinished is made anew."""
    for index in indexes:
        if index.of_messages and index.leads == "session_id" and index.serves and not index.is_valid:
            return f"REINDEX INDEX CONCURRENTLY {index.quoted}"
    name = f"idx_{messages.name}_session_time"
    called = (
        "" if any(index.name == name for index in indexes) else f"{quoted(replace(messages, schema=None, name=name))} "
    )
    what = f"{called}ON {quoted(messages)} (session_id, created_at)"
    if partitioned:
        return f"CREATE INDEX {what}, after one made CONCURRENTLY on each partition"
    return f"CREATE INDEX CONCURRENTLY {what}"


def _known_rows(messages: _Size, planned: Totals) -> int:
    """Where nobody has counted the rows yet, the plan's own items tell how large they are, and it has no more."""
    counted = messages.rows or (messages.heap + messages.toast) * planned.items // max(1, planned.bytes)
    return max(counted, planned.items)


def _log_bytes(connection: Connection, planned: Totals, sessions: _Size, messages: _Size) -> int:
    """A record for each row, and the pages they lie on where those are logged in full."""
    if not planned.sessions:
        return 0
    settings = connection.execute(_SETTINGS).one()
    share = planned.items / max(1, messages.rows)
    records = planned.items + 2 * planned.sessions + share * messages.toast / _PAGE * _PIECES
    octets = records * _RECORD
    if settings.logical:
        octets += planned.bytes if messages.logs_rows else _KEY * planned.items
    if settings.full_pages:
        heap = share * messages.heap + min(1.0, planned.sessions / max(1, sessions.rows)) * sessions.heap
        octets += heap * (_SQUEEZED if settings.squeezed else 1) + share * messages.toast
    return int(octets)
