"""How much a batch takes on, and how long to pause after it: pure arithmetic over what batches took."""

from __future__ import annotations

from sessionctl.core.model import Pace

_SMOOTHING = 0.3
"""Weight of the latest batch in the cost of a row: one slow commit does not shrink the batches for long."""
_MOST_GROWTH = 2.0
_LONGEST_PAUSE_S = 1.0


class Pacer:
    """Sizes batches by rows, so that each holds its locks for about the time the store asks for.

    ``rows`` is how many rows the next batch may take (one session always fits), ``sessions`` how many
    sessions at most, ``pause_s`` how long to leave the store to others after a batch. Waiting for locks is
    strain: the pause doubles then, and goes back to the store's own by halves.
    """

    def __init__(self, pace: Pace, most_sessions: int | None = None) -> None:
        self._pace = pace
        self._cost_s: float | None = None
        self.rows = pace.first
        self.sessions = min(pace.largest, most_sessions or pace.largest)
        self.pause_s = pace.gap_s

    def took(self, rows: int, held_s: float, waited_s: float) -> None:
        """Learn from a batch of ``rows`` that held its locks for ``held_s`` after waiting ``waited_s`` for them."""
        cost = held_s / max(1, rows)
        self._cost_s = cost if self._cost_s is None else _SMOOTHING * cost + (1 - _SMOOTHING) * self._cost_s
        affordable = self._pace.hold_s / max(self._cost_s, 1e-9)
        self.rows = max(1, int(min(affordable, self.rows * _MOST_GROWTH)))
        if waited_s > self._pace.hold_s:
            self.pause_s = min(_LONGEST_PAUSE_S, max(2 * self.pause_s, self._pace.hold_s))
        else:
            self.pause_s = max(self._pace.gap_s, self.pause_s / 2)
