"""Apply a plan: the one place that changes stores.

Steps go in batches, each one transaction of the store in which every session is looked at again. Batches
adapt to how long they may hold locks. The run stops between two batches: at a limit, at a signal, at an
error. What was done is counted from the store's own outcomes, and written to the ledger as it grows.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from sessionctl.core.model import Delete, Guard, Outcome
from sessionctl.core.pacing import Pacer
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


def _rows(step: Step) -> int:
    """The rows a session takes: its items and its own."""
    return step.items + 1


class _Steps:
    """The steps of a plan, handed out in batches."""

    def __init__(self, plan: Plan) -> None:
        self._left = plan.steps()
        self._next = next(self._left, None)

    def take(self, rows: int, sessions: int) -> list[Step]:
        """Sessions of ``rows`` rows together, at least one session if there is one, and ``sessions`` at most."""
        batch: list[Step] = []
        while self._next is not None and len(batch) < sessions and (not batch or rows >= _rows(self._next)):
            rows -= _rows(self._next)
            batch.append(self._next)
            self._next = next(self._left, None)
        return batch


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
        limits = self.terms.limits
        pacer, steps, noted = Pacer(self.store.capabilities.pace, limits.batch_size), _Steps(plan), self.began
        while batch := steps.take(pacer.rows, self._most(pacer)):
            if self.terms.stop:
                return Stopped.SIGNAL
            if limits.max_runtime is not None and self._elapsed() >= limits.max_runtime.total_seconds():
                return Stopped.LIMIT
            self._apply(batch, pacer)
            self.observe(self.progress)
            if time.monotonic() - noted >= _LEDGER_EVERY_S:
                self._note(plan)
                noted = time.monotonic()
            self._wait(pacer.pause_s)
        return Stopped.DONE if self.progress.attempted >= self.progress.planned.sessions else Stopped.LIMIT

    def _most(self, pacer: Pacer) -> int:
        """Sessions of the next batch at most; none when --max-sessions (of sessions removed) is used up."""
        most = self.terms.limits.max_sessions
        return pacer.sessions if most is None else min(pacer.sessions, most - self.progress.removed.sessions)

    def _apply(self, batch: list[Step], pacer: Pacer) -> None:
        """One transaction; the pacer learns from what it took."""
        before, started = replace(self.store.spent), time.monotonic()
        changes = [Delete(session_id=step.session_id, version=step.version) for step in batch]
        outcomes = self.store.apply(changes, self.terms.guard)
        self.progress.count(batch, outcomes, self.terms.named)
        self.progress.batch_s = time.monotonic() - started
        pacer.took(sum(map(_rows, batch)), self.store.spent.since(before))

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
