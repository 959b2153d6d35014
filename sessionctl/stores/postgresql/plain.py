"""The items of many sessions, put together by PostgreSQL: the driver takes longer to read a row than the server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any, ClassVar

from psycopg.rows import tuple_row
from psycopg.types.string import ByteaBinaryLoader
from sqlalchemy import (
    ARRAY,
    TEXT,
    Connection,
    String,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
    true,
)

from sessionctl.core.joined import NO_ITEMS, JoinedItems, joined
from sessionctl.stores.postgresql.whole import WholeStore
from sessionctl.stores.sql.dialect import Expression
from sessionctl.stores.sql.layout import Clock
from sessionctl.stores.sql.prepared import Prepared
from sessionctl.stores.sql.whole import ROWS

_BREAK: Expression = literal_column("'\n'")
_FIRST, _BEYOND = b"0002", b"9999"
"""Between these times are told as they stand; others can be beyond Python's calendar elsewhere."""


class PlainStore(WholeStore):
    """A store whose items can be had so."""

    _joins_with: ClassVar[Mapping[str, Any]] = {"isolation_level": "AUTOCOMMIT", "postgresql_readonly": False}
    """It is one statement, which sees one instant anyway: a transaction around it takes three round trips more."""

    def _joined_of(self, connection: Connection, ids: Sequence[str], most: int) -> Iterator[tuple[str, JoinedItems]]:
        clock = self._messages.c.created_at.info["facts"].clock
        if clock is Clock.LOCAL and not self._is_utc(connection):
            return
        raw: Any = connection.connection.dbapi_connection
        values = {**self._joining.constants, "ids": self._given(ids), "most": most}
        cursor = raw.cursor(row_factory=tuple_row)
        for name in ("text", "varchar"):
            cursor.adapters.register_loader(name, ByteaBinaryLoader)  # octets: nobody need make texts of them
        # One by one: the server works on, and what is still in the processor's cache is looked at.
        with closing(cursor.stream(self._joining.text, values, binary=True)) as rows:
            for session_id, keys, stamps, lines in rows:
                items = joined(keys, stamps, lines) if stamps and lines else None
                if session_id is None:  # it is gone
                    continue
                if keys is None:
                    yield session_id.decode(), NO_ITEMS
                elif items is not None and items.created[0] > _FIRST and items.created[-1] < _BEYOND:
                    yield session_id.decode(), items

    @cached_property
    def _joining(self) -> Prepared:
        """Of each id given that of its session, and keys, stamps in UTC and texts as ``joined`` takes them.

        By the index of each: all of them together would be sorted, with their texts. The ids come in their order, so
        that the server need not sort them for it.
        """
        s, m = self._sessions.c, self._messages.c
        asked = func.unnest(bindparam("ids", type_=ARRAY(String))).table_valued("name", with_ordinality="place")
        given = asked.render_derived(name="given")
        name = select(s.session_id).where(s.session_id == given.c.name).limit(1).scalar_subquery()
        at = m.created_at if m.created_at.info["facts"].clock is Clock.LOCAL else func.timezone("UTC", m.created_at)
        columns = m.id.label("key"), at.label("at"), self._small_text().label("text")
        of_session = select(*columns).where(m.session_id == given.c.name).correlate(given)
        some = of_session.limit(literal_column(str(ROWS + 1))).subquery().c
        keys, stamps = func.string_agg(cast(some.key, TEXT), ","), func.string_agg(cast(some.at, TEXT), _BREAK)
        is_little = and_(
            func.count() <= literal_column(str(ROWS)),
            func.count(some.text) == func.count(),  # else one is left out, and a break in another may hide that
            func.sum(self._octets(some.text)) <= bindparam("most"),
        )
        together = select(keys, stamps, case((is_little, func.string_agg(some.text, _BREAK)))).lateral()
        joined = given.join(together, true())
        return self._prepared(select(name, *together.c).select_from(joined).order_by(given.c.place))
