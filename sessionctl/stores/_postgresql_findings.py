"""What a PostgreSQL store finds wrong with itself."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, Table, text

from sessionctl.core.finding import Finding
from sessionctl.stores._postgresql_layout import quoted
from sessionctl.stores._postgresql_preflight import remedy
from sessionctl.stores._sql_findings import has_local_times, of_tables
from sessionctl.stores._sql_layout import Layout

_OFFSETS = text("""
    SELECT zone, bool_or(timezone(zone, at) <> timezone('UTC', at)) AS off
    FROM coalesce(CAST(:zone AS text), current_setting('TimeZone')) AS zone,
         generate_series(now(), now() + interval '1 year', interval '1 month') AS at
    GROUP BY zone
""")


def findings(connection: Connection, layout: Layout, messages: Table, zone: str | None) -> Iterator[Finding]:
    """What the catalog and the settings tell; ``zone`` is the store's ``timezone`` key."""
    table = quoted(layout.messages)
    if not layout.indexed:
        detail = f"table {layout.messages.shown}; made beside writers"
        yield Finding(kind="missing_index", detail=detail, fix=remedy(connection, layout))
    yield from of_tables(connection, layout, messages, fix_keys=f"ALTER TABLE {table} ALTER COLUMN id TYPE bigint")
    if has_local_times(layout):
        row = connection.execute(_OFFSETS, {"zone": zone}).one()
        if row.off:
            yield Finding(kind="local_times", detail=f"read as {row.zone}", fix=_ROLE_IN_UTC)


_ROLE_IN_UTC = "ALTER ROLE CURRENT_USER SET TimeZone = 'UTC'"
"""For the application's role, before its first write: stamps that are there keep the meaning of the zone before."""
