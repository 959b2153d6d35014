"""Rows into PostgreSQL by COPY: several times as fast as statements, and it takes nothing else of the server."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any

import psycopg
from sqlalchemy import (
    ARRAY,
    TEXT,
    TIMESTAMP,
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
from sessionctl.core.record import ItemColumns, WholeSession, columns
from sessionctl.stores.holds_table import COLUMNS
from sessionctl.stores.postgresql.layout import quoted
from sessionctl.stores.sql.apply import SqlStore
from sessionctl.stores.sql.dialect import Expression
from sessionctl.stores.sql.layout import Clock, Layout
from sessionctl.stores.sql.put import Apart, item_stamps, session_stamps

_HEADER, _TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_COUNT, _LENGTH, _STAMP = struct.Struct(">h").pack, struct.Struct(">i").pack, struct.Struct(">iq").pack
_OCTETS = {"int2": 2, "int4": 4, "int8": 8}
_EPOCH, _DAY_S = datetime(2000, 1, 1), 86_400  # noqa: DTZ001 - the server's, of local times too
_STAMP_LENGTH, _HOUR = len("2026-01-01 10:00:00.000000"), len("2026-01-01 10:")
_WITHIN_AN_HOUR = {f"{second // 60:02}:{second % 60:02}": second * 1_000_000 for second in range(3600)}
"""Microseconds, by what stands behind the hour."""
_UTC = frozenset({"utc", "etc/utc", "uct", "etc/uct", "gmt", "etc/gmt", "zulu", "etc/zulu"})
"""Zones in which local times are those of UTC, then and now."""
_BLOCK = 128 * 1024
"""Octets sent at once: the server works on them while the next ones are put together."""
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


_ROOM_TO_INDEX = text(
    "SELECT set_config('maintenance_work_mem', '256MB', true) "
    "WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes('256MB')"
)


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
        told = (b"\0\3" + field(name) + created[begun] + updated[last] for name, begun, last in rows)
        self._copy(connection, self._sessions, (s.session_id, s.created_at, s.updated_at), told)

    def _insert_items(self, connection: Connection, puts: Sequence[Put], *, exact: bool) -> None:
        m = self._messages.c
        if not self._may_copy(connection, self._messages):
            super()._insert_items(connection, puts, exact=exact)
            return
        fields: Mapping[str | None, bytes] = _Fields()  # read while the server works on those before
        if len(puts) == 1 or self._asks_for(connection, m.created_at, exact=exact):
            fields = self._stamp_fields(connection, m.created_at, set(chain(*map(item_stamps, puts))), exact=exact)
        columns = (m.session_id, m.created_at, m.message_data)
        octets = _OCTETS[self._layout.messages.columns["id"].type] if exact else None
        self._copy(connection, self._messages, (m.id, *columns) if exact else columns, _rows(puts, fields, octets))

    def _insert_holds(self, connection: Connection, holds: TableClause, rows: Sequence[Sequence[Any]]) -> None:
        if not self._may_copy(connection, holds):
            super()._insert_holds(connection, holds, rows)
            return
        told = (_COUNT(len(row)) + b"".join(map(field, row)) for row in rows)
        self._copy(connection, holds, [holds.c[name] for name in COLUMNS], told)

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
        self, connection: Connection, table: TableClause, columns: Sequence[ColumnClause[Any]], rows: Iterable[bytes]
    ) -> None:
        preparer = self._engine.dialect.identifier_preparer
        copy_in(connection, preparer.format_table(table), [preparer.format_column(c) for c in columns], rows)

    def _stamp_fields(
        self, connection: Connection, column: Column[Any], stamps: set[str | None], *, exact: bool
    ) -> Mapping[str | None, bytes]:
        """Stamps as ``session_stamps`` and ``item_stamps`` give them, as fields for ``column``.

        Only the server knows its zones, so instants that go into local times are asked of it, and so is what
        Python knows of no time (``infinity``): each once.
        """
        known = {stamp for stamp in stamps if stamp is not None}
        is_local = bool(known) and self._asks_for(connection, column, exact=exact)
        fields = {} if is_local else {stamp: told for stamp in known if (told := _stamp_field(stamp)) is not None}
        if asked := known - fields.keys():
            given = func.unnest(cast(literal(self._given(list(asked))), ARRAY(TEXT)))
            stamp = given.table_valued("stamp").render_derived().c.stamp
            value = self._stamp_at(column, stamp) if is_local else cast(stamp, TIMESTAMP)
            fields |= {row[0]: field(row[1]) for row in connection.execute(select(stamp, func.timestamp_send(value)))}
        return {None: field(None)} | fields

    def _asks_for(self, connection: Connection, column: Column[Any], *, exact: bool) -> bool:
        """Must the server tell what stamps become in ``column``?"""
        return column.info["facts"].clock is Clock.LOCAL and not exact and not self._is_utc(connection)

    def _in_groups(self, connection: Connection, ids: Sequence[str], most: int) -> Iterator[WholeSession]:
        self._is_utc(connection)  # known then to ``_instant_beyond``
        return super()._in_groups(connection, ids, most)

    def _is_utc(self, connection: Connection) -> bool:
        """Are local times here those of UTC? Asked once: they are of the role, whatever connection it has."""
        if self._in_utc is None:
            self._in_utc = connection.execute(select(func.lower(self._zone))).scalar_one() in _UTC
        return self._in_utc


class _Fields(dict[str | None, bytes]):
    """Stamps as fields, each read when it is first asked for. Raises Apart for one that only the server can read."""

    def __missing__(self, stamp: str | None) -> bytes:
        told = field(None) if stamp is None else _stamp_field(stamp)
        if told is None:
            raise Apart(stamp)
        self[stamp] = told
        return told


def _rows(puts: Iterable[Put], fields: Mapping[str | None, bytes], key_octets: int | None) -> Iterator[bytes]:
    """Session, stamp and text of items, behind their keys where a column of so many octets takes them.

    Those of one session together. Raises OverflowError for a key that is not for that column, and what
    ``fields`` raises.
    """
    for put in puts:
        items = columns(put.items)
        texts = list(map(str.encode, items.texts))
        head = (b"\0\3" if key_octets is None else b"") + field(put.session_id)
        stamps = _stamps_of(put, items, fields)
        heads = [head + stamp + _LENGTH(len(text)) for stamp, text in zip(stamps, texts, strict=True)]
        if key_octets is not None:
            heads = [_key(key, key_octets) + each for key, each in zip(items.keys, heads, strict=True)]
        parts = [b""] * (2 * len(texts))  # texts are long: each is copied once
        parts[::2], parts[1::2] = heads, texts
        yield b"".join(parts)


def _stamps_of(put: Put, items: ItemColumns, fields: Mapping[str | None, bytes]) -> list[bytes]:
    """The fields of ``item_stamps``, those that ``fields`` would read by itself in a third of the time."""
    if isinstance(fields, _Fields) and not put.exact and (usual := _usual_stamps(items)) is not None:
        return usual
    return [fields[stamp] for stamp in item_stamps(put)]


def _usual_stamps(items: ItemColumns) -> list[bytes] | None:
    """The same where all are whole seconds, and none comes before the one ahead of it; else None."""
    told = [stored for stored in items.stored if stored is not None]
    if items.at.count(None) < len(items) or len(told) < len(items) or told != sorted(told):
        return None
    try:
        return [_STAMP(8, _hour(stored[:_HOUR]) + _WITHIN_AN_HOUR[stored[_HOUR:]]) for stored in told]
    except (KeyError, ValueError):
        return None


@lru_cache(maxsize=1024)
def _hour(start: str) -> int:
    """The hour that ``start`` begins as Python writes it, as the server counts. Raises ValueError."""
    stored = f"{start}00:00"
    at = datetime.fromisoformat(stored)
    if str(at) != stored:
        raise ValueError(start)
    return _microseconds(at)


def _key(key: int | str | None, octets: int) -> bytes:
    """The start of a row of four columns."""
    if not isinstance(key, int):
        raise OverflowError(f"the key {key!r} is no number")
    return b"\0\4" + _LENGTH(octets) + key.to_bytes(octets, "big", signed=True)


def copy_in(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[bytes]) -> None:
    """Insert ``rows`` of COPY's binary format; names are quoted already. Errors come as SQLAlchemy has them.

    The server reads that format in half the time of its text. A text that is no UTF-8 raises UnicodeEncodeError.
    """
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT binary)"
    raw: Any = connection.connection.dbapi_connection
    with _wrapped(connection, statement), raw.cursor() as cursor, cursor.copy(statement) as copy:
        for block in _blocks(rows):
            copy.write(block)


def room_to_index(connection: Connection) -> None:
    """Sort in memory what is indexed in this transaction: servers as they come have 64 MB for it."""
    connection.execute(_ROOM_TO_INDEX)


def learn_sessions(connection: Connection, layout: Layout) -> None:
    """Let the server know how many sessions these tables have: it would read all items for a few of them.

    Only of their ids, and by 3,000 rows, which takes no time; the autovacuum looks at all columns when it comes by.
    """
    connection.exec_driver_sql("SET LOCAL default_statistics_target = 10")
    for table in (layout.sessions, layout.messages):
        connection.exec_driver_sql(f"ANALYZE {quoted(table)} (session_id)")


def field(value: str | bytes | bool | None) -> bytes:
    """``value`` as COPY's binary format has it: its length, -1 for none, and its octets."""
    if value is None:
        return _LENGTH(-1)
    octets = value.encode() if isinstance(value, str) else bytes([value]) if isinstance(value, bool) else value
    return _LENGTH(len(octets)) + octets


def _stamp_field(stamp: str) -> bytes | None:
    """A time as the store's readers write it, as a field; None for any other text."""
    try:
        at = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return None if len(stamp) != _STAMP_LENGTH or at.tzinfo else _STAMP(8, _microseconds(at))


def _microseconds(at: datetime) -> int:
    since = at - _EPOCH
    return (since.days * _DAY_S + since.seconds) * 1_000_000 + since.microseconds


def _blocks(rows: Iterable[bytes]) -> Iterator[bytes]:
    some = [_HEADER]
    size = 0
    for row in rows:
        some.append(row)
        size += len(row)
        if size >= _BLOCK:
            yield b"".join(some)
            some, size = [], 0
    yield b"".join([*some, _TRAILER])


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
