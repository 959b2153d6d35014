"""Reading PostgreSQL's catalog: the SDK's two tables, and what of others hangs on them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from sessionctl.core.address import StoreAddress
from sessionctl.core.model import Effect, Hazard
from sessionctl.stores.sql.layout import Clock, ColumnFacts, Layout, TableFacts, candidates, names, understood

_CLOCKS = {"timestamp": Clock.LOCAL, "timestamptz": Clock.INSTANT}
_TEXTS = frozenset({"text", "varchar"})
_NUMBERS = frozenset({"int2", "int4", "int8"})
_TYPES = {
    "session_id": _TEXTS,
    "created_at": frozenset(_CLOCKS),
    "updated_at": frozenset(_CLOCKS),
    "id": _NUMBERS,
    "message_data": _TEXTS,
}
_NO_TABLES = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
_EFFECTS = {"c": Effect.TAKES_ALONG, "n": Effect.TAKES_ALONG, "d": Effect.TAKES_ALONG}
_RULES = {"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT", "r": "RESTRICT", "a": "NO ACTION"}
_ON_DELETE = 8
"""The bit of pg_trigger.tgtype."""

_FIND = text("""
    SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relkind AS kind, c.relrowsecurity AS guarded,
           c.relhassubclass AS divided, pg_table_is_visible(c.oid) AS visible
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = :name AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND (n.nspname = :schema OR (CAST(:schema AS text) IS NULL AND pg_table_is_visible(c.oid)))
""")
_COLUMNS = text("""
    SELECT a.attname AS name, t.typname AS type, NOT a.attnotnull AS nullable, c.collisdeterministic AS exact
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_collation c ON c.oid = a.attcollation
    WHERE a.attrelid = :oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
""")
_INDEXES = text("""
    SELECT i.indrelid = :sessions AS of_sessions, bool_or(i.indisunique AND i.indnkeyatts = 1) AS is_unique
    FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid IN (:sessions, :messages) AND i.indisvalid AND i.indpred IS NULL AND a.attname = 'session_id'
    GROUP BY 1
""")
_FOREIGN_KEYS = text("""
    SELECT k.conname AS name, k.conrelid::regclass::text AS of_table, k.confrelid::regclass::text AS to_table,
           k.confdeltype AS rule, k.convalidated AS validated,
           k.conrelid = :messages AND k.confrelid = :sessions AND cardinality(k.conkey) = 1
             AND m.attname = 'session_id' AND s.attname = 'session_id' AS is_own
    FROM pg_constraint k
    JOIN pg_attribute m ON m.attrelid = k.conrelid AND m.attnum = k.conkey[1]
    JOIN pg_attribute s ON s.attrelid = k.confrelid AND s.attnum = k.confkey[1]
    WHERE k.contype = 'f' AND k.confrelid IN (:sessions, :messages) AND k.conparentid = 0
""")
_TRIGGERS = text("""
    SELECT t.tgname AS name, t.tgrelid::regclass::text AS on_table, t.tgtype AS bits FROM pg_trigger t
    WHERE t.tgrelid IN (:sessions, :messages) AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgparentid = 0
    UNION ALL
    SELECT r.rulename, r.ev_class::regclass::text, CASE WHEN r.ev_type = '4' THEN 8 ELSE 0 END FROM pg_rewrite r
    WHERE r.ev_class IN (:sessions, :messages) AND r.ev_type <> '1' AND r.ev_enabled <> 'D'
    ORDER BY 1
""")
_OTHERS = text("""
    SELECT CASE WHEN pg_table_is_visible(c.oid) THEN c.relname ELSE n.nspname || '.' || c.relname END AS name,
           array_agg(a.attname::text) AS columns
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND n.nspname NOT LIKE 'pg!_%' ESCAPE '!'
    GROUP BY 1 LIMIT 1000
""")
_SERVER = text("""
    SELECT current_setting('server_version') AS version, pg_is_in_recovery() AS standby
""")


def read_layout(connection: Connection, address: StoreAddress) -> Layout:
    """What the catalog says of the tables that ``address`` means. Raises StoreNotUnderstood."""
    rows = [find_table(connection, name) for name in names(address)]
    pair = [None if row is None else _facts(connection, row) for row in rows]
    found = understood(address, pair, lambda: {row.name: row.columns for row in connection.execute(_OTHERS)}, _TYPES)
    return _layout(connection, *found, rows=rows)


def find_table(connection: Connection, name: str) -> Any:
    """The catalog's row of the table that ``name`` means, None where there is none."""
    for schema, table in candidates(name):
        row = connection.execute(_FIND, {"schema": schema, "name": table}).first()
        if row is not None:
            return row
    return None


def _facts(connection: Connection, row: Any) -> TableFacts:
    columns = {
        column.name: ColumnFacts(
            type=column.type,
            nullable=column.nullable,
            clock=_CLOCKS.get(column.type),
            collation=None if column.exact is not False else "nondeterministic",
        )
        for column in connection.execute(_COLUMNS, {"oid": row.oid})
    }
    shown = row.name if row.visible else f"{row.schema}.{row.name}"
    kind = _NO_TABLES.get(row.kind)
    return TableFacts(
        schema=None if row.visible else row.schema,
        name=row.name,
        columns=columns,
        obstacle=f"{shown} is {kind}" if kind else None,
        divided=row.divided,
    )


def _layout(connection: Connection, sessions: TableFacts, messages: TableFacts, *, rows: list[Any]) -> Layout:
    oids = {"sessions": rows[0].oid, "messages": rows[1].oid}
    server = connection.execute(_SERVER).one()
    keys = connection.execute(_FOREIGN_KEYS, oids).all()
    own = [key for key in keys if key.is_own]
    indexes = {row.of_sessions: row.is_unique for row in connection.execute(_INDEXES, oids)}
    triggers = [_trigger(row) for row in connection.execute(_TRIGGERS, oids)]
    obstacles = ["the server is a standby that only reads"] if server.standby else []
    if sessions.obstacle is None and not indexes.get(True):
        obstacles.append(f"nothing keeps session_id unique in {sessions.shown}")
    if any(table.columns["session_id"].collation for table in (sessions, messages)):
        obstacles.append("the collation of session_id takes different ids for the same")
    return Layout(
        server=f"PostgreSQL {server.version.split()[0]}",
        sessions=sessions,
        messages=messages,
        cascades=any(key.rule == "c" for key in own),
        refers=bool(own),
        indexed=False in indexes,
        hazards=(*(_hazard(key) for key in keys if not key.is_own), *triggers),
        warnings=tuple(_row_security(rows, sessions, messages)),
        obstacles=tuple(obstacles),
    )


def _hazard(key: Any) -> Hazard:
    rule = _RULES.get(key.rule, key.rule)
    what = f"foreign key {key.name} of table {key.of_table} on {key.to_table} (ON DELETE {rule})"
    return Hazard(what=what, effect=_EFFECTS.get(key.rule, Effect.BLOCKS))


def _trigger(row: Any) -> Hazard:
    fires = bool(row.bits & _ON_DELETE)
    what = f"trigger {row.name} on {row.on_table}" + (" (fires on DELETE)" if fires else "")
    return Hazard(what=what, effect=Effect.TAKES_ALONG if fires else Effect.UNTOUCHED)


def _row_security(rows: list[Any], *tables: TableFacts) -> list[str]:
    return [
        f"row level security is on for {table.shown}: this role may see only some of the rows"
        for row, table in zip(rows, tables, strict=True)
        if row.guarded
    ]


def quoted(table: TableFacts) -> str:
    """The table as a text that casts to ``regclass``."""
    return ".".join(quoted_name(part) for part in (table.schema, table.name) if part)


def quoted_name(name: str) -> str:
    """As an identifier, to the letter."""
    return '"' + name.replace('"', '""') + '"'
