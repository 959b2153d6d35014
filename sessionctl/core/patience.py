"""Trouble that may pass is borne for a while."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

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

    def bear(self, error: SessionctlError) -> float:
        """Seconds to wait before the next attempt; raises ``error`` where it will not pass, or has not for too long.

        Pauses double, and vary so that two runs do not meet again and again.
        """
        if self.error is None:
            self._since, self._times = time.monotonic(), 0
        self.error = error
        if not error.transient or time.monotonic() - self._since >= GIVE_UP_S:
            raise error
        self._times += 1
        pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (self._times - 1))
        return pause * random.uniform(0.5, 1)  # noqa: S311 - nothing secret

    def passed(self) -> None:
        """An attempt succeeded."""
        self.error = None
