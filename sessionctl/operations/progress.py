"""How far a run is, for whoever watches it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sessionctl.core.model import Outcome, Spent
from sessionctl.core.plan import Step, Totals
from sessionctl.core.report import Times

_FAILED_NAMED = 100


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a run is; handed to the observer after every batch and while the run waits for something.

    ``batch_s`` is how long the latest batch took, ``pause_s`` the pause after it. ``waiting`` says what the
    run waits for at this moment, None while it works. ``spent`` is what the store says of the batches so
    far, ``paused_s`` the sum of all pauses and of batches that had to be tried again; both in seconds.
    ``failed`` are the first of the sessions that failed alone, each with the reason.
    """

    planned: Totals
    removed: Totals = field(default_factory=Totals)
    skipped: Counter[Outcome] = field(default_factory=Counter)
    named_skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    attempted: Totals = field(default_factory=Totals)
    batch_s: float = 0.0
    pause_s: float = 0.0
    waiting: str | None = None
    retries: int = 0
    spent: Spent = field(default_factory=Spent)
    paused_s: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def count(
        self, batch: Sequence[Step], outcomes: Sequence[Outcome], named: frozenset[str], why: str | None = None
    ) -> None:
        """Add what became of a batch, by the plan's values of the sessions whose version held; ``why`` any failed."""
        removed, others = [], []
        for step, outcome in zip(batch, outcomes, strict=True):
            if outcome is Outcome.DONE:
                removed.append(step)
            else:
                others.append(step)
                self.skipped[outcome] += 1
                self.named_skipped += step.session_id in named and outcome is not Outcome.MISSING
                if outcome is Outcome.FAILED and len(self.failed) < _FAILED_NAMED:
                    self.failed[step.session_id] = why or "the database refused"
        done = totals_of(removed)
        self.removed += done
        self.attempted += done + totals_of(others) if others else done

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began

    @property
    def share(self) -> float:
        """How much of the plan is behind, from 0 to 1: by rows, for sessions differ in size."""
        return min(1.0, _rows(self.attempted) / max(1, _rows(self.planned)))

    @property
    def left_s(self) -> float | None:
        """About how long the rest will take at the pace so far; None before there is one."""
        done = self.share
        return self.elapsed_s * (1 - done) / done if done else None

    def times(self, select_s: float) -> Times:
        """What the time went to, with ``select_s`` for the plan."""
        return Times(
            select=select_s,
            check=self.spent.check,
            delete=self.spent.delete + self.spent.tidy,
            wait=self.spent.wait + self.paused_s,
        )


def totals_of(steps: Sequence[Step]) -> Totals:
    """The plan's values of these steps together."""
    rewrites = [s for s in steps if s.rewrite is not None]
    return Totals(
        sessions=len(steps),
        items=sum([s.items for s in steps]),
        bytes=sum([s.bytes for s in steps]),
        elided=sum([s.elided for s in rewrites]),
        condensed=sum([s.condensed > 0 for s in rewrites]),
    )


def _rows(totals: Totals) -> int:
    """Items and the sessions' own rows."""
    return totals.items + totals.sessions
