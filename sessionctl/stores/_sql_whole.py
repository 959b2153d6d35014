"""Whole sessions out of stores behind SQLAlchemy Core and into them, as they are stored."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, ClassVar

from sqlalchemy import Column, Connection, Select, bindparam, func, insert, literal, null, select, update
from sqlalchemy.exc import DataError, IntegrityError

from sessionctl.core.hold import Hold
from sessionctl.core.model import Onto, Outcome, Put
from sessionctl.core.record import SessionRecord, Stamps, StoredItem, WholeSession, instant
from sessionctl.core.units import format_time
from sessionctl.stores._sql_dialect import Expression
from sessionctl.stores._sql_holds import SqlHoldStore
from sessionctl.stores._sql_layout import Clock
from sessionctl.stores._sql_values import chunked, microseconds, version_of
from sessionctl.stores.holds_table import holds_on

_TOGETHER = 200
"""Sessions of one snapshot."""
_FETCHED_BYTES = 4 * 2**20
"""Sessions up to so many bytes together are fetched at once; a larger one is streamed."""


_STAMP_AND_KEY = itemgetter(2, 1)
"""Of the columns of a whole item."""


class SqlWholeStore(SqlHoldStore):
    """A reader that yields whole sessions and takes them back."""

    _snapshots_with: ClassVar[Mapping[str, Any]] = {"isolation_level": "REPEATABLE READ"}
    """SQLAlchemy's execution options of a transaction that sees one instant."""

    @abstractmethod
    def _is_exactly_any(self, column: Any, ids: Sequence[str]) -> Any:
        """True for exactly these ids, no lookalikes."""

    @abstractmethod
    def _stamp_text(self, value: Expression, clock: Clock) -> Expression:
        """A stamp as text, ``YYYY-MM-DD HH:MM:SS.ffffff``: a local time as it stands, an instant in UTC."""

    @abstractmethod
    def _stamp_of(self, stored: Expression, clock: Clock) -> Expression:
        """The stamp that ``_stamp_text`` makes ``stored`` of."""

    @abstractmethod
    def _stamp_at(self, column: Column[Any], at: Expression) -> Expression:
        """The stamp of an instant, given as UTC text ``YYYY-MM-DD HH:MM:SS.ffffff``, as the SDK's writer stores it."""

    # --- out ----------------------------------------------------------------------------------

    def whole(self, session_ids: Sequence[str]) -> Iterator[WholeSession]:
        for ids in chunked(filter(self._is_storable, session_ids), _TOGETHER):
            with self._translated(), self._engine.connect() as connection:
                connection.execution_options(**self._snapshots_with)
                yield from self._whole_of(connection, ids)
                connection.rollback()

    def _whole_of(self, connection: Connection, ids: Sequence[str]) -> Iterator[WholeSession]:
        s = self._sessions.c
        columns = [*self._session_columns(), *self._stamps(s.created_at, "c"), *self._stamps(s.updated_at, "u")]
        found = connection.execute(select(*columns).where(self._is_exactly_any(s.session_id, ids))).all()
        sizes = {row.owner: row for row in connection.execute(self._sizes_of(ids))}
        group: list[Any] = []
        weight = 0
        for row in found:
            group.append(row)
            weight += _weight(sizes, row.id)
            if weight > _FETCHED_BYTES:
                yield from self._fetched_whole(connection, group, sizes)
                group, weight = [], 0
        yield from self._fetched_whole(connection, group, sizes)

    def _fetched_whole(
        self, connection: Connection, rows: Sequence[Any], sizes: Mapping[str, Any]
    ) -> Iterator[WholeSession]:
        """These sessions with their items; the last one may be large and is streamed if it is."""
        if not rows:
            return
        *small, last = rows
        if _weight(sizes, last.id) <= _FETCHED_BYTES:
            small.append(last)
        items = self._items_of(connection, [row.id for row in small])
        for row in rows:
            session = self._record(row, sizes.get(row.id))
            mine = items.get(row.id)
            yield WholeSession(session, self._streamed_items(connection, row.id) if mine is None else mine)

    def _sizes_of(self, ids: Sequence[str]) -> Select[Any]:
        """Of the sessions of these ids that have items: how many, their octets and the newest key.

        Without the sessions' own rows: a join with them makes the server read all items of all sessions.
        """
        m, owner = self._messages.c, self._owner().label("owner")
        sums = (func.count().label("items"), func.sum(self._octets(m.message_data)).label("bytes"))
        newest = self._largest_key().label("newest_key")
        return select(owner, *sums, newest).where(self._is_any(m.session_id, ids)).group_by(owner)

    def _items_of(self, connection: Connection, ids: Sequence[str]) -> dict[str, list[StoredItem]]:
        """The items of these sessions, but for those whose order only the server can tell.

        They are sorted here: the server would sort them with their texts, on its disk as often as not.
        """
        found: dict[str, list[Any]] = {session_id: [] for session_id in ids}
        if not found:
            return {}
        m = self._messages.c
        several = select(*self._whole_columns()).where(self._is_any(m.session_id, list(found)))
        result = connection.execute(several)
        for row in result.cursor.fetchall():  # the driver's own rows: there is nothing in them to convert
            if row[0] in found:
                found[row[0]].append(row)
        result.close()
        return {owner: self._sorted(rows) for owner, rows in found.items() if _sorts_as_text(rows)}

    def _sorted(self, rows: list[Any]) -> list[StoredItem]:
        rows.sort(key=_STAMP_AND_KEY)
        return [
            StoredItem(key, stamp, None if at is None else format_time(self._time(at)), data)
            for _, key, stamp, at, data in rows
        ]

    def _streamed_items(self, connection: Connection, session_id: str) -> Iterator[StoredItem]:
        m = self._messages.c
        statement: Select[Any] = select(*self._whole_columns()).where(
            m.session_id == session_id, *self._exactly(literal(session_id))
        )
        streamed = connection.execution_options(stream_results=True, yield_per=100)
        for row in streamed.execute(statement.order_by(m.created_at, m.id)):
            yield from self._sorted([row])

    def _whole_columns(self) -> list[Expression]:
        """Owner, key, stamp, instant and text of an item."""
        m = self._messages.c
        return [self._owner().label("owner"), m.id.label("key"), *self._stamps(m.created_at, "c"), m.message_data]

    def _stamps(self, column: Column[Any], name: str) -> list[Expression]:
        """A stamp as text, and as an instant where the text alone does not tell it."""
        clock = column.info["facts"].clock
        beyond = self._instant_beyond(column) if clock is Clock.LOCAL else null()
        return [self._stamp_text(column, clock).label(f"{name}_text"), beyond.label(f"{name}_at")]

    def _instant_beyond(self, column: Column[Any]) -> Expression:
        """The instant of a local time; NULL may stand for one that is the same in UTC."""
        return self._instant(column, Clock.LOCAL)

    def _record(self, row: Any, size: Any) -> SessionRecord:
        updated = microseconds(self._time(row.updated))
        newest_key, items = (size.newest_key, int(size.items)) if size is not None else (None, 0)
        version = version_of(updated, row.edition, newest_key, items)
        stamps = Stamps(
            created=row.c_text,
            updated=row.u_text,
            created_at=format_time(self._time(row.c_at)),
            updated_at=format_time(self._time(row.u_at)),
        )
        return SessionRecord(id=row.id, version=version, stamps=stamps)

    def _has_given(self, connection: Connection, keys: Sequence[Any]) -> bool:  # noqa: ARG002
        """Would the server never give one of these keys to a new item?"""
        return True

    # --- in -----------------------------------------------------------------------------------

    def put(self, puts: Sequence[Put], *, hold: Hold | None = None) -> Sequence[Outcome]:
        self._refuse_if_frozen()
        if hold is not None:
            self._make_table()
        with self._changing() as connection:
            if self._put_together(connection, puts):
                outcomes = [Outcome.DONE] * len(puts)
            else:
                outcomes = [self._put(connection, put) for put in puts]
            if hold is not None:
                self._add_holds(connection, holds_on(hold, puts, outcomes), hold.since)
        return outcomes

    def _put_together(self, connection: Connection, puts: Sequence[Put]) -> bool:
        """All of them in a few statements, the usual case. False, and nothing written, where one by one must tell."""
        alike = len({put.exact for put in puts}) == 1 and all(put.onto is Onto.ABSENT for put in puts)
        if not alike or len(puts) < 2 or not all(self._is_storable(put.session_id) for put in puts):
            return False
        savepoint = connection.begin_nested()
        try:
            done = self._put_all_rows(connection, puts, exact=puts[0].exact)
        except (IntegrityError, DataError, UnicodeEncodeError):
            done = False
        if done:
            savepoint.commit()
        else:
            savepoint.rollback()
        return done

    def _put_all_rows(self, connection: Connection, puts: Sequence[Put], *, exact: bool) -> bool:
        s, m = self._sessions.c, self._messages.c
        ids = [put.session_id for put in puts]
        for column in (s.session_id, m.session_id):
            if connection.execute(select(column).where(self._is_any(column, ids)).limit(1)).first() is not None:
                return False
        if exact and not self._has_given(connection, [item.key for put in puts for item in put.items]):
            return False
        values = {
            "session_id": bindparam("b_session"),
            "created_at": self._stamp(s.created_at, bindparam("b_created"), exact=exact),
            "updated_at": self._stamp(s.updated_at, bindparam("b_updated"), exact=exact),
        }
        connection.execute(insert(self._sessions).values(values), [_session_row(put) for put in puts])
        rows = [row for put in puts for row in _item_rows(put)]
        if rows:
            self._insert_items(connection, rows, exact=exact)
        written = connection.execute(
            select(func.sum(self._octets(m.message_data))).where(self._is_any(m.session_id, ids))
        )
        return int(written.scalar_one() or 0) == sum(map(_octets_of, puts))

    def _stamp(self, column: Column[Any], stored: Expression, *, exact: bool) -> Expression:
        """The stamp that the text ``stored`` stands for: this store's own, or an instant."""
        return self._stamp_of(stored, column.info["facts"].clock) if exact else self._stamp_at(column, stored)

    def _insert_items(self, connection: Connection, rows: Sequence[Mapping[str, Any]], *, exact: bool) -> None:
        """Insert ``_item_rows`` in their order."""
        connection.execute(insert(self._messages).values(self._item_values(bindparam, exact=exact)), rows)

    def _item_values(self, given: Callable[[str], Expression], *, exact: bool) -> dict[str, Any]:
        """The columns of an item by the names of ``_item_rows``."""
        created = self._messages.c.created_at
        values: dict[str, Any] = {
            "session_id": given("b_session"),
            "message_data": given("b_text"),
            "created_at": self._stamp(created, given("b_stamp"), exact=exact),
        }
        return values | ({"id": given("b_key")} if exact else {})

    def _put(self, connection: Connection, put: Put) -> Outcome:
        if not self._is_storable(put.session_id):
            return Outcome.FAILED
        savepoint = connection.begin_nested()
        try:
            outcome = self._put_rows(connection, put)
        except IntegrityError:  # someone else made the session meanwhile, or a key is another row's by now
            outcome = Outcome.CHANGED
        except (DataError, UnicodeEncodeError):  # a text that this server cannot hold
            outcome = Outcome.FAILED
        if outcome is Outcome.DONE:
            savepoint.commit()
        else:
            savepoint.rollback()
        return outcome

    def _put_rows(self, connection: Connection, put: Put) -> Outcome:
        s, m = self._sessions.c, self._messages.c
        mine = m.session_id == put.session_id
        locked = select(s.session_id).where(self._is_exactly_any(s.session_id, [put.session_id])).with_for_update()
        there = connection.execute(locked).first() is not None
        earliest = self._stamp_text(func.min(m.created_at), m.created_at.info["facts"].clock)
        first, earliest_text = connection.execute(select(func.min(m.id), earliest).where(mine)).one()
        if put.exact and not self._has_given(connection, [item.key for item in put.items]):
            return Outcome.CHANGED
        front = put.onto is Onto.FRONT and put.exact and _is_older(put.items, first, earliest_text)
        if (there or first is not None) and not front:
            return Outcome.CHANGED
        stamps = put.session.stamps
        created = self._stamp_value(s.created_at, stamps.created, stamps.created_at, exact=put.exact)
        updated = self._stamp_value(s.updated_at, stamps.updated, stamps.updated_at, exact=put.exact)
        if there:
            connection.execute(update(self._sessions).where(s.session_id == put.session_id).values(created_at=created))
        else:
            row = {"session_id": put.session_id, "created_at": created, "updated_at": updated}
            connection.execute(insert(self._sessions).values(row))
        return self._put_items(connection, put)

    def _put_items(self, connection: Connection, put: Put) -> Outcome:
        m = self._messages.c
        if not put.items:
            return Outcome.DONE
        self._insert_items(connection, list(_item_rows(put)), exact=put.exact)
        stored = func.sum(self._octets(m.message_data))
        before = m.id.in_([item.key for item in put.items]) if put.exact else m.session_id == put.session_id
        # A server that is not strict cuts texts to what the column holds, and says nothing.
        written = connection.execute(select(stored).where(m.session_id == put.session_id, before)).scalar_one()
        return Outcome.DONE if int(written or 0) == _octets_of(put) else Outcome.FAILED

    def _stamp_value(self, column: Column[Any], stored: str | None, at: str | None, *, exact: bool) -> Any:
        if exact:
            return None if stored is None else self._stamp_of(_text(stored), column.info["facts"].clock)
        known = instant(stored, at)
        return None if known is None else self._stamp_at(column, _text(_utc_text(known)))


def _weight(sizes: Mapping[str, Any], session_id: str) -> int:
    return int(sizes[session_id].bytes or 0) if session_id in sizes else 0


def _sorts_as_text(rows: Sequence[Any]) -> bool:
    """Do the stamps sort like the times they are? Of one length they do: ``infinity`` and NULL have another."""
    return len({len(row[2] or "") for row in rows}) <= 1


def _text(value: str) -> Expression:
    return bindparam(None, value, unique=True)


def _octets_of(put: Put) -> int:
    return sum(item.size for item in put.items)


def _session_row(put: Put) -> dict[str, Any]:
    stamps = put.session.stamps
    if put.exact:
        return {"b_session": put.session_id, "b_created": stamps.created, "b_updated": stamps.updated}
    created, updated = instant(stamps.created, stamps.created_at), instant(stamps.updated, stamps.updated_at)
    return {
        "b_session": put.session_id,
        "b_created": _utc_text(created) if created else None,
        "b_updated": _utc_text(updated) if updated else None,
    }


def _utc_text(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat(" ", "microseconds")


def _is_older(items: Sequence[StoredItem], first: Any, earliest: str | None) -> bool:
    """Is what stands there newer than all of ``items``, by key and by stamp?"""
    if first is None or not items:
        return True
    newest = max((item.stored_at or "" for item in items), default="")
    return all(isinstance(item.key, int) and item.key < first for item in items) and newest <= (earliest or "")


def _item_rows(put: Put) -> Iterator[dict[str, Any]]:
    """Items of another store keep their order by stamp too: this one sorts by it."""
    stamps = put.session.stamps
    otherwise = instant(stamps.created, stamps.created_at) or instant(stamps.updated, stamps.updated_at)
    latest = None
    for key, stored_at, at, data in put.items:
        if put.exact:
            yield {"b_session": put.session_id, "b_key": key, "b_stamp": stored_at, "b_text": data}
        else:
            latest = max(filter(None, (latest, instant(stored_at, at))), default=None)
            known = latest or otherwise
            yield {"b_session": put.session_id, "b_stamp": _utc_text(known) if known else None, "b_text": data}
