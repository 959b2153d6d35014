"""What was deleted within the last seconds, for stores that enforce no foreign key.

SQLAlchemySession before 0.23.1 looks for the session's row, and inserts its items a moment later (sdk:
sqlalchemy_session.py, ``add_items``). A deletion that commits in between leaves these items without a row,
and the SDK from 0.23.1 on neither pops nor clears such. So each deleted session is looked at twice more.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

_SOON_S = 1.0
_LATE_S = 6.0
"""An insertion may wait for a lock until the application gives up: on SQLite the SDK sets 5 seconds."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """Sessions deleted together, the moment by the monotonic clock, and whether they were looked at once already."""

    ids: Sequence[str]
    at: float
    again: bool = False


class RecentlyDeleted:
    """Remembers what was deleted for some seconds, and has each of it looked at twice: soon, and when it is late."""

    def __init__(self) -> None:
        self._soon: deque[Deleted] = deque()
        self._late: deque[Deleted] = deque()
        self.given_back = 0
        """Sessions that got their row back so far."""

    def add(self, ids: Sequence[str]) -> None:
        """These are gone, committed just now."""
        if ids:
            self._soon.append(Deleted(ids, time.monotonic()))

    def wait(self) -> float:
        """Wait until the youngest is due; how long that took."""
        began = time.monotonic()
        if self._soon:
            time.sleep(max(0.0, self._soon[-1].at + _SOON_S - began))
        return time.monotonic() - began

    def due(self, *, everything: bool = False) -> list[Deleted]:
        """What to look at now; it stays remembered until ``looked_at``."""
        now = time.monotonic()
        late = [one for one in self._late if everything or one.at + _LATE_S <= now]
        return late + [one for one in self._soon if everything or one.at + _SOON_S <= now]

    def looked_at(self, due: Sequence[Deleted], given_back: int) -> None:
        """The look was committed."""
        self.given_back += given_back
        for one in due:
            (self._late if one.again else self._soon).popleft()
            if not one.again:
                self._late.append(Deleted(one.ids, one.at, again=True))


def ids_of(due: Sequence[Deleted]) -> list[str]:
    """Their ids."""
    return [session_id for one in due for session_id in one.ids]
