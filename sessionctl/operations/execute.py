"""Apply a plan: the one place that changes stores.

Steps go in batches, each one transaction of the store in which every session is looked at again. Batches
adapt to how long they may hold locks. The run stops between two batches: at a limit, at a signal, at an
error. What was done is counted from the store's own outcomes, and written to the ledger as it grows.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice

from sessionctl.core.model import Delete, Guard, Outcome, Pace
from sessionctl.core.plan import Plan, Step, Totals
from sessionctl.core.report import Report, Stopped, counts_json
from sessionctl.errors import LedgerUnavailable, SessionctlError
from sessionctl.ledger import Ledger, Run
from sessionctl.stores.base import Store

_LEDGER_EVERY_S = 1.0


class Stop:
    """A request to stop after the current batch, made by a signal handler; truthy once made."""

    signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a run may do: sessions a batch, sessions a second, sessions in all, and for how long."""

    batch_size: int | None = None
    rate: float | None = None
    max_sessions: int | None = None
    max_runtime: timedelta | None = None

    def less(self, sessions: int, seconds: float) -> Limits:
        """What is left of them for the next store of a run."""
        return replace(
            self,
            max_sessions=None if self.max_sessions is None else max(0, self.max_sessions - sessions),
            max_runtime=None
            if self.max_runtime is None
            else max(timedelta(0), self.max_runtime - timedelta(seconds=seconds)),
        )


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a run is; handed to the observer after every batch."""

    planned: Totals
    removed: Totals = field(default_factory=Totals)
    skipped: Counter[Outcome] = field(default_factory=Counter)
    named_skipped: int = 0
    attempted: int = 0
    batch_s: float = 0.0

    def count(self, batch: Sequence[Step], outcomes: Sequence[Outcome], named: frozenset[str]) -> None:
        """Add what became of a batch, by the plan's values of the sessions whose version held."""
        self.attempted += len(batch)
        for step, outcome in zip(batch, outcomes, strict=True):
            if outcome is Outcome.DONE:
                self.removed = self.removed.plus(step.items, step.bytes)
            else:
                self.skipped[outcome] += 1
                self.named_skipped += step.session_id in named and outcome is not Outcome.MISSING


class _Batches:
    """Sizes batches so that each holds its locks for about the time the store asks for."""

    def __init__(self, pace: Pace, limits: Limits) -> None:
        self._pace = pace
        self._largest = min(pace.largest, limits.batch_size or pace.largest)
        self.size = min(pace.first, self._largest)

    def took(self, seconds: float) -> None:
        """Grow at most twofold towards the target, shrink as far as it takes."""
        factor = min(2.0, self._pace.hold_s / max(seconds, 1e-6))
        self.size = max(1, min(self._largest, int(self.size * factor)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for every batch of a run; ``named`` are the sessions the user named one by one."""

    guard: Guard
    limits: Limits = field(default_factory=Limits)
    named: frozenset[str] = frozenset()
    stop: Stop = field(default_factory=Stop)


def apply_plan(
    store: Store,
    plan: Plan,
    terms: Terms,
    *,
    ledger: Ledger,
    run: Run,
    observe: Callable[[Progress], None] = lambda _: None,
) -> Report:
    """Apply ``plan`` to ``store`` and report. An error of the store ends it and is in the report.

    The run is in the ledger before the first change; LedgerUnavailable before that means that nothing was
    changed. ``observe`` is called after every batch.
    """
    progress = Progress(planned=plan.header.planned)
    progress.skipped[Outcome.ACTIVE] = plan.header.active
    progress.skipped[Outcome.MISSING] = plan.header.missing
    progress.named_skipped = plan.header.named_active
    ledger.begin(run)
    error: SessionctlError | None = None
    began = time.monotonic()
    try:
        stopped = _Run(store, terms, progress, ledger, run, observe, began).through(plan)
    except SessionctlError as failure:
        stopped, error = Stopped.ERROR, failure
    report = Report(
        command=plan.header.command,
        store=plan.header.store,
        label=plan.header.label,
        dry_run=False,
        run_id=run.run_id,
        matched=plan.header.matched,
        removed=progress.removed,
        skipped=dict(progress.skipped),
        remaining=plan.header.planned.sessions - progress.attempted,
        stopped=stopped,
        elapsed_s=time.monotonic() - began,
        named_skipped=progress.named_skipped,
        error=(error.message, error.exit_code) if error else None,
        signal=terms.stop.signal,
    )
    return _recorded(report, ledger)


def _recorded(report: Report, ledger: Ledger) -> Report:
    """The report, written to the ledger; where that fails now, the report is what is left, and says so."""
    try:
        ledger.finish(report.run_id or "", report.counts(), report.stopped, report.error[0] if report.error else None)
    except LedgerUnavailable as failure:
        sentence = f"the changes were made, but {failure.message}"
        return replace(report, stopped=Stopped.ERROR, error=(sentence, failure.exit_code))
    return report


@dataclass(frozen=True, slots=True)
class _Run:
    """The loop over the batches of one plan."""

    store: Store
    terms: Terms
    progress: Progress
    ledger: Ledger
    run: Run
    observe: Callable[[Progress], None]
    began: float

    def through(self, plan: Plan) -> Stopped:
        pace, limits = self.store.capabilities.pace, self.terms.limits
        batches, steps, noted = _Batches(pace, limits), plan.steps(), self.began
        while batch := self._next(steps, batches.size):
            if self.terms.stop:
                return Stopped.SIGNAL
            if limits.max_runtime is not None and self._elapsed() >= limits.max_runtime.total_seconds():
                return Stopped.LIMIT
            batches.took(self._apply(batch))
            self.observe(self.progress)
            if time.monotonic() - noted >= _LEDGER_EVERY_S:
                self._note(plan)
                noted = time.monotonic()
            self._wait(pace.gap_s)
        return Stopped.DONE if self.progress.attempted >= self.progress.planned.sessions else Stopped.LIMIT

    def _next(self, steps: Iterator[Step], size: int) -> list[Step]:
        """The next batch; empty at the end of the plan or at --max-sessions (of sessions removed)."""
        if self.terms.limits.max_sessions is not None:
            size = min(size, self.terms.limits.max_sessions - self.progress.removed.sessions)
        return list(islice(steps, max(0, size)))

    def _apply(self, batch: list[Step]) -> float:
        """One transaction; returns its seconds."""
        started = time.monotonic()
        changes = [Delete(session_id=step.session_id, version=step.version) for step in batch]
        outcomes = self.store.apply(changes, self.terms.guard)
        seconds = time.monotonic() - started
        self.progress.count(batch, outcomes, self.terms.named)
        self.progress.batch_s = seconds
        return seconds

    def _note(self, plan: Plan) -> None:
        """How far the run is, in the ledger: what a run cut off after this leaves behind."""
        counts = counts_json(plan.header.matched, self.progress.removed, self.progress.skipped)
        self.ledger.progress(self.run.run_id, counts)

    def _wait(self, gap_s: float) -> None:
        """Leave the store to others for a moment, longer where a rate asks for it; a stop request ends it."""
        until, rate = time.monotonic() + gap_s, self.terms.limits.rate
        if rate is not None:
            until = max(until, self.began + self.progress.attempted / rate)
        while not self.terms.stop and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    def _elapsed(self) -> float:
        return time.monotonic() - self.began
