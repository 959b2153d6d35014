"""Reading items out of stores behind SQLAlchemy Core: one session's, those that hold a text, a sample."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Select, func, select, union_all

from sessionctl.core.model import Ends, Item, Volume
from sessionctl.stores._sql import Condition, Expression, SqlReader
from sessionctl.stores._sql_values import chunked

_LOOKED_INTO = 1000
"""Session ids of a search that go to the server together."""
_ENDS_TOGETHER = 50
"""Sessions whose ends are asked for in one statement."""
_SPOTS = 200
"""Places from which a sample is taken."""


class SqlItemReader(SqlReader):
    """A reader that yields items too."""

    def _exactly(self, session_id: str) -> list[Condition]:  # noqa: ARG002  (engines that need it use it)
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
        of_session: Select[Any] = select(*self._item_columns(), m.created_at.label("stored")).where(
            m.session_id == session_id, *self._exactly(session_id)
        )
        if last is None:
            statement = of_session.order_by(m.created_at, m.id)
        else:
            newest = of_session.order_by(m.created_at.desc(), m.id.desc()).limit(last).subquery()
            statement = select(newest).order_by(newest.c.stored, newest.c.key)
        yield from map(self._item, self._stream(statement, most=last))

    def ends(self, session_ids: Sequence[str], *, first: int, last: int) -> Iterator[Ends]:
        for ids in chunked(filter(self._is_storable, dict.fromkeys(session_ids)), _ENDS_TOGETHER):
            heads, tails = self._end_of_each(ids, first), self._end_of_each(ids, last, newest=True)
            yield from (Ends(name, heads.get(name, ()), tails[name]) for name in ids if name in tails)

    def _end_of_each(self, ids: Sequence[str], count: int, *, newest: bool = False) -> dict[str, list[Item]]:
        """So many items of each of these sessions, from one of its ends, in the order of reading."""
        if count <= 0:
            return {}
        found: dict[str, list[Any]] = {}
        for row in self._fetch(self._ends_statement(ids, count, newest=newest)):
            found.setdefault(row.owner, []).append(row)
        return {
            owner: [
                self._item(row) for row in sorted(rows, key=lambda row: (row.stored is not None, row.stored, row.key))
            ]
            for owner, rows in found.items()
        }

    def _ends_statement(self, ids: Sequence[str], count: int, *, newest: bool) -> Any:
        """Rows of ``_end_of_each``, in any order: a short walk on the index for each session."""
        return union_all(
            *(select(self._end_of(name, self._exactly(name), count, newest=newest).subquery()) for name in ids)
        )

    def _end_of(self, session_id: Any, exactly: Sequence[Condition], count: int, *, newest: bool) -> Select[Any]:
        m = self._messages.c
        order = (m.created_at.desc(), m.id.desc()) if newest else (m.created_at, m.id)
        columns = (self._owner().label("owner"), *self._item_columns(), m.created_at.label("stored"))
        return select(*columns).where(m.session_id == session_id, *exactly).order_by(*order).limit(count)

    def find(self, session_ids: Sequence[str], needle: str) -> Iterator[tuple[str, Item]]:
        m = self._messages.c
        for ids in chunked(filter(self._is_storable, dict.fromkeys(session_ids)), _LOOKED_INTO):
            asked = set(ids)
            statement = select(self._owner().label("owner"), *self._item_columns()).where(
                self._is_any(m.session_id, ids)
            )
            if needle:
                statement = statement.where(self._contains(m.message_data, needle))
            yield from ((row.owner, self._item(row)) for row in self._stream(statement) if row.owner in asked)

    def sample(self, count: int) -> Iterator[Item]:
        m = self._messages.c
        some = select(m.id).limit(count + 1).subquery()
        if count <= 0:
            return
        if self._fetch(select(func.count()).select_from(some))[0][0] <= count:
            yield from map(self._item, self._stream(select(*self._item_columns())))
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
            for row in self._fetch(run) if due > 0 else ():
                taken += 1
                yield self._item(row)

    def volume(self) -> Volume:
        size = func.sum(self._octets(self._messages.c.message_data))
        items, octets = self._fetch(select(func.count(), size).select_from(self._messages))[0]
        return Volume(items=int(items), bytes=int(octets or 0))
