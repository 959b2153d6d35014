"""What a MySQL or MariaDB store finds wrong with itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Table, text

from sessionctl.core.finding import Finding
from sessionctl.stores.drift import LiveColumn
from sessionctl.stores.mysql.preflight import quoted_name, quoted_table, remedy
from sessionctl.stores.sql.findings import has_local_times, of_columns, of_tables
from sessionctl.stores.sql.layout import ColumnFacts, Layout, TableFacts
from sessionctl.stores.sql.values import chunked

_WEIGHED = 200
"""Ids in one statement."""
_SHORT_TEXTS = frozenset({"tinytext", "text", "varchar", "char"})
_OFF_UTC = text("SELECT timestampdiff(MINUTE, utc_timestamp(), now()) <> 0 AS off, @@session.time_zone AS zone")

_COLUMNS = text("""
    SELECT column_name AS name, is_nullable = 'YES' AS nullable, extra,
           coalesce(column_default, 'NULL') <> 'NULL' OR extra LIKE '%auto_increment%'
               OR extra LIKE '%GENERATED%' AS filled,
           CASE WHEN data_type IN ('varchar', 'char') THEN character_maximum_length END AS length
    FROM information_schema.columns
    WHERE table_schema = coalesce(:schema, database()) AND table_name = :name ORDER BY ordinal_position
""")
_LEADING = text("""
    SELECT 1 FROM information_schema.statistics
    WHERE table_schema = coalesce(:schema, database()) AND table_name = :name AND seq_in_index = 1
      AND column_name = :column
""")


def activity_index(connection: Connection, layout: Layout) -> str | None:
    """The statement for an index on the time of last activity, None where there is one."""
    table = layout.sessions
    wanted = {"schema": table.schema, "name": table.name, "column": "updated_at"}
    if connection.execute(_LEADING, wanted).first():
        return None
    name = quoted_name(f"idx_{table.name}_updated")
    return f"ALTER TABLE {quoted_table(table)} ADD INDEX {name} (updated_at), ALGORITHM=INPLACE, LOCK=NONE"


def id_keys(connection: Connection, column: ColumnFacts, ids: Sequence[str]) -> list[Any]:
    """What ``column`` tells ids apart by: equal for those that its collation takes for the same."""
    collation = column.collation or "utf8mb4_bin"
    ignores_blanks = "nopad" not in collation and "_0900_" not in collation
    bare = [each.rstrip(" ") if ignores_blanks else each for each in ids]
    if collation.endswith("bin"):
        return list(bare)
    weight = f"SELECT HEX(WEIGHT_STRING(CONVERT(%s USING {column.charset}) COLLATE {collation}))"
    found: list[Any] = []
    for some in chunked(bare, _WEIGHED):
        together = " UNION ALL ".join([weight] * len(some))
        found += [row[0] for row in connection.exec_driver_sql(together, tuple(some))]
    return found


def live_columns(connection: Connection, table: TableFacts) -> Iterator[LiveColumn]:
    """The columns of ``table`` as the catalog has them."""
    for row in connection.execute(_COLUMNS, {"schema": table.schema, "name": table.name}):
        yield LiveColumn(
            name=row.name,
            nullable=bool(row.nullable),
            filled=bool(row.filled),
            length=row.length,
            moves="on update" in (row.extra or "").lower(),
        )


def findings(connection: Connection, layout: Layout, messages: Table) -> Iterator[Finding]:
    """What the catalog and the settings tell."""
    table = quoted_table(layout.messages)
    if not layout.indexed:
        detail = f"table {layout.messages.shown}; made beside writers"
        yield Finding(kind="missing_index", detail=detail, fix=remedy(connection, layout))
    columns = [live_columns(connection, each) for each in (layout.sessions, layout.messages)]
    yield from of_columns(layout, "mysql", *columns)
    larger_keys = f"ALTER TABLE {table} MODIFY id BIGINT NOT NULL AUTO_INCREMENT"
    yield from of_tables(connection, layout, messages, fix_keys=larger_keys)
    texts = layout.messages.columns["message_data"]
    if texts.type in _SHORT_TEXTS:
        letters = f"CHARACTER SET {texts.charset} COLLATE {texts.collation}"
        fix = f"ALTER TABLE {table} MODIFY message_data LONGTEXT {letters} NOT NULL"
        yield Finding(kind="text_cap", detail=f"{texts.type}; writers wait while the table is rewritten", fix=fix)
    collation = layout.messages.columns["session_id"].collation or ""
    if collation and not collation.endswith(("_bin", "binary")):
        detail = f"collation {collation}; writers wait while the tables are rewritten"
        yield Finding(kind="case_insensitive_ids", detail=detail, fix=_exact_ids(connection, layout))
    if has_local_times(layout):
        row = connection.execute(_OFF_UTC).one()
        if row.off:
            yield Finding(kind="local_times", detail=f"DATETIME, read as {row.zone}", fix=_IN_UTC)


_IN_UTC = "SET GLOBAL time_zone = '+00:00'"
"""And in the server's own settings, before the application's first write: stamps that are there mean what they did."""


_REFERRING = text("""
    SELECT DISTINCT r.constraint_name AS name, r.delete_rule AS rule, r.update_rule AS on_update
    FROM information_schema.referential_constraints AS r
    JOIN information_schema.key_column_usage AS k USING (constraint_schema, constraint_name)
    WHERE r.constraint_schema = coalesce(:schema, database()) AND r.table_name = :name
      AND r.referenced_table_name = :sessions AND k.column_name = 'session_id'
""")


def _exact_ids(connection: Connection, layout: Layout) -> str:
    """The foreign key goes and comes back: the server lets no column beneath one change."""
    statements = []
    for table in (layout.sessions, layout.messages):
        lengths = [each.length or 0 for each in live_columns(connection, table) if each.name == "session_id"]
        ids = f"session_id VARCHAR({max(*lengths, 255)}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"
        statements.append(f"ALTER TABLE {quoted_table(table)} MODIFY {ids}")
    items, sessions = quoted_table(layout.messages), quoted_table(layout.sessions)
    given = {"schema": layout.messages.schema, "name": layout.messages.name, "sessions": layout.sessions.name}
    for row in connection.execute(_REFERRING, given):
        key, rules = quoted_name(row.name), f"ON DELETE {row.rule} ON UPDATE {row.on_update}"
        back = f"FOREIGN KEY (session_id) REFERENCES {sessions} (session_id)"
        statements.insert(0, f"ALTER TABLE {items} DROP FOREIGN KEY {key}")
        statements.append(f"ALTER TABLE {items} ADD CONSTRAINT {key} {back} {rules}")
    return "; ".join(statements)
