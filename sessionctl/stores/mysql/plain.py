"""The items of many sessions, put together by MySQL and MariaDB: the driver is Python, and takes long to read a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from sqlalchemy import Connection, LargeBinary, case, cast, func, literal_column, select, text

from sessionctl.core.joined import JoinedItems, joined
from sessionctl.stores.mysql.looking import LISTS, LookingStore
from sessionctl.stores.mysql.text import as_utf8
from sessionctl.stores.sql.dialect import Expression
from sessionctl.stores.sql.prepared import Prepared
from sessionctl.stores.sql.whole import SMALL

_UTC = frozenset({"+00:00", "utc", "etc/utc", "uct", "etc/uct", "gmt", "etc/gmt", "zulu", "etc/zulu"})
"""Zones in which local times are those of UTC, then and now."""
_FIRST, _BEYOND = b"1971", b"2038"
"""Between these the server's own arithmetic on Unix time takes every time for what it says."""


class PlainStore(LookingStore):
    """A store whose items can be had so."""

    _in_utc: bool | None = None

    def _joined_of(self, connection: Connection, ids: Sequence[str], most: int) -> Iterator[tuple[str, JoinedItems]]:
        if not self._is_utc(connection):
            return
        connection.execute(text("SET SESSION group_concat_max_len = :most"), {"most": most})
        try:
            result = self._joining.run(connection, ids=self._given(ids))
            rows = result.cursor.fetchall()  # the driver's own
            result.close()
        finally:
            if not connection.invalidated:  # lost, and its settings with it
                connection.execute(text(LISTS))
        there = {*ids}.intersection(self._existing.run(connection, ids=self._given(ids)).scalars())
        places = {session_id.encode(): place for place, session_id in enumerate(ids)}
        rows = sorted((row for row in rows if row[0] in places), key=lambda row: places[row[0]])
        for name, is_one, octets, keys, stamps, lines in rows:
            # Where they are not cut off, what is shorter is not either.
            is_whole = is_one and lines is not None and len(lines) == octets + keys.count(b",")
            is_whole = is_whole and max(len(keys), len(stamps)) < len(lines)
            items = joined(keys, stamps, lines) if is_whole else None
            is_told = items is not None and items.created[0] > _FIRST and items.created[-1] < _BEYOND
            if items is not None and is_told and (session_id := name.decode()) in there:
                yield session_id, items

    @cached_property
    def _joining(self) -> Prepared:
        """Of sessions given an id, whether all items that compare alike have that one, and the octets of their texts.

        Then keys, stamps and texts as ``joined`` takes them, cut off where they are too long for the server.
        """
        m = self._messages.c
        name, data = self._id_key(m.session_id), as_utf8(m.message_data)
        size = func.octet_length(data)
        # Each is made octets by itself: that is quicker than to do so with what they are together.
        small = case((size <= literal_column(str(SMALL)), cast(data, LargeBinary)))
        # Where ids compare exactly, those alike may still differ in the spaces at their ends.
        alike = func.octet_length(m.session_id) if self._compares_exactly else name
        is_one = func.min(alike) == func.max(alike)
        told = func.group_concat(cast(m.id, LargeBinary)), *map(_lines, (cast(m.created_at, LargeBinary), small))
        asked = select(name, is_one, func.sum(size), *told).where(self._is_given(m.session_id))
        return self._prepared(asked.group_by(m.session_id))

    def _is_utc(self, connection: Connection) -> bool:
        """Are local times here those of UTC? Asked once: every connection is made alike."""
        if self._in_utc is None:
            zone, systems = connection.execute(text("SELECT @@session.time_zone, @@system_time_zone")).one()
            self._in_utc = (systems if zone == "SYSTEM" else zone).lower() in _UTC
        return self._in_utc


def _lines(column: Expression) -> Expression:
    return func.group_concat(column.op("SEPARATOR")(literal_column("'\n'")))
