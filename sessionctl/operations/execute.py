"""Apply a plan: the one place that changes stores.

Steps go in batches, each one transaction of the store in which every session is looked at again. Batches
adapt to how long they may hold locks. Trouble that may pass (locks of others, a lost connection) is borne
for a while with growing pauses and smaller batches; one session that alone keeps the store busy comes last,
and is given up then. The run stops between two batches: at a limit, at a signal, at an error. What was done
is counted from the store's own outcomes, and written to the ledger as it grows.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sessionctl.core.limits import LagLimit, Limits
from sessionctl.core.model import Guard, Outcome
from sessionctl.core.pacing import Pacer, Steady
from sessionctl.core.patience import Obstacles, Trouble
from sessionctl.core.plan import PlanHeader, Step
from sessionctl.core.report import Report, Stopped, counts_json
from sessionctl.errors import LedgerUnavailable, SessionctlError, StoreBusy
from sessionctl.ledger import Ledger, Pulse, Run
from sessionctl.operations.collecting import only_what_is_new
from sessionctl.operations.covering import Cover, Portion, Stage
from sessionctl.operations.lag import LagWatch, TooFarBehind
from sessionctl.operations.progress import Progress
from sessionctl.operations.spool import Revise, SpooledPlan
from sessionctl.operations.steps import Steps
from sessionctl.operations.stop import Stop
from sessionctl.stores.base import Store

if TYPE_CHECKING:
    from sessionctl.operations.condensing import Condensation

_LOOK_AGAIN_S = 0.5
"""While it waits for replicas."""
_ATTEMPTS = 4
"""At a session that keeps changing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for every batch of a run; ``named`` are the sessions the user named one by one."""

    guard: Guard
    limits: Limits = field(default_factory=Limits)
    named: frozenset[str] = frozenset()
    stop: Stop = field(default_factory=Stop)


def apply_plan(
    store: Store,
    plan: SpooledPlan,
    terms: Terms,
    *,
    ledger: Ledger,
    run: Run,
    cover: Cover | None = None,
    condensation: Condensation | None = None,
    observe: Callable[[Progress], None] = lambda _: None,
) -> Report:
    """Apply ``plan`` to ``store`` and report. An error of the store ends it and is in the report.

    The run is in the ledger before the first change; LedgerUnavailable before that means that nothing was
    changed. With ``condensation`` what is removed gives way to what a model makes of it, and a session that gets
    nothing is left alone. With a ``cover`` nothing is removed that it does not hold. A session that changed since
    the plan is left alone; where the plan can revise its step it is tried again, a few times. ``observe`` is called
    after every batch, and again and again while the run waits.
    """
    ledger.begin(run)
    with ledger.alive(run.run_id) as pulse:
        report = work_off(
            store, plan, terms, ledger=ledger, run=run, pulse=pulse, cover=cover, condensation=condensation,
            observe=observe,
        )  # fmt: skip
    return _recorded(report, ledger)


def work_off(
    store: Store, plan: SpooledPlan, terms: Terms, *, ledger: Ledger, run: Run, pulse: Pulse,
    cover: Cover | None = None, condensation: Condensation | None = None,
    observe: Callable[[Progress], None] = lambda _: None,
) -> Report:  # fmt: skip
    """As ``apply_plan``, as a part of a run that was begun, and that its caller ends."""
    progress = Progress(planned=plan.header.planned)
    progress.skipped.update(plan.header.skipped)
    progress.named_skipped = plan.header.named_skipped
    running = _Run(store, terms, progress, ledger, run, pulse, observe, plan.header, plan.revise)
    try:
        with only_what_is_new():
            ending = running.through(plan, cover, condensation)
    except SessionctlError as failure:
        ending = _Ending(Stopped.ERROR, failure.message, failure)
    try:
        store.settle()
    except SessionctlError as failure:
        if ending.error is None:  # else the first one is the one to tell
            ending = _Ending(Stopped.ERROR, failure.message, failure)
    times = progress.times(plan.header.select_s)
    return Report(
        command=plan.header.command,
        store=plan.header.store,
        label=plan.header.label,
        dry_run=False,
        run_id=run.run_id,
        matched=plan.header.matched,
        removed=progress.removed,
        skipped=dict(progress.skipped),
        remaining=plan.header.planned.sessions - progress.attempted.sessions,
        stopped=ending.stopped,
        why=ending.why,
        elapsed_s=progress.elapsed_s,
        keeps_sessions=plan.header.keeps_sessions,
        obstacles=plan.header.obstacles,
        times=replace(times, model=condensation.waited_s) if condensation else times,
        retries=progress.retries,
        named_skipped=progress.named_skipped,
        failed=progress.failed,
        archive=run.archive,
        consumed=condensation.consumed if condensation else None,
        into=plan.header.into,
        targets=dict(sorted(cover.targets.items())) if cover else {},
        error=(ending.error.message, ending.error.exit_code) if ending.error else None,
        signal=terms.stop.signal,
    )


def _recorded(report: Report, ledger: Ledger) -> Report:
    """The report, written to the ledger; where that fails now, the report is what is left, and says so."""
    try:
        counts = report.counts() | {"elapsed_s": round(report.elapsed_s, 3)}
        ledger.finish(report.run_id or "", counts, report.stopped, report.error[0] if report.error else report.why)
    except LedgerUnavailable as failure:
        sentence = f"the changes were made, but {failure.message}"
        return replace(report, stopped=Stopped.ERROR, why=sentence, error=(sentence, failure.exit_code))
    return report


def _rows_of(batch: Sequence[Step]) -> int:
    return sum([step.rows for step in batch])


@dataclass(frozen=True, slots=True)
class _Ending:
    """Why a run ends, in one word and in a sentence (None: there is nothing to explain)."""

    stopped: Stopped
    why: str | None = None
    error: SessionctlError | None = None


@dataclass(slots=True)
class _Run:
    """The loop over the batches of one plan."""

    store: Store
    terms: Terms
    progress: Progress
    ledger: Ledger
    run: Run
    pulse: Pulse
    observe: Callable[[Progress], None]
    header: PlanHeader
    revise: Revise | None
    trouble: Trouble = field(default_factory=Trouble)
    obstacles: Obstacles = field(default_factory=Obstacles)
    kept: list[str] = field(default_factory=list)
    """Of the portion under way: sessions that were not removed."""
    in_doubt: set[str] = field(default_factory=set)
    """Of the portion under way: sessions of which nobody knows yet whether they were removed."""
    changed: list[Step] = field(default_factory=list)
    """Those that are to be planned again."""
    cover: Cover | None = field(init=False, default=None)
    pacer: Pacer = field(init=False)
    steady: Steady = field(init=False)
    lag: LagWatch = field(init=False)

    def through(self, plan: SpooledPlan, cover: Cover | None, condensation: Condensation | None) -> _Ending:
        pace = self.store.capabilities.pace
        self.pacer = Pacer(pace.of_rewrites if self.header.keeps_sessions else pace, self.terms.limits.batch_size)
        self.steady = Steady(self.terms.limits.rate, time.monotonic())
        self.lag = LagWatch(self.store, self.terms.limits.max_replica_lag or LagLimit())
        self.cover = cover
        stages: list[Stage] = []
        if condensation:
            stages.append(lambda steps: condensation.portions(steps, bear=self._bear, room=self._room))
        if cover:
            stages.append(lambda steps: cover.portions(steps, self._bear))
        steps = plan.steps()
        for attempt in range(1, _ATTEMPTS + 1):
            if attempt == _ATTEMPTS:
                self.revise = None
            if ending := self._round(Portion(steps=steps), stages):
                return ending
            if not self.changed:
                break
            steps = iter(self._revised())
        return self._used_up() or _Ending(Stopped.DONE)

    def _round(self, portion: Portion, stages: Sequence[Stage]) -> _Ending | None:
        """All steps of the portion once, through the stages that are before them, or up to the end of the run."""
        for step, outcome, why in portion.lost:
            self._count([step], [outcome], why)
        if not stages:
            ending = self._portion(portion)
            if self.cover and self.in_doubt:
                self.cover.settle(self.store)
            return ending
        for made in stages[0](iter(portion.steps)):
            if made is not None:
                ending = self._round(made, stages[1:])
            elif not (ending := self._must_end()):  # the next one is in the making
                self.observe(self.progress)
                self._note()
            if ending:
                return ending
        return None

    def _count(self, steps: Sequence[Step], outcomes: Sequence[Outcome], why: str | None = None) -> None:
        """Count what became of them; what changed is put aside where it can be planned again."""
        if self.revise and Outcome.CHANGED in outcomes:
            known = list(zip(steps, outcomes, strict=True))
            self.changed += [step for step, outcome in known if outcome is Outcome.CHANGED]
            known = [(step, outcome) for step, outcome in known if outcome is not Outcome.CHANGED]
            steps, outcomes = [step for step, _ in known], [outcome for _, outcome in known]
        self.progress.count(steps, outcomes, self.terms.named, why)

    def _revised(self) -> list[Step]:
        """The steps for what changed, as it is now; what has none any more is counted."""
        steps = []
        while self.revise and self.changed:
            step = self.changed[-1]
            try:
                found = self.revise(self.store, step)
            except SessionctlError as error:
                self._bear(error)
                continue
            self.changed.pop()
            if isinstance(found, Step):
                steps.append(found)
            else:
                self.progress.count([step], [found], self.terms.named)
        return steps

    def _portion(self, portion: Portion) -> _Ending | None:
        """Apply all of it, or up to the end of the run. What became of it is on record afterwards."""
        steps = Steps(portion.steps)
        self.kept.clear()
        self.in_doubt.clear()
        try:
            ending = self._batches(steps)
        except SessionctlError:
            with suppress(LedgerUnavailable):  # the first error is the one to tell
                self._account(portion, steps)
            raise
        self._account(portion, steps)
        return ending

    def _batches(self, steps: Steps) -> _Ending | None:
        ending = None
        while ending is None and (batch := steps.take(self.pacer.rows, self._most())):
            ending = self._must_end()
            try:
                if ending:
                    steps.put_back(batch)
                else:
                    self._attempt(batch, steps)
            except TooFarBehind as reason:
                steps.put_back(batch)
                ending = _Ending(Stopped.LIMIT, str(reason))
            except SessionctlError:
                self.in_doubt.update(step.session_id for step in batch)
                raise
            self._note()
        return ending or self._used_up()

    def _account(self, portion: Portion, steps: Steps) -> None:
        """Record which of the archived sessions were not removed; those in doubt are for a look into the store."""
        if portion.segment is None:
            return
        kept = [*self.kept, *(step.session_id for step in steps.rest() if step.session_id not in self.in_doubt)]
        self.ledger.committed(self.run.run_id, portion.segment, kept, wholly=not self.in_doubt)

    def _used_up(self) -> _Ending | None:
        """--max-sessions, with more to do."""
        is_more = self.progress.attempted.sessions < self.progress.planned.sessions
        return _Ending(Stopped.LIMIT, "--max-sessions is reached") if is_more and self._room() == 0 else None

    def _room(self) -> int | None:
        """How many sessions may still be changed; None for any number."""
        most = self.terms.limits.max_sessions
        return None if most is None else most - self.progress.removed.sessions

    def _most(self) -> int:
        """Sessions of the next batch at most; none when --max-sessions (of sessions removed) is used up."""
        room = self._room()
        return self.pacer.sessions if room is None else min(self.pacer.sessions, room)

    def _must_end(self) -> _Ending | None:
        """A stop request or --max-runtime. Trouble that was being borne is said too."""
        if self.terms.stop:
            name = signal.Signals(self.terms.stop.signal or 0).name
            return _Ending(Stopped.SIGNAL, f"{name} came", self.trouble.error)
        most = self.terms.limits.max_runtime
        if most is not None and self.progress.elapsed_s >= most.total_seconds():
            return _Ending(Stopped.LIMIT, "--max-runtime is over", self.trouble.error)
        return None

    def _attempt(self, batch: list[Step], steps: Steps) -> None:
        """One batch and the pause after it; what must be tried again goes back to ``steps``."""
        started = time.monotonic()
        try:
            if behind := self.lag.behind():
                steps.put_back(batch)
                self._wait(_LOOK_AGAIN_S, behind)
                return
            self._apply(batch)
        except SessionctlError as error:
            self.progress.paused_s += time.monotonic() - started  # nothing came of it
            self.pacer.strained(_rows_of(batch))
            if isinstance(error, StoreBusy):
                self._find_obstacle(batch, error, steps)
                return
            self.in_doubt.update(step.session_id for step in batch)  # perhaps only the COMMIT's answer was lost
            steps.put_back(batch)
            self._bear(error)
            return
        self.trouble.passed()
        self.obstacles.passed([step.session_id for step in batch])
        self.observe(self.progress)
        self._wait(self._pause())

    def _find_obstacle(self, batch: list[Step], error: StoreBusy, steps: Steps) -> None:
        """Try these again in smaller batches; what fails alone comes last, and is given up in the end."""
        self.obstacles.failed([step.session_id for step in batch])
        if len(batch) > 1:
            steps.put_back(batch)
            if self.trouble.is_over:
                self.pacer.strained(1)  # no more time for halves
        elif self.obstacles.is_one(batch[0].session_id):
            self._count(batch, [Outcome.FAILED], error.message)
            self.kept += [step.session_id for step in batch if step.session_id not in self.in_doubt]
            return
        else:
            steps.put_last(batch[0])
        self._bear(error, long=len(batch) > 1 or self.obstacles.may_be_one)

    def _bear(self, error: SessionctlError, *, long: bool = False) -> None:
        """Wait until it is worth another attempt; raises ``error`` where it is not."""
        pause = self.trouble.bear(error, long=long)
        self.progress.retries += 1
        self._wait(pause, error.message)

    def _apply(self, batch: list[Step]) -> None:
        """One transaction; the pacer learns from what it took."""
        before, started = replace(self.store.spent), time.monotonic()
        outcomes = self.store.apply([step.change for step in batch], self.terms.guard)
        spent = self.store.spent.since(before)
        self._count(batch, outcomes)
        for step, outcome in zip(batch, outcomes, strict=True):
            if step.session_id in self.in_doubt and outcome in (Outcome.MISSING, Outcome.CHANGED):
                continue
            self.in_doubt.discard(step.session_id)
            if outcome is not Outcome.DONE:
                self.kept.append(step.session_id)
        self.progress.batch_s = time.monotonic() - started
        self.progress.spent += spent
        self.pacer.took(_rows_of(batch), spent)

    def _note(self) -> None:
        """How far the run is, in the ledger."""
        header, progress = self.header, self.progress
        self.pulse.note(
            lambda: counts_json(
                header.matched, progress.removed, progress.skipped, keeps_sessions=header.keeps_sessions
            )
        )

    def _pause(self) -> float:
        """Seconds to leave the store to others, longer where a rate asks for it."""
        return max(self.pacer.pause_s, self.steady.pause(self.progress.attempted.sessions, time.monotonic()))

    def _wait(self, pause_s: float, why: str | None = None) -> None:
        """Wait, ``why`` shown; a stop request ends it, and so does --max-runtime."""
        started, progress, most = time.monotonic(), self.progress, self.terms.limits.max_runtime
        if most is not None:
            pause_s = min(pause_s, most.total_seconds() - progress.elapsed_s)
        progress.pause_s, progress.waiting = pause_s, why
        if why:
            self.observe(progress)
        while not self.terms.stop and (left := started + pause_s - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
            self._note()
        progress.waiting = None
        progress.paused_s += time.monotonic() - started
