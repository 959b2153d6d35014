"""Vacuum: what a store could give back of its disk and at what price, and the steps taken in their order.

Short steps beside writers are paced as batches are. Long ones are single statements of the engine, which end, and
are taken back, where the run is to stop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from sessionctl.core.address import StoreAddress
from sessionctl.core.model import Usage
from sessionctl.core.pacing import Pacer
from sessionctl.core.patience import Trouble
from sessionctl.core.report import Stopped
from sessionctl.core.space import Part, Space, SpaceReport, Step, StepDone, Task, Wish, decide, foreseen
from sessionctl.errors import SessionctlError, StepEnded
from sessionctl.ledger import Ledger, Run
from sessionctl.operations.stop import Stop
from sessionctl.stores.base import Store

COMMAND = "vacuum"
_SHORT = frozenset({Task.SHRINK, Task.REWRITE, Task.STATISTICS})
"""Tried again where somebody else has a lock; the engine itself says how long it waits for those of other steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VacuumPlan:
    """What would be done in one store. ``space`` is decided."""

    address: StoreAddress
    wish: Wish
    space: Space

    @property
    def is_refused(self) -> bool:
        return bool(self.space.refused)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """How far a step is: octets ``left`` to be given back of those at its beginning, where that is known."""

    step: Step
    left: int | None = None


def plan_vacuum(store: Store, wish: Wish) -> VacuumPlan:
    """Look, and decide. Reads only. Raises Unsupported for stores without such a thing."""
    return VacuumPlan(address=store.address, wish=wish, space=decide(store.space(wish), wish))


def forecast(plan: VacuumPlan, elapsed_s: float) -> SpaceReport:
    """The report of a dry run."""
    return _report(plan, None, foreseen(plan.space), dry_run=True, elapsed_s=elapsed_s)


def not_done(plan: VacuumPlan, stopped: Stopped, **facts: Any) -> SpaceReport:
    """The report of a store in which nothing was done."""
    return _report(plan, None, plan.space.usage, stopped=stopped, **facts)


def vacuum(
    store: Store, plan: VacuumPlan, *, ledger: Ledger, run: Run, stop: Stop, max_runtime_s: float | None = None,
    observe: Callable[[Advance], None] = lambda _: None,
) -> SpaceReport:  # fmt: skip
    """Take the steps of ``plan`` and report; an error ends it and is in the report.

    The run is in the ledger before the first step. ``observe`` is called when a step begins and after every part.
    """
    work = _Work(store, plan, stop, max_runtime_s, observe)
    ledger.begin(run)
    error: SessionctlError | None = None
    with ledger.alive(run.run_id):
        try:
            work.through()
        except SessionctlError as failure:
            error = failure
        after = plan.space.usage
        with suppress(SessionctlError):  # where the error has not gone away
            after = store.usage()
    stopped = Stopped.ERROR if error else work.stopped
    report = _report(
        plan, run.run_id, after, stopped=stopped, why=work.why, done=tuple(work.done), elapsed_s=work.elapsed_s,
        error=(error.message, error.exit_code) if error else None, signal=stop.signal,
    )  # fmt: skip
    report = replace(report, space=replace(plan.space, notes=(*plan.space.notes, *work.notes)))
    ledger.finish(run.run_id, report.counts(), stopped, error.message if error else None)
    return report


def _report(
    plan: VacuumPlan, run_id: str | None, after: Usage, *, dry_run: bool = False,
    stopped: Stopped = Stopped.DONE, **facts: Any,
) -> SpaceReport:  # fmt: skip
    return SpaceReport(
        store=str(plan.address), label=plan.address.label, dry_run=dry_run, run_id=run_id, space=plan.space,
        after=after, stopped=stopped, **facts,
    )  # fmt: skip


class _Work:
    """The steps of one store, one after the other."""

    def __init__(
        self, store: Store, plan: VacuumPlan, stop: Stop, max_runtime_s: float | None,
        observe: Callable[[Advance], None],
    ) -> None:  # fmt: skip
        self._store, self._plan, self._stop, self._observe = store, plan, stop, observe
        self._began = time.monotonic()
        self._until = None if max_runtime_s is None else self._began + max_runtime_s
        self.done: list[StepDone] = []
        self.notes: list[str] = []
        self.why: str | None = None

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    @property
    def stopped(self) -> Stopped:
        if all(done.is_complete for done in self.done) and len(self.done) == len(self._plan.space.steps):
            return Stopped.DONE
        return Stopped.SIGNAL if self._stop else Stopped.LIMIT

    def through(self) -> None:
        for step in self._plan.space.steps:
            if self._enough():
                return
            began = time.monotonic()
            self._observe(Advance(step=step))
            complete = False
            try:
                complete = self._take(step)
            finally:
                self.done.append(StepDone(step=step, seconds=time.monotonic() - began, is_complete=complete))

    def _take(self, step: Step) -> bool:
        """To its end; False where the run was to stop before that."""
        pacer, trouble = Pacer(self._store.capabilities.pace), Trouble()
        while True:
            before = replace(self._store.spent)
            try:
                part = self._store.vacuum(step, self._plan.wish, self._enough)
            except StepEnded:
                return False
            except SessionctlError as error:
                if step.task not in _SHORT:
                    raise
                self._pause(trouble.bear(error))
                part = Part(more=True)
            else:
                trouble.passed()
                pacer.took(1, self._store.spent.since(before))
                self._observe(Advance(step=step, left=part.left))
            if part.note:
                self.notes.append(part.note)
            if not part.more:
                return True
            if self._enough():
                return False
            self._pause(max(pacer.pause_s, part.rest_s))

    def _enough(self) -> bool:
        if self._until is not None and time.monotonic() > self._until:
            self.why = "--max-runtime"
            return True
        return bool(self._stop)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._enough() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
