"""Trouble that may pass is borne for a while, and what is in the way of everything else is left out."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sessionctl.errors import SessionctlError

GIVE_UP_S = 30.0
"""So long without success, and the last error is the end of it."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0


@dataclass(slots=True)
class Trouble:
    """Errors of a database that may pass (locks of others, a restart), borne for ``GIVE_UP_S`` in a row."""

    error: SessionctlError | None = None
    _since: float = 0.0
    _times: int = 0

    @property
    def is_over(self) -> bool:
        """Was it borne for long enough?"""
        return self.error is not None and time.monotonic() - self._since >= GIVE_UP_S

    def bear(self, error: SessionctlError, *, long: bool = False) -> float:
        """Seconds to wait before the next attempt; raises ``error`` where it will not pass, or has not for too long.

        ``long``: however long that was. Pauses double, and vary so that two runs do not meet again and again.
        """
        if self.error is None:
            self._since, self._times = time.monotonic(), 0
        self.error = error
        if not error.transient or (self.is_over and not long):
            raise error
        self._times += 1
        pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (self._times - 1))
        return pause * random.uniform(0.5, 1)  # noqa: S311 - nothing secret

    def passed(self) -> None:
        """An attempt succeeded."""
        self.error = None


@dataclass(slots=True)
class Obstacles:
    """Sessions whose batch found the store busy: one of them may be what is in the way of all others.

    It is once it failed alone, others have gone through since it first failed, and that is long enough ago.
    """

    _failing: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Since when, and how many batches had gone through then."""
    _passed: int = 0
    _alone: int = 0
    """Attempts at single sessions since a batch went through."""

    def passed(self, ids: Sequence[str]) -> None:
        """A batch of these went through."""
        self._passed, self._alone = self._passed + 1, 0
        if self._failing:
            for session_id in ids:
                self._failing.pop(session_id, None)

    def failed(self, ids: Sequence[str]) -> None:
        """A batch of these did not."""
        for session_id in ids:
            self._failing.setdefault(session_id, (time.monotonic(), self._passed))
        self._alone += len(ids) == 1

    def is_one(self, session_id: str) -> bool:
        """Is this session, which failed alone just now, to be given up?"""
        since, passed = self._failing[session_id]
        return self._passed > passed and time.monotonic() - since >= GIVE_UP_S

    @property
    def may_be_one(self) -> bool:
        """May a single session be in the way still, rather than that the store does not work?"""
        return self._alone <= 1
