"""Items of MySQL and MariaDB as plain rows: where the zone is UTC, their times are told as they stand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import CHAR, Connection, cast, null, select, text

from sessionctl.stores.mysql.looking import LookingStore
from sessionctl.stores.sql.prepared import Prepared
from sessionctl.stores.sql.whole import ROWS

_UTC = frozenset({"+00:00", "utc", "etc/utc", "uct", "etc/uct", "gmt", "etc/gmt", "zulu", "etc/zulu"})
"""Zones in which local times are those of UTC, then and now."""
_FIRST, _BEYOND = "1971", "2038"
"""Between these the server's own arithmetic on Unix time takes every time for what it says."""


class PlainStore(LookingStore):
    """A store whose items can be had so."""

    _in_utc: bool | None = None

    def _small_items_of(self, connection: Connection, ids: Sequence[str]) -> Sequence[Sequence[Any]] | None:
        if not self._is_utc(connection):
            return None
        result = self._as_they_stand.run(connection, ids=self._given(ids))
        rows: Sequence[Sequence[Any]] = result.cursor.fetchall()  # the driver's own rows
        result.close()
        stamps = [row[2] for row in rows if row[2] is not None]
        return rows if not stamps or (min(stamps) > _FIRST and max(stamps) < _BEYOND) else None

    @cached_property
    def _as_they_stand(self) -> Prepared:
        """Owner, key, stamp, no instant, and text of items of the sessions given."""
        m = self._messages.c
        columns = self._owner(), m.id, cast(m.created_at, CHAR), null(), self._small_text()
        return self._prepared(select(*columns).where(self._is_given(m.session_id)).limit(ROWS + 1))

    def _is_utc(self, connection: Connection) -> bool:
        """Are local times here those of UTC? Asked once: every connection is made alike."""
        if self._in_utc is None:
            zone, systems = connection.execute(text("SELECT @@session.time_zone, @@system_time_zone")).one()
            self._in_utc = (systems if zone == "SYSTEM" else zone).lower() in _UTC
        return self._in_utc
