"""Holds in a SQLite file, in a table of sessionctl's own beside the SDK's."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sessionctl.core.hold import Hold, HoldKind, Holds
from sessionctl.errors import StoreNotUnderstood
from sessionctl.stores.base import Store
from sessionctl.stores.holds_table import COLUMNS, DDL, TABLE, hold_of, row_of, stamp
from sessionctl.stores.sqlite.file import SqliteFile
from sessionctl.stores.sqlite.layout import SqliteLayout
from sessionctl.stores.sqlite.values import among, bound

Rows = Callable[..., Iterable[tuple[Any, ...]]]
"""Runs a SELECT: the statement, then its parameters."""

_IS_THERE = f"SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{TABLE}'"
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM {TABLE}"
_TEXTS = frozenset({"value", "reason", "who"})
_PLACES = ", ".join("CAST(? AS TEXT)" if name in _TEXTS else "?" for name in COLUMNS)


class HoldsInFile(Store):
    """The port's part on holds; adapters fill in the rest."""

    _file: SqliteFile
    _layout: SqliteLayout
    _is_swept = False

    def holds(self) -> Iterator[Hold]:
        return iter(read_holds(self._file.rows))

    def hold(self, holds: Sequence[Hold]) -> None:
        self._refuse_if_frozen()
        with self._file.transaction(self.spent) as connection:
            self._add_holds(connection, holds, self.now())

    def _add_holds(self, connection: sqlite3.Connection, holds: Iterable[Hold], now: datetime) -> None:
        """Add them, in the caller's transaction; those that are over by now go, once for this object."""
        connection.execute(DDL["sqlite"].format(table=TABLE))
        if not self._is_swept:
            connection.execute(f"DELETE FROM {TABLE} WHERE until <= ?", (stamp(now),))
            self._is_swept = True
        insert = f"INSERT OR REPLACE INTO {TABLE} ({', '.join(COLUMNS)}) VALUES ({_PLACES})"
        connection.executemany(insert, map(_bound_row, holds))

    def release(self, holds: Sequence[Hold]) -> int:
        with self._file.transaction(self.spent) as connection:
            return drop_holds(connection, holds)

    def _refuse_if_frozen(self) -> None:
        if self._layout.frozen:
            raise StoreNotUnderstood(f"{self.address} must not be changed: {self._layout.frozen}")


def read_holds(rows: Rows) -> list[Hold]:
    """All of them; none where there is no table."""
    return [hold_of(row) for row in rows(f"{_SELECT} ORDER BY since, hold_id, kind, value")] if _is_there(rows) else []


def held_among(
    connection: sqlite3.Connection, session_ids: Sequence[str], named: frozenset[str], now: datetime
) -> frozenset[str]:
    """Which of these sessions a run that names ``named`` must leave alone, as the caller's transaction sees it."""
    if not session_ids or not _is_there(connection.execute):
        return frozenset()
    inside, params = among(session_ids)
    found = connection.execute(f"{_SELECT} WHERE kind <> ? OR value IN ({inside})", (str(HoldKind.ID), *params))
    return Holds(map(hold_of, found), now).among(session_ids, named)


def drop_holds(connection: sqlite3.Connection, holds: Iterable[Hold]) -> int:
    """Take exactly these away, in the caller's transaction; how many of them there were."""
    if not _is_there(connection.execute):
        return 0
    delete = f"DELETE FROM {TABLE} WHERE value = CAST(? AS TEXT) AND kind = ? AND hold_id = ?"
    given = [(bound(hold.value), str(hold.kind), hold.hold_id) for hold in holds]
    return connection.executemany(delete, given).rowcount if given else 0


def _is_there(rows: Rows) -> bool:
    return any(True for _ in rows(_IS_THERE))


def _bound_row(hold: Hold) -> list[Any]:
    values = zip(COLUMNS, row_of(hold), strict=True)
    return [bound(value) if name in _TEXTS else value for name, value in values]
