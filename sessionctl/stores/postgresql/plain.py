"""Items as plain rows in the format in which PostgreSQL has them: nobody makes texts of times, to read them again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import psycopg
from sqlalchemy import Connection, func, select

from sessionctl.stores.postgresql.copy import CopyingStore
from sessionctl.stores.sql.layout import Clock
from sessionctl.stores.sql.prepared import Prepared
from sessionctl.stores.sql.whole import ROWS

_FIRST, _LAST = 1, 9999
"""Years of which not all times are told as they stand, or can be."""


class PlainStore(CopyingStore):
    """A store whose items can be had so."""

    def _small_items_of(self, connection: Connection, ids: Sequence[str]) -> Sequence[Sequence[Any]] | None:
        clock = self._messages.c.created_at.info["facts"].clock
        if clock is Clock.LOCAL and not self._is_utc(connection):
            return None
        raw: Any = connection.connection.dbapi_connection
        with raw.cursor(binary=True) as cursor:
            cursor.execute(self._in_binary.text, {**self._in_binary.constants, "ids": self._given(ids)})
            found: list[tuple[Any, ...]] = []
            said, stamp = None, None
            try:
                for owner, key, at, text in cursor.fetchall():
                    if at != said:  # the items of a batch share their stamp
                        said, stamp = at, None if at is None else str(at)
                        if at is not None and not _FIRST < at.year < _LAST:
                            return None
                    found.append((owner, key, stamp, None, text))
            except (psycopg.DataError, UnicodeDecodeError):  # a time beyond Python's, and what is no UTF-8
                return None
            return found

    @cached_property
    def _in_binary(self) -> Prepared:
        """Owner, key, stamp in UTC and text of items of the sessions given."""
        m = self._messages.c
        clock = m.created_at.info["facts"].clock
        at = m.created_at if clock is Clock.LOCAL else func.timezone("UTC", m.created_at)
        items = select(self._owner(), m.id, at, self._small_text()).where(self._is_given(m.session_id))
        return self._prepared(items.limit(ROWS + 1))
