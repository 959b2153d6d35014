"""Whole sessions out of stores behind SQLAlchemy Core, as they are stored."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any, ClassVar

from sqlalchemy import Column, Connection, Select, case, func, literal, literal_column, null, select

from sessionctl.core.joined import JoinedItems
from sessionctl.core.record import PlainItem, SessionRecord, Stamps, StoredItem, WholeSession, stored_item
from sessionctl.core.units import format_time
from sessionctl.stores.sql.dialect import Expression
from sessionctl.stores.sql.holds import SqlHoldStore
from sessionctl.stores.sql.layout import Clock
from sessionctl.stores.sql.values import chunked, microseconds, version_of

_TOGETHER = 200
"""Sessions of one snapshot."""
_FETCHED_BYTES = 2**20
"""Sessions up to so many bytes together are fetched at once; a larger one is streamed."""
_MOST_STREAMED = 100
"""Items that are then fetched together, and fewer where they are large."""
ROWS, SMALL = 2000, 16_384
"""Items, and octets of a text, up to which items are put together before it is known how large they are so."""

_STAMP_AND_KEY = itemgetter(2, 1)
"""Of the columns of a whole item."""


class SqlWholeStore(SqlHoldStore):
    """A reader that yields whole sessions."""

    _snapshots_with: ClassVar[Mapping[str, Any]] = {"isolation_level": "REPEATABLE READ"}
    """SQLAlchemy's execution options of a transaction that sees one instant."""
    _joins_with: ClassVar[Mapping[str, Any]] = {}
    """What differs from these for ``_joined_of``."""

    @abstractmethod
    def _is_exactly_any(self, column: Any, ids: Sequence[str]) -> Any:
        """True for exactly these ids, no lookalikes."""

    @abstractmethod
    def _stamp_text(self, value: Expression, clock: Clock) -> Expression:
        """A stamp as text, ``YYYY-MM-DD HH:MM:SS.ffffff``: a local time as it stands, an instant in UTC."""

    # --- out ----------------------------------------------------------------------------------

    def whole(self, session_ids: Sequence[str]) -> Iterator[WholeSession]:
        return self._whole_by(self._whole_of, session_ids)

    def _whole_by(
        self, of: Callable[[Connection, Sequence[str], int], Iterator[WholeSession]], session_ids: Sequence[str]
    ) -> Iterator[WholeSession]:
        with self._translated():
            for connection, ids in self._snapshots(session_ids):
                self._before_lookups(connection)
                yield from of(connection, ids, _FETCHED_BYTES)

    def contents(self, session_ids: Sequence[str]) -> Iterator[tuple[str, Iterable[PlainItem]]]:
        for ids in chunked(dict.fromkeys(session_ids), _TOGETHER):
            left, held = deque(filter(self._is_storable, ids)), dict[str, JoinedItems]()
            for session_id, items in self._joined(list(left)) if self._layout.indexed else ():
                if left and left[0] == session_id:
                    left.popleft()
                    yield session_id, items
                else:
                    held[session_id] = items
            yield from self._others(left, held)

    def _joined(self, ids: Sequence[str]) -> Iterator[tuple[str, JoinedItems]]:
        most = max(_FETCHED_BYTES // 4, 4 * _FETCHED_BYTES // max(1, len(ids)))
        with self._translated():
            for connection, some in self._snapshots(ids, **self._joins_with):
                yield from self._joined_of(connection, some, most)

    def _others(
        self, ids: Iterable[str], known: Mapping[str, JoinedItems]
    ) -> Iterator[tuple[str, Iterable[PlainItem]]]:
        """What is known of these sessions, and between it the rest of them as ``whole``."""
        rest = self._whole_by(self._in_groups, [session_id for session_id in ids if session_id not in known])
        coming = next(rest, None)
        for session_id in ids:
            if session_id in known:
                yield session_id, known[session_id]
            elif coming is not None and coming.session.id == session_id:
                yield session_id, coming.items
                coming = next(rest, None)

    def _snapshots(self, session_ids: Sequence[str], **options: Any) -> Iterator[tuple[Connection, list[str]]]:
        """These ids in portions, each with a connection that sees one instant until the next one is asked for.

        ``options`` say otherwise. An error of the driver is for the caller to translate: what comes up while he has the
        connection does not come by here.
        """
        for ids in chunked(filter(self._is_storable, session_ids), _TOGETHER):
            with self._engine.connect() as connection:
                connection.execution_options(**{**self._snapshots_with, **options})
                yield connection, ids
                connection.rollback()

    @abstractmethod
    def _joined_of(self, connection: Connection, ids: Sequence[str], most: int) -> Iterator[tuple[str, JoinedItems]]:
        """Those of these sessions that are there and whose items the server has a quick way to tell, in their order.

        Of ``ROWS`` items and ``most`` octets at most together, each a ``_small_text``.
        """

    def _small_text(self, most: int = SMALL) -> Expression:
        """The text of an item; NULL where it has more octets."""
        data = self._messages.c.message_data
        return case((self._octets(data) <= literal_column(str(most)), data))

    def _whole_of(self, connection: Connection, ids: Sequence[str], most: int) -> Iterator[WholeSession]:
        """These sessions in any order; those of more than ``most`` octets are streamed."""
        return self._in_groups(connection, ids, most)

    def _in_groups(self, connection: Connection, ids: Sequence[str], most: int) -> Iterator[WholeSession]:
        """As ``_whole_of``, in their order: some are fetched at a time, of about ``most`` octets together."""
        mine = self._is_exactly_any(self._sessions.c.session_id, ids)
        places = {session_id: place for place, session_id in enumerate(ids)}
        found = sorted(connection.execute(self._records.where(mine)).all(), key=lambda row: places[row.id])
        if not found:
            return
        sizes = {row.owner: row for row in connection.execute(self._sizes_of(ids))}
        group: list[Any] = []
        weight = 0
        for row in found:
            group.append(row)
            weight += _weight(sizes, row.id)
            if weight > most:
                yield from self._fetched_whole(connection, group, sizes, most)
                group, weight = [], 0
        yield from self._fetched_whole(connection, group, sizes, most)

    def _fetched_whole(
        self, connection: Connection, rows: Sequence[Any], sizes: Mapping[str, Any], most: int
    ) -> Iterator[WholeSession]:
        """These sessions with their items; the last one may be large and is streamed if it is."""
        if not rows:
            return
        *small, last = rows
        if _weight(sizes, last.id) <= most:
            small.append(last)
        items = self._items_of(connection, [row.id for row in small])
        for row in rows:
            size, mine = sizes.get(row.id), items.get(row.id)
            stored = self._streamed_items(connection, row.id, size) if mine is None else mine
            yield WholeSession(self._record(row, size), stored)

    def _sizes_of(self, ids: Sequence[str]) -> Select[Any]:
        """Of the sessions of these ids that have items their ``_size``.

        Without the sessions' own rows: a join with them makes the server read all items of all sessions.
        """
        owner, mine = self._owner().label("owner"), self._is_any(self._messages.c.session_id, ids)
        return select(owner, *self._size()).where(mine).group_by(owner)

    def _size(self) -> tuple[Expression, ...]:
        """Of the items of a session: how many, their octets, those of the largest, the newest key and when it came."""
        m = self._messages.c
        octets = self._octets(m.message_data)
        sums = func.count().label("items"), func.sum(octets).label("bytes"), func.max(octets).label("largest")
        return *sums, self._largest_key().label("newest_key"), self._newest(m.created_at).label("newest_at")

    def _items_of(self, connection: Connection, ids: Sequence[str]) -> dict[str, list[StoredItem]]:
        """The items of these sessions, but for those whose order only the server can tell.

        They are sorted here: the server would sort them with their texts, on its disk as often as not.
        """
        found: dict[str, list[Any]] = {session_id: [] for session_id in ids}
        if not found:
            return {}
        m = self._messages.c
        result = connection.execute(self._whole_items.where(self._is_any(m.session_id, list(found))))
        for row in result.cursor.fetchall():  # the driver's own rows: there is nothing in them to convert
            if row[0] in found:
                found[row[0]].append(row)
        result.close()
        return {owner: self._sorted(rows) for owner, rows in found.items() if _sorts_as_text(rows)}

    def _sorted(self, rows: list[Any]) -> list[StoredItem]:
        rows.sort(key=_STAMP_AND_KEY)
        found, said, known = [], None, None
        for _, key, stamp, at, data in rows:
            if at != said:  # the items of a batch share their stamp
                said, known = at, format_time(self._time(at))
            found.append(stored_item((key, stamp, known, data)))
        return found

    def _before_lookups(self, connection: Connection) -> None:
        """What makes this transaction fit for statements over a few sessions."""

    def _streamed_items(self, connection: Connection, session_id: str, size: Any) -> Iterator[StoredItem]:
        m = self._messages.c
        statement = self._whole_items.where(m.session_id == session_id, *self._exactly(literal(session_id)))
        # Of this statement alone: of the connection it would hold for the next ones too, which are not streamed.
        together = max(1, min(_MOST_STREAMED, 4 * _FETCHED_BYTES // max(1, int(size.largest or 0))))
        streamed = {"stream_results": True, "yield_per": together}
        with self._translated():
            for row in connection.execute(statement.order_by(m.created_at, m.id), execution_options=streamed):
                yield from self._sorted([row])

    @cached_property
    def _records(self) -> Select[Any]:
        """Of all sessions what ``_record`` needs. To put it together takes as long as to fetch a few of them."""
        s = self._sessions.c
        stamps = (*self._stamps(s.created_at, "c"), *self._stamps(s.updated_at, "u"))
        return select(*self._session_columns(), *stamps)

    @cached_property
    def _whole_items(self) -> Select[Any]:
        """Owner, key, stamp, instant and text of all items."""
        m = self._messages.c
        key = m.id.label("key")
        return select(self._owner().label("owner"), key, *self._stamps(m.created_at, "c"), m.message_data)

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
        key, at, items = (size.newest_key, size.newest_at, int(size.items)) if size is not None else (None, None, 0)
        version = version_of(updated, row.edition, key, microseconds(self._time(at)), items)
        stamps = Stamps(
            created=row.c_text,
            updated=row.u_text,
            created_at=format_time(self._time(row.c_at)),
            updated_at=format_time(self._time(row.u_at)),
        )
        return SessionRecord(id=row.id, version=version, stamps=stamps)


def _weight(sizes: Mapping[str, Any], session_id: str) -> int:
    return int(sizes[session_id].bytes or 0) if session_id in sizes else 0


def _sorts_as_text(rows: Sequence[Any]) -> bool:
    """Do the stamps sort like the times they are? Of one length they do: ``infinity`` and NULL have another."""
    return len({len(row[2] or "") for row in rows}) <= 1
