"""Reading MySQL's and MariaDB's catalog: the SDK's two tables, made by hand there, and what hangs on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, func, select, table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.elements import quoted_name

from sessionctl.core.address import StoreAddress
from sessionctl.core.model import Effect, Hazard
from sessionctl.drivers.mysql import error_number
from sessionctl.stores.sql.layout import Clock, ColumnFacts, Layout, TableFacts, candidates, names, understood

_CLOCKS = {"datetime": Clock.LOCAL, "timestamp": Clock.INSTANT}
_TEXTS = frozenset({"varchar", "char", "tinytext", "text", "mediumtext", "longtext"})
_TYPES = {
    "session_id": _TEXTS,
    "created_at": frozenset(_CLOCKS),
    "updated_at": frozenset(_CLOCKS),
    "id": frozenset({"int", "bigint", "mediumint", "smallint"}),
    "message_data": _TEXTS | {"json"},
}
_EFFECTS = {"CASCADE": Effect.TAKES_ALONG, "SET NULL": Effect.TAKES_ALONG, "SET DEFAULT": Effect.TAKES_ALONG}

_FIND = text("""
    SELECT table_schema AS `schema`, table_name AS name, table_type AS kind, engine AS engine
    FROM information_schema.tables WHERE table_schema = coalesce(:schema, database()) AND table_name = :name
""")
_COLUMNS = text("""
    SELECT column_name AS name, data_type AS type, is_nullable = 'YES' AS nullable,
           character_set_name AS charset, collation_name AS collation
    FROM information_schema.columns WHERE table_schema = :schema AND table_name = :name ORDER BY ordinal_position
""")
_INDEXES = text("""
    SELECT index_name AS name, min(non_unique) = 0 AS is_unique, count(*) AS columns,
           max(seq_in_index = 1 AND column_name = 'session_id') AS leads
    FROM information_schema.statistics WHERE table_schema = :schema AND table_name = :name GROUP BY index_name
""")
_FOREIGN_KEYS = text("""
    SELECT k.constraint_name AS name, k.table_schema AS of_schema, k.table_name AS of_table,
           k.column_name AS of_column, k.referenced_table_schema AS to_schema, k.referenced_table_name AS to_table,
           k.referenced_column_name AS to_column, r.delete_rule AS rule
    FROM information_schema.key_column_usage k JOIN information_schema.referential_constraints r
      ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name
         AND r.table_name = k.table_name
    WHERE k.ordinal_position = 1
      AND (k.referenced_table_schema, k.referenced_table_name) IN ((:schema, :name), (:other_schema, :other_name))
    ORDER BY k.referenced_table_name = :other_name, k.table_schema, k.table_name, k.constraint_name
""")
"""Of both tables at once: it looks through all tables of the server."""
_TRIGGERS = text("""
    SELECT trigger_name AS name, event_manipulation AS fires_on FROM information_schema.triggers
    WHERE event_object_schema = :schema AND event_object_table = :name ORDER BY 1
""")
_OTHERS = text("""
    SELECT table_name AS name, column_name AS col FROM information_schema.columns
    WHERE table_schema = database() ORDER BY 1 LIMIT 20000
""")


def read_layout(connection: Connection, address: StoreAddress) -> Layout:
    """What the catalog says of the tables that ``address`` means. Raises StoreNotUnderstood."""
    rows = [find_table(connection, name) for name in names(address)]
    here = connection.execute(select(func.database())).scalar_one()
    pair = [None if row is None else _facts(connection, row, here) for row in rows]
    found = understood(address, pair, lambda: _others(connection), _TYPES)
    return _layout(connection, *found, here=here)


def find_table(connection: Connection, name: str) -> Any:
    """The catalog's row of the table that ``name`` means, None where there is none."""
    for schema, table_name in candidates(name):
        row = connection.execute(_FIND, {"schema": schema, "name": table_name}).first()
        if row is not None:
            return row
    # The catalog hides tables from who may not read them; asking for one tells "no such" from "not yours".
    schema, table_name = candidates(name)[-1]
    unseen = table(quoted_name(table_name, quote=True), schema=quoted_name(schema, quote=True) if schema else None)
    try:
        connection.execute(select(1).select_from(unseen).limit(0))
    except DBAPIError as error:
        if error_number(error.orig) not in (1146, 1049):
            raise
    return None


def _others(connection: Connection) -> dict[str, list[str]]:
    tables: dict[str, list[str]] = {}
    for row in connection.execute(_OTHERS):
        tables.setdefault(row.name, []).append(row.col)
    return tables


def _facts(connection: Connection, row: Any, here: str) -> TableFacts:
    columns = {
        column.name: ColumnFacts(
            type=column.type.lower(),
            nullable=bool(column.nullable),
            clock=_CLOCKS.get(column.type.lower()),
            charset=column.charset,
            collation=column.collation,
        )
        for column in connection.execute(_COLUMNS, {"schema": row.schema, "name": row.name})
    }
    facts = TableFacts(schema=None if row.schema == here else row.schema, name=row.name, columns=columns)
    if row.kind != "BASE TABLE":
        return replace(facts, obstacle=f"{facts.shown} is a {row.kind.lower()}")
    if (row.engine or "").lower() != "innodb":
        return replace(facts, obstacle=f"{facts.shown} is kept by {row.engine}, not by InnoDB with its transactions")
    return facts


def _layout(connection: Connection, sessions: TableFacts, messages: TableFacts, *, here: str) -> Layout:
    places = [{"schema": table.schema or here, "name": table.name} for table in (sessions, messages)]
    other = {f"other_{key}": value for key, value in places[1].items()}
    keys = connection.execute(_FOREIGN_KEYS, places[0] | other).all()
    own = [key for key in keys if _is_own(key, *places)]
    indexes = [connection.execute(_INDEXES, place).all() for place in places]
    triggers = [(place["name"], row) for place in places for row in connection.execute(_TRIGGERS, place)]
    unique = [index.name for index in indexes[0] if index.leads and index.is_unique and index.columns == 1]
    obstacles = []
    if sessions.obstacle is None and not unique:
        obstacles.append(f"nothing keeps session_id unique in {sessions.shown}")
    # A cascade passes over the triggers of the table it empties; deleting item by item fires them,
    # as the SDK's own clear_session does.
    is_watched = any(name == messages.name and row.fires_on == "DELETE" for name, row in triggers)
    return Layout(
        server=_server(connection),
        sessions=sessions,
        messages=messages,
        cascades=not is_watched and any(key.rule == "CASCADE" for key in own),
        refers=bool(own),
        indexed=any(index.leads for index in indexes[1]),
        key=next(iter(unique), "PRIMARY"),
        hazards=(
            *(_hazard(key, here) for key in keys if key not in own),
            *(_trigger(*trigger) for trigger in triggers),
        ),
        obstacles=tuple(obstacles),
    )


def _is_own(key: Any, sessions: Mapping[str, str], messages: Mapping[str, str]) -> bool:
    return (key.of_schema, key.of_table, key.of_column) == (messages["schema"], messages["name"], "session_id") and (
        key.to_schema,
        key.to_table,
        key.to_column,
    ) == (sessions["schema"], sessions["name"], "session_id")


def _hazard(key: Any, here: str) -> Hazard:
    of_table = key.of_table if key.of_schema == here else f"{key.of_schema}.{key.of_table}"
    what = f"foreign key {key.name} of table {of_table} on {key.to_table} (ON DELETE {key.rule})"
    return Hazard(what=what, effect=_EFFECTS.get(key.rule, Effect.BLOCKS))


def _trigger(on_table: str, row: Any) -> Hazard:
    fires = row.fires_on == "DELETE"
    what = f"trigger {row.name} on {on_table} (fires on {row.fires_on})"
    return Hazard(what=what, effect=Effect.TAKES_ALONG if fires else Effect.UNTOUCHED)


def _server(connection: Connection) -> str:
    version = ".".join(map(str, (connection.dialect.server_version_info or ())[:3]))
    return f"{'MariaDB' if is_mariadb(connection) else 'MySQL'} {version}"


def is_mariadb(connection: Connection) -> bool:
    return bool(getattr(connection.dialect, "is_mariadb", False))
