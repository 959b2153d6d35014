"""What a MySQL or MariaDB store finds wrong with itself."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, Table, text

from sessionctl.core.finding import Finding
from sessionctl.stores._mysql_preflight import quoted_table, remedy
from sessionctl.stores._sql_findings import has_local_times, of_tables
from sessionctl.stores._sql_layout import Layout

_SHORT_TEXTS = frozenset({"tinytext", "text", "varchar", "char"})
_OFF_UTC = text("SELECT timestampdiff(MINUTE, utc_timestamp(), now()) <> 0 AS off, @@session.time_zone AS zone")


def findings(connection: Connection, layout: Layout, messages: Table) -> Iterator[Finding]:
    """What the catalog and the settings tell."""
    table = quoted_table(layout.messages)
    if not layout.indexed:
        detail = f"table {layout.messages.shown}; made beside writers"
        yield Finding(kind="missing_index", detail=detail, fix=remedy(connection, layout))
    larger_keys = f"ALTER TABLE {table} MODIFY id BIGINT NOT NULL AUTO_INCREMENT"
    yield from of_tables(connection, layout, messages, fix_keys=larger_keys)
    texts = layout.messages.columns["message_data"]
    if texts.type in _SHORT_TEXTS:
        letters = f"CHARACTER SET {texts.charset} COLLATE {texts.collation}"
        fix = f"ALTER TABLE {table} MODIFY message_data LONGTEXT {letters} NOT NULL"
        yield Finding(kind="text_cap", detail=f"{texts.type}; writers wait while the table is rewritten", fix=fix)
    collation = layout.messages.columns["session_id"].collation or ""
    if collation and not collation.endswith(("_bin", "binary")):
        detail = f"collation {collation}; a foreign key has to be dropped for it and made again"
        yield Finding(kind="case_insensitive_ids", detail=detail, fix=_exact_ids(layout))
    if has_local_times(layout):
        row = connection.execute(_OFF_UTC).one()
        if row.off:
            yield Finding(kind="local_times", detail=f"DATETIME, read as {row.zone}")


def _exact_ids(layout: Layout) -> str:
    ids = "session_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"
    return "; ".join(f"ALTER TABLE {quoted_table(each)} MODIFY {ids}" for each in (layout.sessions, layout.messages))
