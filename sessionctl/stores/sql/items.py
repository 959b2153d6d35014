"""Reading items out of stores behind SQLAlchemy Core: one session's, those that hold a text, a sample."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Integer, Select, String, bindparam, func, literal, literal_column, select

from sessionctl.core.model import Ends, Item, Volume
from sessionctl.stores.sql.dialect import Condition, Expression
from sessionctl.stores.sql.store import SqlReader
from sessionctl.stores.sql.values import chunked

_LOOKED_INTO = 1000
"""Session ids of a search that go to the server together."""
_ENDS_TOGETHER, _ENDS_OF = 5000, 50
"""Items, and sessions, whose ends are asked for in one statement."""
_ITEMS_AT_ONCE = 10
"""Items that are fetched together: each may be an image."""
_SPOTS = 200
"""Places from which a sample is taken."""
_Found = tuple[Any, int, Any, str]
"""Of an item: what its stamp is sorted by, its key, instant and text."""


class SqlItemReader(SqlReader):
    """A reader that yields items too."""

    def _exactly(self, session_id: Expression) -> list[Condition]:  # noqa: ARG002  (engines that need it use it)
        """What an item must fulfil beyond an equal session id where that finds lookalikes."""
        return []

    def _owner(self) -> Expression:
        """The id of the session whose item it is."""
        return self._messages.c.session_id.expression

    def _item_columns(self) -> list[Expression]:
        m = self._messages.c
        created = self._instant(m.created_at, m.created_at.info["facts"].clock)
        return [m.id.label("key"), created.label("created"), m.message_data.label("text")]

    def _item(self, row: Any) -> Item:
        return Item(key=row.key, text=row.text, created_at=self._time(row.created))

    def items(self, session_id: str, *, last: int | None = None) -> Iterator[Item]:
        if not self._is_storable(session_id) or (last is not None and last <= 0):
            return
        m = self._messages.c
        of_session: Select[Any] = select(*self._item_columns()).where(
            m.session_id == session_id, *self._exactly(literal(session_id))
        )
        if last is None:
            statement = of_session.order_by(m.created_at, m.id)
        else:
            newest = of_session.add_columns(m.created_at.label("stored"))
            found = newest.order_by(m.created_at.desc(), m.id.desc()).limit(last).subquery().c
            statement = select(found.key, found.created, found.text).order_by(found.stored, found.key)
        yield from map(self._item, self._stream(statement, most=last, at_once=_ITEMS_AT_ONCE))

    def ends(self, session_ids: Sequence[str], *, first: int, last: int) -> Iterator[Ends]:
        most = max(1, min(_ENDS_OF, _ENDS_TOGETHER // max(1, first + last)))
        for ids in chunked(filter(self._is_storable, dict.fromkeys(session_ids)), most):
            heads: list[list[_Found]] = [[] for _ in ids]
            tails: list[list[_Found]] = [[] for _ in ids]
            for place, newest, stored, key, created, text in self._both_ends(ids, first, last):
                (tails if newest else heads)[place].append((stored, key, created, text))
            for place, session_id in enumerate(ids):
                if tails[place]:
                    yield Ends(session_id, self._in_order(heads[place]), self._in_order(tails[place]))

    def _in_order(self, found: list[_Found]) -> list[Item]:
        found.sort(key=lambda one: (one[0] is not None, one))  # keys differ, so that no text is ever compared
        return [Item(key=key, text=text, created_at=self._time(created)) for _, key, created, text in found]

    def _both_ends(self, ids: Sequence[str], first: int, last: int) -> Iterable[Sequence[Any]]:
        """Rows (place in ``ids``, from the newest end?, stored stamp, key, instant, text) of the items at both ends."""
        asked = [one for one, count in zip(self._ends_of_one, (first, last), strict=True) if count > 0]
        if not asked:
            return ()
        # One SELECT for each, put together as text: compiling them would take longer than they do.
        parts = [f"({text})".replace("%(b_", f"%(b{at}_") for text, _ in asked for at in range(len(ids))]
        values = {name: value for _, constants in asked for name, value in constants.items()}
        values |= {"first": first, "last": last}
        values |= {f"b{at}_session": session_id for at, session_id in enumerate(ids)}
        values |= {f"b{at}_place": at for at in range(len(ids))}
        with self._reading() as connection:
            result = connection.exec_driver_sql(" UNION ALL ".join(parts), values)
            rows: Sequence[Sequence[Any]] = result.cursor.fetchall()  # the driver's own
            result.close()
        return rows

    @cached_property
    def _ends_of_one(self) -> tuple[tuple[str, Mapping[str, Any]], tuple[str, Mapping[str, Any]]]:
        """The SELECTs for the first and the newest items of one session: a short walk on the index each.

        With their constants. ``b_place`` and ``b_session`` say which session, ``first`` and ``last`` how many items.
        """
        m = self._messages.c
        return (
            self._end_of_one("first", (m.created_at, m.id), newest=False),
            self._end_of_one("last", (m.created_at.desc(), m.id.desc()), newest=True),
        )

    def _end_of_one(self, most: str, order: Sequence[Expression], *, newest: bool) -> tuple[str, Mapping[str, Any]]:
        session: Expression = bindparam("b_session", type_=String)
        told = self._end_columns(bindparam("b_place"), literal_column(str(int(newest))))
        found = select(*told).where(self._messages.c.session_id == session, *self._exactly(session))
        some = found.order_by(*order).limit(bindparam(most, type_=Integer))
        compiled = some.compile(dialect=self._engine.dialect)
        return str(compiled), compiled.params

    def _end_columns(self, place: Expression, newest: Expression) -> list[Expression]:
        """What ``_both_ends`` tells of an item."""
        stored = self._messages.c.created_at.label("stored")
        return [place.label("place"), newest.label("newest"), stored, *self._item_columns()]

    def find(self, session_ids: Sequence[str], needle: str) -> Iterator[tuple[str, Item]]:
        m = self._messages.c
        for ids in chunked(filter(self._is_storable, dict.fromkeys(session_ids)), _LOOKED_INTO):
            asked = set(ids)
            statement = select(self._owner().label("owner"), *self._item_columns()).where(
                self._is_any(m.session_id, ids)
            )
            if needle:
                statement = statement.where(self._contains(m.message_data, needle))
            rows = self._stream(statement, at_once=_ITEMS_AT_ONCE)
            yield from ((row.owner, self._item(row)) for row in rows if row.owner in asked)

    def sample(self, count: int) -> Iterator[Item]:
        m = self._messages.c
        some = select(m.id).limit(count + 1).subquery()
        if count <= 0:
            return
        if self._fetch(select(func.count()).select_from(some))[0][0] <= count:
            yield from map(self._item, self._stream(select(*self._item_columns()), at_once=_ITEMS_AT_ONCE))
            return
        low, high = self._fetch(select(func.min(m.id), func.max(m.id)))[0]
        yield from self._sample_between(int(low), int(high) + 1, count)

    def _sample_between(self, low: int, high: int, count: int) -> Iterator[Item]:
        """Runs of neighbours from places spread over the keys; a place in a gap is made up for by the next."""
        key, taken = self._messages.c.id, 0
        for spot in range(_SPOTS):
            begin, end = (low + (high - low) * n // _SPOTS for n in (spot, spot + 1))
            due = count * (spot + 1) // _SPOTS - taken
            start = random.randint(begin, max(begin, end - due))  # noqa: S311
            run = select(*self._item_columns()).where(key >= start, key < end).order_by(key).limit(due)
            for row in self._stream(run, at_once=_ITEMS_AT_ONCE) if due > 0 else ():
                taken += 1
                yield self._item(row)

    def volume(self) -> Volume:
        size = func.sum(self._octets(self._messages.c.message_data))
        items, octets = self._fetch(select(func.count(), size).select_from(self._messages))[0]
        return Volume(items=int(items), bytes=int(octets or 0))
