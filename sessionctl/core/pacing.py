"""How much a batch takes on, and how long to pause after it: pure arithmetic over what batches took."""

from __future__ import annotations

from sessionctl.core.model import Pace, Spent

_SMOOTHING = 0.3
"""Weight of the latest batch in the cost of a row: one slow commit does not shrink the batches for long."""
_MOST_GROWTH = 2.0
_LONGEST_PAUSE_S = 1.0
_STRAIN_S = 0.025
"""A wait for locks below this is only somebody's commit."""
_ALONE_AFTER = 3
"""Batches without meeting another writer, after which there is none to be considerate of."""
_REST_EVERY_S = 2.0
"""Seconds after which a store that asks for rests gets one."""


class Pacer:
    """Sizes batches by rows, so that each holds its locks for about the time the store asks for.

    ``rows`` is how many rows the next batch may take (one session always fits), ``sessions`` how many
    sessions at most, ``pause_s`` how long to leave the store to others after a batch: longer after one that
    held longer than it should have, in proportion, and less by what it did with its locks given back. Waiting
    for locks is strain: the pause doubles then, and goes back to the store's own by halves. Where nobody else
    writes, batches hold as long as pays and follow each other at once, rests apart; the first sign of a
    writer ends that.
    """

    def __init__(self, pace: Pace, most_sessions: int | None = None) -> None:
        self._pace = pace
        self._cost_s: float | None = None
        self._unmet = 0
        self._strained_s = 0.0
        self._without_rest_s = 0.0
        self.rows = pace.first
        self.sessions = min(pace.largest, most_sessions or pace.largest)
        self.pause_s = pace.gap_s

    def strained(self, rows: int) -> None:
        """A batch of ``rows`` did not go through: the next one is half as large, and the pauses are longer."""
        self.rows = max(1, min(self.rows, rows) // 2)
        self._unmet = 0
        self._strain()
        self.pause_s = max(self._pace.gap_s, self._strained_s)

    def took(self, rows: int, spent: Spent) -> None:
        """Learn from a batch of ``rows``: ``spent`` is what this batch alone took."""
        cost = spent.held / max(1, rows)
        self._cost_s = cost if self._cost_s is None else _SMOOTHING * cost + (1 - _SMOOTHING) * self._cost_s
        self._unmet = 0 if spent.met or spent.wait > self._pace.hold_s else self._unmet + 1
        alone = self._pace.alone_hold_s is not None and self._unmet >= _ALONE_AFTER
        hold_s = self._pace.alone_hold_s if alone and self._pace.alone_hold_s else self._pace.hold_s
        most = self.rows * _MOST_GROWTH
        self.rows = max(1, int(min(max(hold_s / max(self._cost_s, 1e-9), self._pace.least), most)))
        self.pause_s = self._pause(spent, hold_s, alone=alone)

    def _strain(self) -> None:
        pace = self._pace
        self._strained_s = min(_LONGEST_PAUSE_S, max(2 * self._strained_s, 2 * pace.gap_s, pace.hold_s))

    def _pause(self, spent: Spent, hold_s: float, *, alone: bool) -> float:
        pace, overrun = self._pace, max(1.0, spent.held / hold_s)
        if spent.wait > max(pace.hold_s, _STRAIN_S):
            self._strain()
        else:
            self._strained_s /= 2
        pause_s = max(0.0 if alone else pace.gap_s * overrun - spent.tidy, self._strained_s)
        self._without_rest_s += spent.wait + spent.held + pause_s
        if self._without_rest_s >= _REST_EVERY_S:
            pause_s = max(pause_s, pace.rest_s)
        if pause_s >= pace.rest_s:
            self._without_rest_s = 0.0
        return min(_LONGEST_PAUSE_S, pause_s)


_CATCH_UP_S = 1.0


class Steady:
    """Keeps to a rate of so many a second (None: to none), from ``since`` on; times are of one monotonic clock.

    What a stall held up is made up for by no more than a second's worth: a store that was in trouble gets no burst.
    """

    def __init__(self, rate: float | None, since: float) -> None:
        self._rate, self._due, self._done = rate, since, 0

    def pause(self, done: int, now: float) -> float:
        """Seconds to wait ``now``, when so many are done in all."""
        if self._rate is None:
            return 0.0
        self._due = max(self._due, now - _CATCH_UP_S) + (done - self._done) / self._rate
        self._done = done
        return max(0.0, self._due - now)
