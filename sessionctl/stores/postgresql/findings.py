"""What a PostgreSQL store finds wrong with itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import Connection, Table, text

from sessionctl.core.finding import Finding
from sessionctl.stores.drift import LiveColumn
from sessionctl.stores.postgresql.layout import quoted
from sessionctl.stores.postgresql.preflight import remedy
from sessionctl.stores.sql.findings import has_local_times, of_columns, of_tables
from sessionctl.stores.sql.layout import Layout, TableFacts

_OFFSETS = text("""
    SELECT zone, bool_or(timezone(zone, at) <> timezone('UTC', at)) AS off
    FROM coalesce(CAST(:zone AS text), current_setting('TimeZone')) AS zone,
         generate_series(now(), now() + interval '1 year', interval '1 month') AS at
    GROUP BY zone
""")

_LEADING = text("""
    SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = to_regclass(:name) AND i.indisvalid AND i.indpred IS NULL AND a.attname = :column
""")
_COLUMNS = text("""
    SELECT a.attname AS name, NOT a.attnotnull AS nullable,
           a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> '' AS filled,
           CASE WHEN t.typname IN ('varchar', 'bpchar') AND a.atttypmod > 4 THEN a.atttypmod - 4 END AS length
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = to_regclass(:name) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
""")


def activity_index(connection: Connection, layout: Layout) -> str | None:
    """The statement for an index on the time of last activity, None where there is one."""
    table = layout.sessions
    if connection.execute(_LEADING, {"name": quoted(table), "column": "updated_at"}).first():
        return None
    name = quoted(replace(table, schema=None, name=f"idx_{table.name}_updated"))
    return f"CREATE INDEX CONCURRENTLY {name} ON {quoted(table)} (updated_at)"


def live_columns(connection: Connection, table: TableFacts) -> Iterator[LiveColumn]:
    """The columns of ``table`` as the catalog has them."""
    for row in connection.execute(_COLUMNS, {"name": quoted(table)}):
        yield LiveColumn(name=row.name, nullable=row.nullable, filled=row.filled, length=row.length)


def findings(connection: Connection, layout: Layout, messages: Table, zone: str | None) -> Iterator[Finding]:
    """What the catalog and the settings tell; ``zone`` is the store's ``timezone`` key."""
    table = quoted(layout.messages)
    if not layout.indexed:
        detail = f"table {layout.messages.shown}; made beside writers"
        yield Finding(kind="missing_index", detail=detail, fix=remedy(connection, layout))
    columns = [live_columns(connection, each) for each in (layout.sessions, layout.messages)]
    yield from of_columns(layout, "postgresql", *columns)
    yield from of_tables(connection, layout, messages, fix_keys=f"ALTER TABLE {table} ALTER COLUMN id TYPE bigint")
    if has_local_times(layout):
        row = connection.execute(_OFFSETS, {"zone": zone}).one()
        if row.off:
            yield Finding(kind="local_times", detail=f"read as {row.zone}", fix=_ROLE_IN_UTC)


_ROLE_IN_UTC = "ALTER ROLE CURRENT_USER SET TimeZone = 'UTC'"
"""For the application's role, before its first write: stamps that are there keep the meaning of the zone before."""
