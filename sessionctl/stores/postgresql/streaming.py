"""Rows out of PostgreSQL one by one as the server makes them, so that it works on while somebody is busy with them.

A cursor of the server would do so too, but it is planned for its first rows, and is asked for more each time.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any

from psycopg.rows import namedtuple_row, tuple_row
from sqlalchemy import FromClause, Integer, Select, String, bindparam, func, select, true
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.sql.selectable import LateralFromClause

from sessionctl.core.model import Ends, Item
from sessionctl.stores.postgresql.copy import CopyingStore
from sessionctl.stores.sql.dialect import Expression
from sessionctl.stores.sql.prepared import Prepared
from sessionctl.stores.sql.values import chunked

_TOGETHER = 1000
"""Sessions whose ends are asked for in one statement."""
_SMALL = 64 * 1024
"""Octets of a text that may travel in one row with all the others of its session."""


class StreamingStore(CopyingStore):
    """A store that is read so, where that is much."""

    def _stream_all(self, statement: Select[Any]) -> Iterator[Any]:
        return self._flow(self._prepared(statement), namedtuple_row)

    def _flow(self, statement: Prepared, form: Any, *, binary: bool = False, **values: Any) -> Iterator[Any]:
        rows = self._flowing(statement, form, binary, values)
        self._streams.add(rows)
        return rows

    def _flowing(
        self, statement: Prepared, form: Any, binary: bool, values: dict[str, Any]
    ) -> Generator[Any, None, None]:
        with self._reading() as connection:
            self._before_stream(connection)
            raw: Any = connection.connection.dbapi_connection
            asked = raw.cursor(row_factory=form).stream(
                statement.text, {**statement.constants, **values}, binary=binary
            )
            try:
                with closing(asked) as rows:  # the server ends what is not read to its end
                    yield from rows
            finally:
                self._keep_one_idle(connection)

    def ends(self, session_ids: Sequence[str], *, first: int, last: int) -> Iterator[Ends]:
        wanted = {"first": max(0, first), "last": max(0, last)}
        for ids in chunked(filter(self._is_storable, dict.fromkeys(session_ids)), _TOGETHER):
            large = []
            rows = self._flow(self._ends_in_arrays, tuple_row, binary=True, ids=self._given(ids), **wanted)
            for session_id, *told in rows:
                head, tail = self._items_told(*told[:3]), self._items_told(*told[3:])
                if head is None or tail is None:
                    large.append(session_id)
                elif tail:
                    yield Ends(session_id, head, tail)
            yield from super().ends(large, first=first, last=last)

    def _items_told(self, keys: list[int] | None, created: list[Any], texts: list[str | None]) -> list[Item] | None:
        """The items of which arrays tell; None where a text is too large to be among them."""
        if keys is None:
            return []
        if None in texts:
            return None
        times = map(self._time, created)
        return [Item(key=key, text=text, created_at=at) for key, text, at in zip(keys, texts, times, strict=True)]  # type: ignore[arg-type]

    @cached_property
    def _ends_in_arrays(self) -> Prepared:
        """Of each session given: its id; and keys, instants and texts of its first and of its newest items."""
        asked = func.unnest(bindparam("ids", type_=ARRAY(String))).table_valued("name")
        given = asked.render_derived(name="given")
        m = self._messages.c
        head = self._in_arrays(given, (m.created_at, m.id), "first")
        tail = self._in_arrays(given, (m.created_at.desc(), m.id.desc()), "last")
        joined = given.join(head, true()).join(tail, true())
        return self._prepared(select(given.c.name, *head.c, *tail.c).select_from(joined))

    def _in_arrays(self, given: FromClause, order: Sequence[Expression], most: str) -> LateralFromClause:
        """Of a session as many items by ``order`` as ``most`` says, in arrays that are in the order of reading."""
        key, created, _ = self._item_columns()
        stored, text = self._messages.c.created_at.label("stored"), self._small_text(_SMALL).label("text")
        of_session = select(key, created, text, stored).where(self._messages.c.session_id == given.c.name)
        some = of_session.order_by(*order).limit(bindparam(most, type_=Integer)).correlate(given).subquery().c
        columns = (some.key, some.created, some.text)
        arrays = [func.array_agg(aggregate_order_by(column, some.stored, some.key)) for column in columns]
        return select(*arrays).lateral()
