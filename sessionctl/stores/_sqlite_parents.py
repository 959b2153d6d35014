"""Session rows for items that were appended while their session was being deleted.

SQLAlchemySession before 0.23.1 looks for the session's row, and only then begins the transaction that inserts the
items (sdk: sqlalchemy_session.py, ``add_items``). A deletion that commits in between leaves these items without a
row: SQLite enforces no foreign key, and the SDK from 0.23.1 on neither pops nor clears them.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from sessionctl.stores._sqlite_layout import SqliteLayout, quoted
from sessionctl.stores._sqlite_values import among

SOON_S = 1.0
_LATE_S = 6.0
"""An insertion may wait for the lock until SQLite gives up: the SDK sets 5 seconds."""


@dataclass(frozen=True, slots=True)
class _Deleted:
    """Sessions deleted together, the moment by the monotonic clock, and whether they were looked at once already."""

    ids: Sequence[str]
    at: float
    again: bool = False


class Parents:
    """Remembers what was deleted for some seconds, and looks at each of it twice: soon, and when it is late."""

    def __init__(self, layout: SqliteLayout) -> None:
        self._layout = layout
        self._soon: deque[_Deleted] = deque()
        self._late: deque[_Deleted] = deque()
        self.given_back = 0

    def deleted(self, ids: Sequence[str]) -> None:
        """These are gone, committed just now. Nothing is remembered where no such writer can be."""
        if ids and self._layout.flavour == "SQLAlchemySession":
            self._soon.append(_Deleted(ids, time.monotonic()))

    @property
    def wait_s(self) -> float:
        """How long until the youngest is due; 0 where nothing is remembered."""
        return max(0.0, self._soon[-1].at + SOON_S - time.monotonic()) if self._soon else 0.0

    def due(self, *, everything: bool = False) -> list[_Deleted]:
        """What to look at now; it stays remembered until ``looked_at``."""
        now = time.monotonic()
        late = [one for one in self._late if everything or one.at + _LATE_S <= now]
        return late + [one for one in self._soon if everything or one.at + SOON_S <= now]

    def give_back(self, connection: sqlite3.Connection, due: Sequence[_Deleted]) -> int:
        """Insert the rows that are missing among ``due``, inside the caller's transaction; how many that were.

        With the stamps that the SDK would have written: those of its oldest and of its newest item.
        """
        ids = [session_id for one in due for session_id in one.ids]
        if not ids:
            return 0
        inside, params = among(ids)
        sessions, messages = quoted(self._layout.sessions), quoted(self._layout.messages)
        found = connection.execute(
            f"INSERT INTO {sessions} (session_id, created_at, updated_at) "
            "SELECT session_id, coalesce(min(created_at), CURRENT_TIMESTAMP), "
            "coalesce(max(created_at), CURRENT_TIMESTAMP) "
            f"FROM {messages} m WHERE session_id IN ({inside}) "
            f"AND NOT EXISTS (SELECT 1 FROM {sessions} s WHERE s.session_id = m.session_id) GROUP BY session_id",
            params,
        )
        return max(0, found.rowcount)

    def looked_at(self, due: Sequence[_Deleted], given_back: int) -> None:
        """The look was committed."""
        self.given_back += given_back
        for one in due:
            (self._late if one.again else self._soon).popleft()
            if not one.again:
                self._late.append(_Deleted(one.ids, one.at, again=True))
