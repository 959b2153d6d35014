"""What all stores behind SQLAlchemy Core share: connections, listing, items, search.

What differs between engines is a method that an adapter overrides; statements are built here from
those pieces. A stream has a connection of its own, so that the store answers other calls meanwhile.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any, ClassVar, cast
from weakref import WeakSet

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    and_,
    case,
    exists,
    false,
    func,
    not_,
    or_,
    select,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from sessionctl.core.address import StoreAddress
from sessionctl.core.model import Census, Cursor, Order, SessionRef, StoreInfo, Want
from sessionctl.core.payload import COMPACTION
from sessionctl.core.selector import Query
from sessionctl.stores.sql.dialect import Condition, Expression, SqlDialect
from sessionctl.stores.sql.layout import Layout
from sessionctl.stores.sql.values import chunked, like_pattern, microseconds, version_of

_MOST_NAMED = 20_000
"""More ids than this are not sent to the server: the whole list of sessions is read and compared here."""
_BUFFERED = 1000
"""Up to so many rows are fetched at once instead of through a cursor of the server."""
_MEASURED = 200
"""Sessions whose sizes are looked up together."""
WHOLE_SHARE = 0.1
"""From this share of the sessions on, one pass over all items is cheaper than looking up each one's."""
_FETCHED = 100


class SqlReader(SqlDialect):
    """The reading half of a store behind SQLAlchemy. Adapters fill in the abstract methods."""

    _reads_with: ClassVar[Mapping[str, Any]] = {}
    """SQLAlchemy's execution options of a transaction that only reads."""

    def _open(self, address: StoreAddress, engine: Engine) -> None:
        self.address, self._engine = address, engine
        self._streams: WeakSet[Generator[Any, None, None]] = WeakSet()

    def _look_closely(self, kind: str, layout: Layout) -> None:
        self._layout = layout
        self._info = layout.info(kind)
        self._sessions, self._messages = layout.sessions.as_table(), layout.messages.as_table()

    # --- connections --------------------------------------------------------------------------

    @contextmanager
    def _translated(self) -> Iterator[None]:
        drivers_own = self._engine.dialect.loaded_dbapi.Error  # where rows come from it directly
        try:
            yield
        except (DBAPIError, OSError, drivers_own) as error:  # OSError: a certificate or socket that is not there
            raise self._translate(error) from error

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._translated(), self._engine.connect() as connection:
            yield connection.execution_options(**self._reads_with)

    def _fetch(self, statement: Select[Any]) -> Sequence[Any]:
        with self._reading() as connection:
            return connection.execute(statement).all()

    def _stream(self, statement: Select[Any], *, most: int | None = None, at_once: int = _FETCHED) -> Iterator[Any]:
        """The rows, ``at_once`` of them in memory unless there are only few (``most``)."""
        is_little = most is not None and most <= _BUFFERED
        rows = self._fetched(statement) if is_little else self._streamed(statement, at_once)
        self._streams.add(rows)
        return rows

    def _stream_all(self, statement: Select[Any]) -> Iterator[Any]:
        """The rows of a statement over much of the store."""
        return self._stream(statement)

    def _fetched(self, statement: Select[Any]) -> Generator[Any, None, None]:
        yield from self._fetch(statement)

    def _streamed(self, statement: Select[Any], at_once: int) -> Generator[Any, None, None]:
        with self._reading() as connection:
            self._before_stream(connection)
            result = connection.execution_options(stream_results=True, yield_per=at_once).execute(statement)
            unread = True
            try:
                yield from result
                unread = False
            finally:
                if unread:
                    self._abandon(connection, result)
                self._keep_one_idle(connection)

    def _keep_one_idle(self, connection: Connection) -> None:
        """Not this one, where another is there already."""
        if not connection.invalidated and cast("QueuePool", self._engine.pool).checkedin():
            connection.invalidate()

    def _before_stream(self, connection: Connection) -> None:
        """What makes this transaction fit for a statement over much of the store."""

    def close(self) -> None:
        for rows in list(self._streams):
            rows.close()
        self._engine.dispose()

    # --- the port -----------------------------------------------------------------------------

    def info(self) -> StoreInfo:
        return self._info

    def now(self) -> datetime:
        return self._known_time(self._fetch(select(self._server_time()))[0][0])

    def _known_time(self, value: Any) -> datetime:
        return cast("datetime", self._time(value))

    def census(self, ahead_of: datetime) -> Census:
        ahead = self._holds(self._sessions.c.updated_at, ">", ahead_of)
        counted = select(func.count(), func.coalesce(func.sum(case((ahead, 1), else_=0)), 0))
        sessions, later = self._fetch(counted.select_from(self._sessions))[0]
        return Census(sessions=int(sessions), ahead=int(later))

    def sessions(
        self,
        query: Query,
        *,
        order: Order = Order.ACTIVITY,
        limit: int | None = None,
        after: Cursor | None = None,
        want: Want = Want.NOTHING,
    ) -> Iterator[SessionRef]:
        want |= Want.SIZE if query.measures else Want.NOTHING
        conditions = self._conditions(query, after)
        if limit is not None and limit <= 0:
            return
        together = self._together(query, conditions, want) if want and limit is None else None
        if together is not None:
            refs = self._measured_together(together, order, want)
        else:
            refs = self._listed(query, conditions, order, limit)
            if want:
                refs = self._measured(refs, want, limit)
        yield from islice((ref for ref in refs if query.matches(ref)), limit)

    def _conditions(self, query: Query, after: Cursor | None) -> list[Condition]:
        """What the server can decide of ``query``: all but sizes, and lists of ids that are too long."""
        s = self._sessions.c
        found = [self._holds(s[bound.column], bound.op, bound.at) for bound in query.bounds]
        found += [not_(self._globbed(glob)) for glob in query.excluded if self._is_storable(glob)]
        if query.named is not None or query.globs:
            admitted = [self._globbed(glob) for glob in query.globs if self._is_storable(glob)]
            ids = sorted(filter(self._is_storable, query.named or ()))
            admitted += [self._is_any(s.session_id, ids)] if ids else []
            if len(ids) <= _MOST_NAMED:
                found.append(or_(false(), *admitted))
        if query.empty:
            found.append(not_(exists(select(1).select_from(self._messages).where(self._owns()))))
        return [*found, self._behind(after)] if after is not None else found

    def _globbed(self, glob: str) -> Condition:
        return self._is_like(self._sessions.c.session_id, like_pattern(glob))

    def _behind(self, after: Cursor) -> Condition:
        s = self._sessions.c
        stamp = self._sort_key(s.updated_at)
        next_id = false() if after.id is None else self._id_key(s.session_id) > self._id_value(after.id)
        if after.activity is None:
            return and_(stamp.is_(None), next_id)
        place = self._sort_value(s.updated_at, after.activity)
        return or_(stamp < place, and_(stamp == place, next_id), stamp.is_(None))

    def _ordered(self, statement: Select[Any], order: Order, *, joined: bool) -> Select[Any]:
        if order is Order.PHYSICAL:
            return statement.order_by(*self._physical(joined=joined))
        column = self._sessions.c.updated_at
        stamp = self._sort_key(column)
        unknown = [stamp.is_(None)] if self._may_be_unknown(column) else []
        by_id = self._id_key(self._sessions.c.session_id)
        if order is Order.OLDEST:
            return statement.order_by(*(each.desc() for each in unknown), stamp, by_id)
        return statement.order_by(*unknown, stamp.desc(), by_id)

    def _session_columns(self) -> list[Expression]:
        s = self._sessions.c
        return [
            s.session_id.label("id"),
            self._instant(s.created_at, s.created_at.info["facts"].clock).label("created"),
            self._instant(s.updated_at, s.updated_at.info["facts"].clock).label("updated"),
            self._edition().label("edition"),
        ]

    def _ref(self, row: Any) -> SessionRef:
        return SessionRef(id=row.id, created_at=self._time(row.created), updated_at=self._time(row.updated))

    def _listed(
        self, query: Query, conditions: list[Condition], order: Order, limit: int | None
    ) -> Iterator[SessionRef]:
        """Sessions without sizes. ``limit`` goes to the server where what the server decides is final."""
        statement = self._ordered(select(*self._session_columns()).where(*conditions), order, joined=False)
        most = None if query.named is None else len(query.named)
        if query.named is None and not query.measures and limit is not None:
            statement, most = statement.limit(limit), limit
        unsized = replace(query, min_items=None, min_bytes=None, min_tokens=None, empty=False)
        refs = map(self._ref, self._stream(statement, most=most))
        return (ref for ref in refs if unsized.matches(ref))

    def _looking(self, query: Query) -> Select[Any]:
        """How the sessions of ``query`` are looked for in a pass, without their sizes; for asking what that costs."""
        found = select(self._sessions.c.session_id).where(*self._conditions(query, None))
        return self._ordered(found, Order.PHYSICAL, joined=False)

    # --- sizes --------------------------------------------------------------------------------

    def _is_much(self, query: Query, conditions: list[Condition]) -> bool:
        """Is so much selected that one pass over all items beats looking up each session's?"""
        if query.named is not None and self._layout.indexed:
            return False
        if not conditions or not self._layout.indexed:
            return True
        counted = select(func.count()).select_from(self._sessions)
        with self._reading() as connection:
            selected = connection.execute(counted.where(*conditions)).scalar_one()
            return bool(selected >= WHOLE_SHARE * connection.execute(counted).scalar_one())

    def _sums(self, want: Want, *, joined: bool = True) -> list[Expression]:
        """``joined``: a session without items has a row of NULLs, which does not count."""
        m = self._messages.c
        sums: list[Expression] = [(func.count(m.id) if joined else func.count()).label("items")]
        if Want.SIZE in want:
            sums.append(func.sum(self._octets(m.message_data)).label("bytes"))
        if Want.VERSION in want:
            sums += [self._largest_key().label("newest_key"), self._newest(m.created_at).label("newest_at")]
        if Want.COMPACTED in want:
            sums.append(func.max(self._place_of(m.message_data, COMPACTION)).label("compacted"))
        return sums

    def _measures(self, ids: Sequence[str], want: Want) -> Select[Any]:
        """One row for each session (not item) of these ids, lookalikes perhaps too."""
        s = self._sessions
        joined = s.join(self._messages, self._owns(), isouter=True)
        return (
            select(s.c.session_id.label("id"), func.max(self._edition()).label("edition"), *self._sums(want))
            .select_from(joined)
            .where(self._is_any(s.c.session_id, ids))
            .group_by(s.c.session_id)
        )

    def _with_measure(self, ref: SessionRef, row: Any, want: Want) -> SessionRef:
        items = int(row.items or 0) if row is not None else 0
        if Want.COUNT in want:
            ref = replace(ref, items=items)
        if Want.SIZE in want:
            ref = replace(ref, items=items, bytes=int(row.bytes or 0) if row is not None else 0)
        if Want.VERSION in want:
            edition, key, newest = (row.edition, row.newest_key, row.newest_at) if row is not None else (None,) * 3
            newest = self._time(newest)
            version = version_of(microseconds(ref.updated_at), edition, key, microseconds(newest), items)
            ref = replace(ref, items=items, newest_item_at=newest, version=version)
        if Want.COMPACTED in want:
            ref = replace(ref, compacted=row is not None and bool(row.compacted))
        return ref

    def _measured(self, refs: Iterable[SessionRef], want: Want, limit: int | None) -> Iterator[SessionRef]:
        """``refs`` with their sizes, looked up a handful at a time on another connection."""
        for some in chunked(refs, min(limit or _MEASURED, _MEASURED)):
            found = {row.id: row for row in self._fetch(self._measures([ref.id for ref in some], want))}
            yield from (self._with_measure(ref, found.get(ref.id), want) for ref in some)

    def _together(self, query: Query, conditions: list[Condition], want: Want) -> Select[Any] | None:
        """The sessions with their sizes in one statement, None where their sizes have to be looked up beside it."""
        if self._is_much(query, conditions):
            return self._whole(query, conditions, want)
        decided = query.named is None or len(query.named) <= _MOST_NAMED
        return self._each(query, conditions, want) if decided else None

    def _measured_together(self, statement: Select[Any], order: Order, want: Want) -> Iterator[SessionRef]:
        for row in self._stream_all(self._ordered(statement, order, joined=True)):
            yield self._with_measure(self._ref(row), row, want)

    def _each(self, query: Query, conditions: list[Condition], want: Want) -> Select[Any] | None:  # noqa: ARG002
        """Sessions with their sizes, looked up one by one by the server; None where it has no such statement."""
        return None

    def _whole(self, query: Query, conditions: list[Condition], want: Want) -> Select[Any]:
        """Sessions with their sizes from one pass over all items."""
        owner = self._messages.c.session_id
        sums = select(owner, *self._sums(want, joined=False)).group_by(owner).subquery()
        added = [sums.c[name] for name in ("items", "bytes", "newest_key", "newest_at", "compacted") if name in sums.c]
        return (
            select(*self._session_columns(), *added)
            .select_from(self._sessions.join(sums, self._same_id(sums.c.session_id), isouter=True))
            .where(*conditions, *self._size_bounds(query, sums.c))
        )

    def _size_bounds(self, query: Query, sums: Any) -> list[Condition]:
        """What spares rows; ``matches`` decides."""
        found = [] if query.min_items is None else [func.coalesce(sums["items"], 0) >= query.min_items]
        return found if query.min_bytes is None else [*found, func.coalesce(sums["bytes"], 0) >= query.min_bytes]
