"""Whole sessions out of PostgreSQL: one statement tells of each all there is, and the server works on meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import ARRAY, BigInteger, Connection, String, bindparam, func, select, true

from sessionctl.core.record import ItemColumns, WholeSession
from sessionctl.core.units import format_time
from sessionctl.stores.postgresql.copy import CopyingStore
from sessionctl.stores.sql.prepared import Prepared


class WholeStore(CopyingStore):
    """A store that is read so, where an index finds the items of a session."""

    def _whole_of(self, connection: Connection, ids: Sequence[str], most: int) -> Iterator[WholeSession]:
        """Large ones come last: beside this statement no other could be streamed."""
        if not self._layout.indexed:
            yield from super()._whole_of(connection, ids, most)
            return
        self._is_utc(connection)  # known then to ``_instant_beyond``
        raw: Any = connection.connection.dbapi_connection
        given = {"ids": self._given(list(dict.fromkeys(ids))), "most": most}
        cursor, large = raw.cursor(row_factory=namedtuple_row), []
        try:
            with closing(cursor.stream(self._telling.text, {**self._telling.constants, **given}, binary=True)) as rows:
                for row in rows:
                    if row.items and not row.keys:
                        large.append(row)
                    else:
                        yield WholeSession(self._record(row, row), self._columns(row))
        except psycopg.Error:
            connection.invalidate()  # it may be lost, of which SQLAlchemy does not know here
            raise
        for row in large:
            yield WholeSession(self._record(row, row), self._streamed_items(connection, row.id, row))

    def _columns(self, row: Any) -> ItemColumns:
        if not row.items:
            return ItemColumns()
        times = {at: format_time(self._time(at)) for at in {*row.at}}
        return ItemColumns(row.keys, row.stored, [times[at] for at in row.at], row.texts)

    @cached_property
    def _telling(self) -> Prepared:
        """Of each id given its session as ``_records`` has it and its ``_size``; and where it is not large its items.

        These are arrays in the order of the SDK, as ``ItemColumns`` has them. Sessions come in the order of the ids.
        """
        s, m = self._sessions.c, self._messages.c
        asked = func.unnest(bindparam("ids", type_=ARRAY(String))).table_valued("name", with_ordinality="place")
        given = asked.render_derived(name="given")
        record = self._records.where(s.session_id == given.c.name).correlate(given).lateral()
        sizes = select(*self._size()).where(m.session_id == given.c.name).correlate(given).lateral()
        is_small = func.coalesce(sizes.c.bytes, 0) <= bindparam("most", type_=BigInteger)
        values = (m.id.label("keys"), *self._stamps(m.created_at, "c"), m.message_data.label("texts"))
        items = select(*values).where(m.session_id == given.c.name, is_small).order_by(m.created_at, m.id)
        names = ("keys", "stored", "at", "texts")
        each = zip(items.correlate(given, sizes).subquery().c, names, strict=True)
        arrays = select(*(func.array_agg(column).label(name) for column, name in each)).lateral()
        told = given.join(record, true()).join(sizes, true()).join(arrays, true())
        return self._prepared(select(*record.c, *sizes.c, *arrays.c).select_from(told).order_by(given.c.place))
