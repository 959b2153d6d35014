"""Replicas that have fallen behind, for which a run waits."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sessionctl.core.limits import LagLimit
from sessionctl.core.model import Lag
from sessionctl.stores.base import Store

_LOOK_EVERY_S = 1.0
_BEHIND_S = 600.0
"""So long a run waits for replicas that do not come closer to the limit."""


class TooFarBehind(Exception):
    """Replicas stay behind, and waiting on is no use. The message says how far."""


@dataclass(slots=True)
class LagWatch:
    """Looks once a second how far the replicas of ``store`` are behind, where it can tell."""

    store: Store
    limit: LagLimit
    _due: float = 0.0
    _blind: bool = False
    _nearest: float = field(default=float("inf"))
    _near_since: float = 0.0

    def behind(self) -> str | None:
        """What is too far behind, in words; None while nothing is.

        Raises TooFarBehind where it does not get better: at once for log kept for a slot that nobody reads.
        """
        now = time.monotonic()
        if self._blind or now < self._due:
            return None
        lag = self.store.lag()
        self._blind, self._due = lag is None, now + _LOOK_EVERY_S
        sentence = self.limit.passed(lag) if lag else None
        if lag is None or sentence is None:
            self._nearest = float("inf")
            return None
        self._due = 0.0  # the run does nothing else until this is over
        if not self.limit.can_recover(lag):
            raise TooFarBehind(f"{sentence}, and nobody reads it: drop the slot, or allow more by --max-replica-lag")
        self._check_patience(lag, sentence, now)
        return sentence

    def _check_patience(self, lag: Lag, sentence: str, now: float) -> None:
        distance = max(lag.seconds or 0.0, lag.retained / 2**20)
        if distance < self._nearest:
            self._nearest, self._near_since = distance, now
        elif now - self._near_since >= _BEHIND_S:
            raise TooFarBehind(f"{sentence}, and came no closer for {_BEHIND_S / 60:.0f} minutes")
