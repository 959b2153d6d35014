"""Whole sessions into stores behind SQLAlchemy Core, as they were stored or as another store had them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from itertools import accumulate
from typing import Any

from sqlalchemy import ClauseElement, Column, Connection, Insert, bindparam, exists, func, insert, or_, select, update
from sqlalchemy.exc import DataError, IntegrityError

from sessionctl.core.hold import Hold
from sessionctl.core.model import Onto, Outcome, Put
from sessionctl.core.record import StoredItem, is_usual, octets_of
from sessionctl.stores.holds_table import holds_on
from sessionctl.stores.sql.dialect import Expression
from sessionctl.stores.sql.layout import Clock
from sessionctl.stores.sql.prepared import Prepared
from sessionctl.stores.sql.values import chunked
from sessionctl.stores.sql.whole import SqlWholeStore

_KEYS = 10_000
"""Looked up in one statement."""
_SECONDS = len("2026-01-01 10:00:00")
_UNFIT = (DataError, UnicodeEncodeError, OverflowError)
"""A text, a time or a key that this server cannot hold."""


_NO_NULL, _NO_NULL_MYSQL = "23502", 1048


class Apart(ValueError):
    """Sessions that cannot be put in together, only one by one."""


class SqlPutStore(SqlWholeStore):
    """A reader that takes whole sessions."""

    @abstractmethod
    def _stamp_of(self, stored: Expression, clock: Clock) -> Expression:
        """The stamp that ``_stamp_text`` makes ``stored`` of."""

    @abstractmethod
    def _stamp_at(self, column: Column[Any], at: Expression) -> Expression:
        """The stamp of an instant, given as UTC text ``YYYY-MM-DD HH:MM:SS.ffffff``, as the SDK's writer stores it."""

    @abstractmethod
    def _is_given(self, column: Any) -> Any:
        """The column is, by its own comparison, one of the ids that come with the execution as ``ids``."""

    def _given(self, values: Sequence[Any]) -> Any:
        """Ids or keys as the driver takes them for ``_is_given`` and ``_is_given_key``."""
        return values

    def _prepared(self, statement: ClauseElement) -> Prepared:
        compiled = statement.compile(dialect=self._engine.dialect)
        return Prepared(str(compiled), compiled.params)

    def _has_given(self, connection: Connection, keys: Sequence[Any]) -> bool:  # noqa: ARG002
        """Would the server never give one of these keys to a new item?"""
        return True

    def _keeps_texts(self, connection: Connection) -> bool:  # noqa: ARG002
        """Is a text that the server takes kept as it is, for certain?"""
        return False

    def put(self, puts: Sequence[Put], *, hold: Hold | None = None) -> Sequence[Outcome]:
        self._refuse_if_frozen()
        if not puts:
            return ()
        if hold is not None:
            self._make_table()
        with self._changing() as connection:
            outcomes = self._put_many(connection, puts)
            if hold is not None:
                self._add_holds(connection, holds_on(hold, puts, outcomes), hold.since)
        return outcomes

    def _put_many(self, connection: Connection, puts: Sequence[Put]) -> list[Outcome]:
        """Together, or else each half by itself: one that does not fit costs the others a few attempts."""
        if len(puts) == 1:
            return [self._put(connection, puts[0])]
        if self._put_together(connection, puts):
            return [Outcome.DONE] * len(puts)
        middle = len(puts) // 2
        return self._put_many(connection, puts[:middle]) + self._put_many(connection, puts[middle:])

    def _put_together(self, connection: Connection, puts: Sequence[Put]) -> bool:
        """All of them in a few statements, the usual case. False, and nothing written, where one by one must tell."""
        alike = len({put.exact for put in puts}) == 1 and all(put.onto is Onto.ABSENT for put in puts)
        if not alike or not self._is_storable("".join(put.session_id for put in puts)):
            return False
        savepoint = connection.begin_nested()
        try:
            done = self._put_all_rows(connection, puts, exact=puts[0].exact)
        except (IntegrityError, Apart, *_UNFIT):
            done = False
        if done:
            savepoint.commit()
        else:
            savepoint.rollback()
        return done

    def _put_all_rows(self, connection: Connection, puts: Sequence[Put], *, exact: bool) -> bool:
        ids = [put.session_id for put in puts]
        if self._any_there.run(connection, ids=self._given(ids)).scalar_one():
            return False
        if exact and not self._has_given(connection, [item.key for put in puts for item in put.items]):
            return False
        self._insert_sessions(connection, puts, exact=exact)
        return self._put_items(connection, puts, exact=exact)

    @cached_property
    def _any_there(self) -> Prepared:
        """Is there one of the sessions given, or an item of one?"""
        s, m = self._sessions.c, self._messages.c
        columns = (s.session_id,) if self.only_filler else (s.session_id, m.session_id)
        return self._prepared(select(or_(*(exists().where(self._is_given(column)) for column in columns))))

    def _stamp(self, column: Column[Any], stored: Expression, *, exact: bool) -> Expression:
        """The stamp that the text ``stored`` stands for: this store's own, or an instant."""
        return self._stamp_of(stored, column.info["facts"].clock) if exact else self._stamp_at(column, stored)

    def _insert_sessions(self, connection: Connection, puts: Sequence[Put], *, exact: bool) -> None:
        s = self._sessions.c
        values = {
            "session_id": bindparam("b_session"),
            "created_at": self._stamp(s.created_at, bindparam("b_created"), exact=exact),
            "updated_at": self._stamp(s.updated_at, bindparam("b_updated"), exact=exact),
        }
        names = ("b_session", "b_created", "b_updated")
        rows = [dict(zip(names, (put.session_id, *session_stamps(put)), strict=True)) for put in puts]
        self._insert_rows(connection, insert(self._sessions).values(values), rows)

    def _insert_items(self, connection: Connection, puts: Sequence[Put], *, exact: bool) -> None:
        """Insert the items in their order."""
        created = self._messages.c.created_at
        values: dict[str, Expression] = {
            "session_id": bindparam("b_session"),
            "message_data": bindparam("b_text"),
            "created_at": self._stamp(created, bindparam("b_stamp"), exact=exact),
        } | ({"id": bindparam("b_key")} if exact else {})
        rows = [
            {"b_key": item.key, "b_session": put.session_id, "b_text": item.text, "b_stamp": stamp}
            for put in puts
            for item, stamp in zip(put.items, item_stamps(put), strict=True)
        ]
        self._insert_rows(connection, insert(self._messages).values(values), rows)

    def _insert_rows(self, connection: Connection, one: Insert, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert ``rows`` in their order, each as ``one`` does."""
        connection.execute(one, rows)

    def _put_items(self, connection: Connection, puts: Sequence[Put], *, exact: bool) -> bool:
        """False where the server did not keep all of the texts."""
        if not any(put.items for put in puts):
            return True
        self._insert_items(connection, puts, exact=exact)
        if self.only_filler or self._keeps_texts(connection):
            return True
        m = self._messages.c
        mine = self._is_any(m.session_id, [put.session_id for put in puts])
        stored = select(func.sum(self._octets(m.message_data))).where(mine)
        # Where there are others of the session, they are found by their keys.
        are_beside = exact and len(puts) == 1
        keys = [item.key for item in puts[0].items] if are_beside else []
        found = [stored.where(m.id.in_(some)) for some in chunked(keys, _KEYS)] if are_beside else [stored]
        kept = sum(int(connection.execute(statement).scalar_one() or 0) for statement in found)
        # One that is not strict cuts texts to what the column holds, and says nothing.
        return kept == sum([octets_of(put.items) for put in puts])

    def _put(self, connection: Connection, put: Put) -> Outcome:
        if not self._is_storable(put.session_id):
            return Outcome.FAILED
        savepoint = connection.begin_nested()
        try:
            outcome = self._put_rows(connection, put)
        except IntegrityError as error:  # someone else made the session meanwhile, or a key is another row's by now
            outcome = Outcome.FAILED if _lacks_value(error) else Outcome.CHANGED
        except _UNFIT:
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
        may_be_there = put.onto is Onto.FRONT and put.exact
        if there and not may_be_there:
            return Outcome.CHANGED
        first, earliest_text = None, None
        if there or not self.only_filler:
            earliest = self._stamp_text(func.min(m.created_at), m.created_at.info["facts"].clock)
            first, earliest_text = connection.execute(select(func.min(m.id), earliest).where(mine)).one()
        if put.exact and not self._has_given(connection, [item.key for item in put.items]):
            return Outcome.CHANGED
        front = may_be_there and _is_older(put.items, first, earliest_text)
        if (there or first is not None) and not front:
            return Outcome.CHANGED
        if there:
            created: Expression = bindparam(None, session_stamps(put)[0], unique=True)
            values = {"created_at": self._stamp(s.created_at, created, exact=put.exact)}
            connection.execute(update(self._sessions).where(s.session_id == put.session_id).values(values))
        else:
            self._insert_sessions(connection, [put], exact=put.exact)
        return Outcome.DONE if self._put_items(connection, [put], exact=put.exact) else Outcome.FAILED


def _lacks_value(error: IntegrityError) -> bool:
    """Is there none, as a time that nobody can read, for a column that must have one?"""
    return getattr(error.orig, "sqlstate", None) == _NO_NULL or getattr(error.orig, "args", ())[:1] == (_NO_NULL_MYSQL,)


def session_stamps(put: Put) -> tuple[str | None, str | None]:
    """Of its creation and its last append: as stored where it is exact, else the instants in UTC."""
    stamps = put.session.stamps
    if put.exact:
        return stamps.created, stamps.updated
    return _utc(stamps.created, stamps.created_at), _utc(stamps.updated, stamps.updated_at)


def item_stamps(put: Put) -> list[str | None]:
    """One for each item, likewise. Items of another store keep their order by stamp too: this one sorts by it."""
    if put.exact:
        return [item.stored_at for item in put.items]
    if put.items and len(put.items[0].stored_at or "") == _SECONDS:
        usual = [stored for _, stored, at, _ in put.items if at is None and stored is not None and is_usual(stored)]
        if len(usual) == len(put.items):  # as text they sort as times do
            return [f"{latest}.000000" for latest in accumulate(usual, max)]
    created, updated = session_stamps(put)
    found: list[str | None] = []
    last, latest, otherwise = None, None, created or updated
    for _, stored_at, at, _ in put.items:
        told = at or stored_at
        if told != last:  # those stored together share their stamp
            last, known = told, _utc(stored_at, at)
            if known is not None and (latest is None or known > latest):
                latest = known
        found.append(latest or otherwise)
    return found


def _utc(stored: str | None, at: str | None) -> str | None:
    """The instant as ``YYYY-MM-DD HH:MM:SS.ffffff``, which sorts as the time does; None where it is none."""
    if at is None and stored is not None and is_usual(stored[:_SECONDS]):
        fraction = stored[_SECONDS:] or ".000000"
        if len(fraction) == len(".000000") and fraction[0] == "." and fraction.isascii() and fraction[1:].isdigit():
            return stored[:_SECONDS] + fraction
    try:
        value = datetime.fromisoformat(at or stored or "")
        if value.tzinfo is not None:
            value = value.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return value.isoformat(" ", "microseconds")


def _is_older(items: Sequence[StoredItem], first: Any, earliest: str | None) -> bool:
    """Is what stands there newer than all of ``items``, by key and by stamp?"""
    if first is None or not items:
        return True
    newest = max((item.stored_at or "" for item in items), default="")
    return all(isinstance(item.key, int) and item.key < first for item in items) and newest <= (earliest or "")
