"""Whole sessions out of a SQLite file and into one, as they are stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from sessionctl.core.joined import NO_ITEMS, JoinedItems, in_order
from sessionctl.core.model import Onto, Outcome, Put
from sessionctl.core.record import (
    ItemsInStore,
    PlainItem,
    SessionRecord,
    Stamps,
    StoredItem,
    instant,
    is_usual,
    stored_item,
)
from sessionctl.stores.sqlite.items import plain_sql, small_sql
from sessionctl.stores.sqlite.layout import SqliteLayout, quoted
from sessionctl.stores.sqlite.structure import STRUCTURE, copy, only_main, put_among, put_back, write_anew
from sessionctl.stores.sqlite.values import among, bound, parse, stamp, text, version_of

_TOGETHER = 200
"""Items at most that are fetched at once."""
_SMALL = 16_384
"""Octets of a text up to which it is fetched with others before their sizes are known."""
_LITTLE = 1 << 20
"""Characters of items that are fetched at once, about."""
_MINE = "WHERE session_id = CAST(? AS TEXT)"


def stored_stamp(value: Any) -> tuple[str | None, str | None]:
    """A stamp as (the stored text, the instant where the text is not UTC in the usual form)."""
    if value is None:
        return None, None
    stored = text(value)
    if is_usual(stored):
        return stored, None
    at = parse(stored)
    if at is None or stored == stamp(at):
        return stored, None
    return stored, at.isoformat().replace("+00:00", "Z")


def versions(layout: SqliteLayout, ids: Sequence[str]) -> tuple[str, list[Any]]:
    """Rows for ``record_of`` of these sessions as they lie in the file, and the parameters."""
    inside, params = among(ids)
    mine = f"FROM {quoted(layout.messages)} m WHERE m.session_id = s.session_id"
    columns = f"s.session_id, s.created_at, s.updated_at, (SELECT count(*) {mine}), (SELECT max(id) {mine})"
    where = f"WHERE s.session_id IN ({inside}) ORDER BY s.rowid"
    return f"SELECT {columns} FROM {quoted(layout.sessions)} s {where}", params


def record_of(connection: sqlite3.Connection, layout: SqliteLayout, row: Sequence[Any]) -> SessionRecord:
    """A session of its row (session_id, created_at, updated_at, items, newest id)."""
    session_id, created_text, updated_text, items, newest = row
    (created, created_at), (updated, updated_at) = stored_stamp(created_text), stored_stamp(updated_text)
    return SessionRecord(
        id=session_id,
        version=version_of(updated_text, newest, items),
        stamps=Stamps(created=created, updated=updated, created_at=created_at, updated_at=updated_at),
        extras=_extras_of(connection, layout, session_id) if layout.advanced else {},
    )


def items_of(cursor: sqlite3.Cursor, octets: str, plain: str, session_id: str) -> ItemsInStore:
    """The items of a session by ``octets_sql`` or ``plain_sql``, till ``cursor`` is used again."""
    mine = {"session": bound(session_id)}
    return ItemsInStore(lambda: _stored_items(cursor.execute(octets, mine)), lambda: _plain_items(cursor, plain, mine))


def contents(
    connection: sqlite3.Connection, layout: SqliteLayout, ids: Sequence[str]
) -> Iterator[tuple[str, Iterable[PlainItem]]]:
    """Those of these sessions that are there, in the order of ``ids``, each with its items."""
    small, plain, (inside, params) = small_sql(layout, _SMALL), plain_sql(layout), among(ids)
    asked = f"SELECT session_id FROM {quoted(layout.sessions)} WHERE session_id IN ({inside})"
    there = {session_id for (session_id,) in connection.execute(asked, params).fetchall()}
    cursor = connection.cursor()
    for session_id in filter(there.__contains__, dict.fromkeys(ids)):
        mine = {"session": bound(session_id)}
        yield session_id, _joined_items(cursor, small, mine) or _plain_items(cursor, plain, mine)
    with suppress(sqlite3.ProgrammingError):  # the store was closed before this was
        cursor.close()


def _joined_items(cursor: sqlite3.Cursor, sql: str, mine: dict[str, bytes]) -> JoinedItems | None:
    """Those of a session that are few, small, and as usual."""
    connection = cursor.connection
    tolerant, connection.text_factory = connection.text_factory, bytes
    try:
        some = cursor.execute(sql, mine).fetchmany(_TOGETHER)
    finally:
        connection.text_factory = tolerant
    if not some:
        return NO_ITEMS
    keys, texts, stamps = zip(*some, strict=True)
    if len(some) == _TOGETHER or None in texts or None in stamps:
        return None
    return in_order(keys, stamps, texts)


def _plain_items(cursor: sqlite3.Cursor, sql: str, mine: dict[str, bytes]) -> Iterator[PlainItem]:
    """By the driver's own reading of texts, in half the time, as far as they are UTF-8."""
    given, many = 0, 1
    cursor.execute(sql, mine)
    try:
        while some := _strictly(cursor, many):
            yield from some
            given += len(some)
            size = sum([len(text) for *_, text in some])
            many = max(1, min(2 * many, _TOGETHER, _LITTLE * len(some) // max(1, size)))
    except sqlite3.OperationalError:
        yield from islice(cursor.execute(sql, mine), given, None)


def _strictly(cursor: sqlite3.Cursor, many: int) -> list[PlainItem]:
    connection = cursor.connection
    tolerant, connection.text_factory = connection.text_factory, str
    try:
        return cursor.fetchmany(many)
    finally:
        connection.text_factory = tolerant


def _stored_items(rows: Iterable[tuple[int, bytes | None, bytes | None]]) -> Iterator[StoredItem]:
    said, stored, at = None, None, None
    for key, data, created_at in rows:
        if created_at != said:  # the items of a batch share their stamp
            said, (stored, at) = created_at, stored_stamp(created_at)
        shown = data.decode("utf-8", "surrogateescape") if data is not None else text(data)
        yield stored_item((key, stored, at, shown))


def _extras_of(connection: sqlite3.Connection, layout: SqliteLayout, session_id: str) -> dict[str, Any]:
    """Rows of AdvancedSQLiteSession's tables, by table, without their session id."""
    found: dict[str, Any] = {}
    for table in sorted(layout.advanced):
        if table in layout.advanced:
            rows = connection.execute(f"SELECT * FROM {quoted(table)} {_MINE} ORDER BY rowid", (bound(session_id),))
            names = [column[0] for column in rows.description]
            found[table] = [
                {name: value for name, value in zip(names, row, strict=True) if name != "session_id"} for row in rows
            ]
    return found


def put_session(
    connection: sqlite3.Connection, layout: SqliteLayout, put: Put, *, only_filler: bool = False
) -> Outcome:
    """Put one session in, inside the caller's transaction; whatever it began is taken back where it is refused.

    ``only_filler``: there are no items whose session has no row (``Store.only_filler``).
    """
    connection.execute("SAVEPOINT put")
    try:
        outcome = _put(connection, layout, put, only_filler=only_filler)
    except sqlite3.IntegrityError:  # a key that another row has by now
        outcome = Outcome.CHANGED
    except UnicodeEncodeError:  # an id or a text that is no text
        outcome = Outcome.FAILED
    if outcome is not Outcome.DONE:
        connection.execute("ROLLBACK TO put")
    connection.execute("RELEASE put")
    return outcome


def _put(connection: sqlite3.Connection, layout: SqliteLayout, put: Put, *, only_filler: bool) -> Outcome:
    if put.onto is Onto.AMONG:
        return _put_among(connection, layout, put)
    sessions, messages = quoted(layout.sessions), quoted(layout.messages)
    me = bound(put.session_id)
    row = connection.execute(f"SELECT 1 FROM {sessions} {_MINE}", (me,)).fetchone()
    first, earliest = None, None
    if row is not None or not only_filler:
        ends = f"SELECT min(id), min(created_at) FROM {messages} {_MINE}"
        first, earliest = connection.execute(ends, (me,)).fetchone()
    if (row is not None or first is not None) and not _may_go_in_front(connection, layout, put, first, earliest):
        return Outcome.CHANGED
    created, updated = _session_stamps(put)
    if row is None:
        insert = f"INSERT INTO {sessions} (session_id, created_at, updated_at) VALUES (CAST(? AS TEXT), ?, ?)"
        connection.execute(insert, (me, created, updated))
    else:
        connection.execute(f"UPDATE {sessions} SET created_at = ? {_MINE}", (created, me))
    insert = (
        f"INSERT INTO {messages} (id, session_id, message_data, created_at) "
        "VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), ?)"
    )
    rows = _item_rows(put, me, created)
    if put.exact or layout.flavour != "AdvancedSQLiteSession":
        connection.executemany(insert, rows)
        keys = []
    else:
        keys = [connection.execute(f"{insert} RETURNING id", row).fetchone()[0] for row in rows]
    if put.exact:
        put_back(connection, layout.advanced, put.session_id, put.session.extras)
    elif put.session.extras.get(STRUCTURE) and STRUCTURE in layout.advanced:
        became = {item.key: key for key, item in zip(keys, put.items, strict=True)}
        copy(connection, layout.advanced, put.session_id, put.session.extras, became)
    elif layout.flavour == "AdvancedSQLiteSession":
        write_anew(connection, put.session_id, zip(keys, put.items, strict=True))
    return Outcome.DONE


def _put_among(connection: sqlite3.Connection, layout: SqliteLayout, put: Put) -> Outcome:
    sessions, messages, me = quoted(layout.sessions), quoted(layout.messages), bound(put.session_id)
    row = connection.execute(f"SELECT created_at FROM {sessions} {_MINE}", (me,)).fetchone()
    if row is None or stored_stamp(row[0])[0] != put.session.stamps.created:
        return Outcome.CHANGED
    instead = put.session.part or {}
    replacing = (
        f"UPDATE {messages} SET message_data = CAST(? AS TEXT) {_MINE} AND id = ? AND message_data = CAST(? AS TEXT)"
    )
    inserting = (
        f"INSERT INTO {messages} (id, session_id, message_data, created_at) "
        "VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), ?)"
    )
    # Another branch may have kept the row.
    kept = f"SELECT 1 FROM {messages} {_MINE} AND id = ? AND message_data = CAST(? AS TEXT)"
    for key, stored_at, _, data in put.items:
        octets = _octets(data)
        if isinstance(key, int) and key in instead:
            if connection.execute(replacing, (octets, me, key, _octets(instead[key]))).rowcount != 1:
                return Outcome.CHANGED
        elif not layout.advanced or connection.execute(kept, (me, key, octets)).fetchone() is None:
            connection.execute(inserting, (key, me, octets, stored_at))
    if STRUCTURE in layout.advanced:
        put_among(connection, put.session_id, put.session.extras, {item.key for item in put.items})
    return Outcome.DONE


def _octets(data: str) -> bytes:
    return data.encode("utf-8", "surrogateescape")


def _may_go_in_front(connection: sqlite3.Connection, layout: SqliteLayout, put: Put, first: Any, earliest: Any) -> bool:
    """Is everything there newer than what is put, by key and by stamp, and on the main branch?"""
    if put.onto is Onto.ABSENT or not put.exact:
        return False
    if layout.flavour == "AdvancedSQLiteSession" and not only_main(connection, put.session_id):
        return False
    if first is None:
        return True
    newest = max((item.stored_at or "" for item in put.items), default="")
    return all(isinstance(item.key, int) and item.key < first for item in put.items) and newest <= text(earliest)


def _session_stamps(put: Put) -> tuple[str | None, str | None]:
    stamps = put.session.stamps
    if put.exact:
        return stamps.created, stamps.updated
    return own_stamp(stamps.created, stamps.created_at), own_stamp(stamps.updated, stamps.updated_at)


def own_stamp(stored: str | None, at: str | None) -> str | None:
    """A stamp of any store as the SDK writes it into SQLite: UTC, whole seconds."""
    known = instant(stored, at)
    return stamp(known) if known else None


def _item_rows(put: Put, session_id: bytes, created: str | None) -> Iterator[tuple[Any, ...]]:
    """The rows to insert. Items of another store keep their order by stamp too, where this one sorts by it."""
    last, latest = None, None
    for key, stored_at, at, data in put.items:
        octets = data.encode("utf-8", "surrogateescape")
        if put.exact:
            yield key, session_id, octets, stored_at
            continue
        told = at or stored_at
        if told != last:  # those stored together share their stamp
            last, own = told, own_stamp(stored_at, at)
            latest = max(filter(None, (latest, own)), default=None)
        yield None, session_id, octets, latest or created
