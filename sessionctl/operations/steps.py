"""The order in which the sessions of a plan are worked off."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from sessionctl.core.plan import Step


class Steps:
    """The steps of a portion, handed out in batches."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self._left = iter(steps)
        self._ahead: deque[Step] = deque()
        self._last: deque[Step] = deque()

    def take(self, rows: int, sessions: int) -> list[Step]:
        """Sessions of ``rows`` rows together, at least one session if there is one, and ``sessions`` at most.

        What was put last comes when there is nothing else, one by one.
        """
        batch: list[Step] = []
        while len(batch) < sessions and (step := self._ahead.popleft() if self._ahead else next(self._left, None)):
            rows -= step.rows
            if batch and rows < 0:
                self._ahead.appendleft(step)
                break
            batch.append(step)
        if not batch and self._last and sessions > 0:
            batch.append(self._last.popleft())
        return batch

    def put_back(self, batch: list[Step]) -> None:
        """The next ones to be taken are these again."""
        self._ahead.extendleft(reversed(batch))

    def put_last(self, step: Step) -> None:
        """This one is to be taken after all others, alone."""
        self._last.append(step)

    def rest(self) -> list[Step]:
        """All that was not taken."""
        return [*self._ahead, *self._left, *self._last]
