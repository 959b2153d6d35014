"""Rows into PostgreSQL by COPY: several times as fast as statements, and it takes nothing else of the server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import psycopg
from sqlalchemy import (
    ARRAY,
    TEXT,
    Column,
    ColumnClause,
    Connection,
    Row,
    TableClause,
    cast,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError

from sessionctl.core.model import Put
from sessionctl.stores.holds_table import COLUMNS
from sessionctl.stores.sql.apply import SqlStore
from sessionctl.stores.sql.dialect import Expression
from sessionctl.stores.sql.layout import Clock
from sessionctl.stores.sql.put import item_stamps, session_stamps

_NULL = "\\N"
_UTC = frozenset({"utc", "etc/utc", "uct", "etc/uct", "gmt", "etc/gmt", "zulu", "etc/zulu"})
"""Zones in which local times are those of UTC, then and now."""
_BLOCK = 128 * 1024
"""Characters sent at once: the server works on them while the next ones are put together."""
_LOOK = text("""
    SELECT c.relkind IN ('r', 'p') AND NOT row_security_active(c.oid) AND NOT EXISTS (
               SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type = '3' AND r.ev_enabled <> 'D'
           ) AS may_copy,
           c.relkind = 'r' AND NOT EXISTS (
               SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgtype & 4 <> 0 AND NOT t.tgisinternal
               AND t.tgenabled <> 'D'
           ) AS untouched
    FROM pg_class c WHERE c.oid = CAST(:table AS regclass)
""")
"""COPY passes rules over, and the server refuses it where policies tell which rows a role may write.

Rows are ``untouched`` where no trigger of somebody fires on INSERT (4).
"""


class CopyingStore(SqlStore):
    """A store that rows are copied into, wherever that does just what INSERT would."""

    _zone: Expression
    """The time zone of stamps that are local times."""
    _in_utc: bool | None = None
    _is_utf8: bool
    """Does the server keep the octets that it is sent?"""

    @cached_property
    def _looked_at(self) -> dict[str, Row[Any]]:
        """``_LOOK`` of each table that was written to."""
        return {}

    def _insert_sessions(self, connection: Connection, puts: Sequence[Put], *, exact: bool) -> None:
        s = self._sessions.c
        if not self._may_copy(connection, self._sessions):
            super()._insert_sessions(connection, puts, exact=exact)
            return
        rows = [(put.session_id, *session_stamps(put)) for put in puts]
        created = self._stamp_fields(connection, s.created_at, {row[1] for row in rows}, exact=exact)
        updated = self._stamp_fields(connection, s.updated_at, {row[2] for row in rows}, exact=exact)
        lines = (f"{field(name)}\t{created[begun]}\t{updated[last]}\n" for name, begun, last in rows)
        self._copy(connection, self._sessions, (s.session_id, s.created_at, s.updated_at), lines)

    def _insert_items(self, connection: Connection, puts: Sequence[Put], *, exact: bool) -> None:
        m = self._messages.c
        if not self._may_copy(connection, self._messages):
            super()._insert_items(connection, puts, exact=exact)
            return
        stamped = [(put, item_stamps(put)) for put in puts]
        fields = self._stamp_fields(
            connection, m.created_at, {at for _, stamps in stamped for at in stamps}, exact=exact
        )
        columns = (m.session_id, m.created_at, m.message_data)
        self._copy(connection, self._messages, (m.id, *columns) if exact else columns, _lines(stamped, fields, exact))

    def _insert_holds(self, connection: Connection, holds: TableClause, rows: Sequence[Sequence[Any]]) -> None:
        if not self._may_copy(connection, holds):
            super()._insert_holds(connection, holds, rows)
            return
        lines = ("\t".join(_NULL if value is None else field(str(value)) for value in row) + "\n" for row in rows)
        self._copy(connection, holds, [holds.c[name] for name in COLUMNS], lines)

    def _keeps_texts(self, connection: Connection) -> bool:
        is_text = self._layout.messages.columns["message_data"].type == "text"  # a varchar cuts blanks at its end off
        return self._is_utf8 and is_text and bool(self._look(connection, self._messages).untouched)

    def _may_copy(self, connection: Connection, table: TableClause) -> bool:
        return bool(self._look(connection, table).may_copy)

    def _look(self, connection: Connection, table: TableClause) -> Row[Any]:
        name = self._engine.dialect.identifier_preparer.format_table(table)
        if name not in self._looked_at:
            self._looked_at[name] = connection.execute(_LOOK, {"table": name}).one()
        return self._looked_at[name]

    def _copy(
        self, connection: Connection, table: TableClause, columns: Sequence[ColumnClause[Any]], lines: Iterable[str]
    ) -> None:
        preparer = self._engine.dialect.identifier_preparer
        copy_in(connection, preparer.format_table(table), [preparer.format_column(c) for c in columns], lines)

    def _stamp_fields(
        self, connection: Connection, column: Column[Any], stamps: set[str | None], *, exact: bool
    ) -> Mapping[str | None, str]:
        """Stamps as ``session_stamps`` and ``item_stamps`` give them, as fields for ``column``.

        Only the server knows its zones, so instants that go into local times are asked of it: each once.
        """
        known = [stamp for stamp in stamps if stamp is not None]
        if column.info["facts"].clock is Clock.INSTANT:  # 'infinity' is in no zone
            fields = {stamp: f"{stamp}+00" if stamp[-1:].isdigit() else stamp for stamp in known}
        elif exact or not known or self._is_utc(connection):
            fields = {stamp: stamp for stamp in known}
        else:
            given = func.unnest(cast(literal(self._given(known)), ARRAY(TEXT))).table_valued("stamp").render_derived()
            local = self._stamp_text(self._stamp_at(column, given.c.stamp), Clock.LOCAL)
            fields = {row[0]: row[1] for row in connection.execute(select(given.c.stamp, local))}
        return {None: _NULL} | fields

    def _is_utc(self, connection: Connection) -> bool:
        """Are local times here those of UTC? Asked once: they are of the role, whatever connection it has."""
        if self._in_utc is None:
            self._in_utc = connection.execute(select(func.lower(self._zone))).scalar_one() in _UTC
        return self._in_utc


def _lines(
    stamped: Iterable[tuple[Put, list[str | None]]], fields: Mapping[str | None, str], exact: bool
) -> Iterator[str]:
    for put, stamps in stamped:
        name = field(put.session_id)
        texts = [item.text for item in put.items]
        told = field("\0".join(texts)).split("\0")  # all at once: a call for each would cost more than its work
        if len(told) != len(texts):
            told = [field(text) for text in texts]  # one holds a NUL, which the server will refuse
        rows = [f"{name}\t{fields[stamp]}\t{text}\n" for stamp, text in zip(stamps, told, strict=True)]
        yield from ([f"{item.key}\t{row}" for item, row in zip(put.items, rows, strict=True)] if exact else rows)


def copy_in(connection: Connection, table: str, columns: Sequence[str], lines: Iterable[str]) -> None:
    """Insert ``lines`` of COPY's text format; names are quoted already. Errors come as SQLAlchemy has them.

    A text that is no UTF-8 raises UnicodeEncodeError.
    """
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
    raw: Any = connection.connection.dbapi_connection
    with _wrapped(connection, statement), raw.cursor() as cursor, cursor.copy(statement) as copy:
        for block in _blocks(lines):
            copy.write(block)


def field(value: str) -> str:
    """``value`` as COPY's text format has it."""
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    for control, told in (("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
        if control in value:
            value = value.replace(control, told)
    return value


def _blocks(lines: Iterable[str]) -> Iterator[str]:
    some: list[str] = []
    size = 0
    for line in lines:
        some.append(line)
        size += len(line)
        if size >= _BLOCK:
            yield "".join(some)
            some, size = [], 0
    yield "".join(some)


@contextmanager
def _wrapped(connection: Connection, statement: str) -> Iterator[None]:
    """The driver's errors as SQLAlchemy wraps them; a connection that broke is not used again."""
    raw: Any = connection.connection.dbapi_connection
    try:
        yield
    except psycopg.Error as error:
        if raw.broken:
            connection.invalidate(error)
        dialect = connection.dialect
        raise DBAPIError.instance(statement, None, error, psycopg.Error, True, dialect=dialect) from error
