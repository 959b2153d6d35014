"""A restore: look, show, confirm, take away what is replaced, put in, report."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sessionctl.cli.context import current
from sessionctl.cli.flows.signals import stopping
from sessionctl.cli.flows.stores_in_use import ledger_address, settings
from sessionctl.cli.options.safeguarding import Consent, Safety
from sessionctl.cli.output import Output
from sessionctl.cli.views.plan import show_plan, totals_text
from sessionctl.cli.views.progress import progress_of
from sessionctl.cli.views.tally import PLANNED, WORDS, show_tally
from sessionctl.config import state_dir
from sessionctl.core.address import StoreAddress, mask
from sessionctl.core.hold import Hold, HoldOrigin
from sessionctl.core.limits import Limits
from sessionctl.core.model import Conflict, Guard, Outcome
from sessionctl.core.plan import Allowances, Totals, refusals
from sessionctl.core.report import Report, Stopped
from sessionctl.core.selector import Selector
from sessionctl.core.units import count, exact_duration
from sessionctl.errors import GuardRefused, SessionctlError, UsageError
from sessionctl.ledger import Ledger, Pulse, Run, new_run, private_directory
from sessionctl.operations.archives import files
from sessionctl.operations.archiving import archiving_of
from sessionctl.operations.covering import Cover
from sessionctl.operations.dry_run import foresee
from sessionctl.operations.execute import Terms, work_off
from sessionctl.operations.holding import HOLD_FOR, hold_of_return
from sessionctl.operations.placing import settle_cut_off
from sessionctl.operations.purge import plan_purge
from sessionctl.operations.put_back import Case, Tally
from sessionctl.operations.restore import Foreseen, Source, foresee_restore, restore, source_of
from sessionctl.operations.spool import SpooledPlan
from sessionctl.operations.stop import Stop
from sessionctl.stores import open_store
from sessionctl.stores.base import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """A restore as the user asked for it; ``safety`` is for what is replaced."""

    archive: str
    selector: Selector
    store: str | None
    rename: str | None
    conflict: Conflict
    consent: Consent
    safety: Safety
    hold_for: timedelta | None


def restore_archive(errand: Errand, out: Output) -> int:
    """Carry it out, and return the exit status."""
    began = time.monotonic()
    address, limits, archive_to = _target(errand)
    found = files([errand.archive])
    with open_store(address) as store, ExitStack() as plans:
        source = source_of(found, errand.selector, store.now(), rename=errand.rename)
        foreseen = foresee_restore(store, source, errand.conflict)
        if errand.rename is not None and (selected := foreseen.tally.matched.sessions) != 1:
            raise UsageError(
                f"--as goes with exactly one session, and {selected} are selected",
                hint="name it by --id, of the archive of one run",
            )
        plan = None
        if errand.conflict is Conflict.REPLACE and foreseen.conflicts:
            plan = plans.enter_context(_plan(errand, store, foreseen.conflicts))
        expected = foreseen.after(step.session_id for step in plan.steps()) if plan else foreseen.tally
        return _Work(errand, out, store, source, foreseen, expected, plan, limits, archive_to, began).through()


def _target(errand: Errand) -> tuple[StoreAddress, Limits, str | None]:
    """The one store that is meant, what the settings limit there, and where what is replaced goes."""
    known = settings()
    [address, *more] = known.resolve([errand.store] if errand.store is not None else [])
    if more or address.is_fleet:
        raise UsageError(f"{address} is several stores: a restore goes into one", hint="name one file with --store")
    archive_to = errand.safety.archive_of(known.archive_of(address.configured_as))
    return address, known.limits_of(address.configured_as), archive_to


def _plan(errand: Errand, store: Store, conflicts: Iterable[str]) -> SpooledPlan:
    """The deletion of what is replaced: a plan like any other, but for the share guard (the user chose them)."""
    directory = None if errand.consent.dry_run else private_directory(state_dir(current().env))
    doomed = Selector(named=tuple(conflicts), named_given=True)
    named = errand.selector.named
    plan = plan_purge(store, doomed, min_idle=errand.safety.min_idle, named=named, spool_directory=directory)
    return replace(plan, header=replace(plan.header, command="restore"))


@dataclass(slots=True)
class _Work:
    """One restore, once all is known of it beforehand."""

    errand: Errand
    out: Output
    store: Store
    source: Source
    foreseen: Foreseen
    expected: Tally
    plan: SpooledPlan | None
    limits: Limits
    archive_to: str | None
    began: float
    done: Tally = field(default_factory=Tally)
    replaced: Report | None = None

    def through(self) -> int:
        if self.plan:
            self.replaced = foresee(self.plan, limits=self.limits)
        refused = self._refusals()
        if self.foreseen.several and self.errand.conflict is Conflict.SKIP:
            self.out.warn(f"{self._several()}: of each the first is put back, which is the oldest of a directory")
        if self.errand.consent.dry_run:
            return self._dry(refused)
        if refused:
            raise GuardRefused(refused[0], hint="--dry-run shows what would be done")
        replacing = self.plan.header.planned.sessions if self.plan else 0
        if not self.errand.consent.yes:
            self._show(self.expected, planned=True, to_stderr=True)
            if self.plan and self.replaced:
                show_plan(self.out, self.plan, self.replaced, to_stderr=True)
        if not self.expected.restored.sessions:
            return self._report(Stopped.DONE)
        if not self.out.confirm(self._question(replacing), yes=self.errand.consent.yes):
            raise GuardRefused("not confirmed: nothing was changed")
        return self._carry_out()

    def _refusals(self) -> list[str]:
        found = []
        if self.errand.conflict is Conflict.FAIL and self.foreseen.conflicts:
            some = ", ".join(list(self.foreseen.conflicts)[:3])
            found.append(f"{len(self.foreseen.conflicts)} sessions are there with other items, such as {some}")
        if self.plan is None and self.expected.restored.sessions and (frozen := self.store.info().frozen):
            found.append(f"{self.store.address.label} is not changed: {frozen}")
        if self.foreseen.several and self.errand.conflict is not Conflict.SKIP:
            found.append(f"{self._several()}: name the archive of one run")
        return found + list(refusals(self.plan.header, Allowances(max_share=1.0)) if self.plan else ())

    def _several(self) -> str:
        number, some = len(self.foreseen.several), ", ".join(list(self.foreseen.several)[:3])
        return f"archives of several runs have {count(number, 'session')} with different items, such as {some}"

    def _question(self, replacing: int) -> str:
        question = f"Put {self.expected.restored.sessions} sessions into {self.store.address.label}?"
        if not replacing:
            return question
        back = f"they go to {mask(self.archive_to)} first" if self.archive_to else "that cannot be undone"
        return f"{question} {replacing} that are there are deleted for it: {back}."

    def _dry(self, refused: list[str]) -> int:
        for sentence in refused:
            self.out.warn(f"a real run would refuse: {sentence}")
        if self.plan and self.replaced and self.out.form.for_people:
            show_plan(self.out, self.plan, self.replaced)
        return self._report(Stopped.DONE)

    def _carry_out(self) -> int:
        """Itself a run in the ledger: what is replaced is deleted first, then all is put in."""
        ledger = Ledger.open(ledger_address())
        run = new_run(
            "restore", self.store.address.recorded, datetime.now(UTC), current().env, reason=self.errand.consent.reason,
            criteria=(f"from {mask(self.errand.archive)}", *self.errand.selector.explain(self.store.now())),
        )  # fmt: skip
        settle_cut_off(self.store, ledger)
        lasts = HOLD_FOR if self.errand.hold_for is None else self.errand.hold_for
        hold = hold_of_return(self.store, run, HoldOrigin.RESTORE, lasts)
        error = None
        with ExitStack() as stack:
            cover = None
            if self.plan and self.archive_to:
                cover = stack.enter_context(archiving_of(self.store, self.archive_to, self.plan.header, run, ledger))
                run = replace(run, archive=cover.name)
            ledger.begin(run)
            pulse, stop = stack.enter_context(ledger.alive(run.run_id)), stack.enter_context(stopping(self.out))
            try:
                self._put_all(ledger, run, pulse, cover, hold, stop)
            except SessionctlError as failure:
                error = failure
        stopped = Stopped.ERROR if error else Stopped.SIGNAL if stop else Stopped.DONE
        report = self._report_of(self.done, stopped, run, error=error, signal=stop.signal)
        status = self._tell(report, self.done)
        if hold is not None and self.done.restored.sessions:
            self.out.note(f"what is back is held for {exact_duration(lasts)}: sessionctl hold release {hold.hold_id}")
        ledger.finish(run.run_id, self._counts(report), stopped, error.message if error else None)
        return status

    def _put_all(
        self, ledger: Ledger, run: Run, pulse: Pulse, cover: Cover | None, hold: Hold | None, stop: Stop
    ) -> None:
        put = partial(
            restore, self.store, conflict=self.errand.conflict, done=self.done, hold=hold,
            observe=lambda _: pulse.note(self.done.counts),
        )  # fmt: skip
        if self.plan is None:
            put(self.source, stop=stop, absent=self.foreseen.is_all_absent)
            return
        self.replaced = self._replace(self.plan, ledger, run, pulse, cover, stop)
        replaced, rest = self.source.split(self.foreseen.conflicts)
        # What was deleted for this comes back even where the run is to stop.
        put(replaced, stop=Stop())
        if self.replaced.error:
            raise SessionctlError(self.replaced.error[0])
        put(rest, stop=stop)

    def _replace(
        self, plan: SpooledPlan, ledger: Ledger, run: Run, pulse: Pulse, cover: Cover | None, stop: Stop
    ) -> Report:
        named = frozenset(self.errand.selector.named)  # those of the plan were named by nobody
        terms = Terms(
            guard=Guard(min_idle=self.errand.safety.min_idle, named=named), limits=self.limits, named=named, stop=stop
        )
        with progress_of(self.out, plan.header.command) as observe:
            return work_off(self.store, plan, terms, ledger=ledger, run=run, pulse=pulse, cover=cover, observe=observe)

    def _report(self, stopped: Stopped) -> int:
        """Where nothing was done."""
        return self._tell(self._report_of(self.expected, stopped, None), self.expected)

    def _report_of(
        self, tally: Tally, stopped: Stopped, run: Run | None,
        *, error: SessionctlError | None = None, signal: int | None = None,
    ) -> Report:  # fmt: skip
        refused, unfit = tally.by_case[Case.REFUSED].sessions, tally.by_case[Case.UNFIT].sessions
        skipped = {kind: self.replaced.skipped.get(kind, 0) if self.replaced else 0 for kind in _SPARED}
        skipped[Outcome.CHANGED] = max(0, refused - sum(skipped.values()))
        skipped |= {Outcome.FAILED: unfit, Outcome.MISSING: self._missing()}
        return Report(
            command="restore",
            store=str(self.store.address),
            label=self.store.address.label,
            dry_run=self.errand.consent.dry_run,
            run_id=run.run_id if run else None,
            matched=self.expected.matched,
            removed=self.replaced.removed if self.replaced else Totals(),
            restored=tally.restored,
            skipped=skipped,
            remaining=max(0, self.expected.matched.sessions - tally.matched.sessions),
            stopped=stopped,
            elapsed_s=time.monotonic() - self.began,
            archive=self.replaced.archive if self.replaced else None,
            named_skipped=refused + unfit,
            error=(error.message, error.exit_code) if error else None,
            signal=signal,
        )

    def _missing(self) -> int:
        """How many of the sessions named one by one the archive does not have."""
        return len(set(self.errand.selector.named)) - len(self.foreseen.found)

    def _tell(self, report: Report, tally: Tally) -> int:
        if self.out.form.for_people:
            self._show(tally, planned=report.dry_run)
            if report.removed.sessions:
                self.out.line(f"  replaced    {totals_text(report.removed)}")
            if report.archive and report.removed.sessions:
                self.out.line(f"              archived in {report.archive}")
            if report.skipped[Outcome.MISSING]:
                self.out.line(f"  missing     {report.skipped[Outcome.MISSING]:,} of the named sessions")
            if report.remaining:
                self.out.line(f"  remaining   {report.remaining:,} sessions: run it again to go on")
            if report.run_id:
                self.out.line(f"  run         {report.run_id}")
            if report.error:
                self.out.line(f"  error       {report.error[0]}")
            if report.dry_run:
                self.out.note("dry run: nothing was changed")
        else:
            self.out.json(report.to_json() | self._more(tally))
        return report.exit_code

    def _more(self, tally: Tally) -> dict[str, Any]:
        """What only a restore tells, for JSON."""
        already = tally.by_case[Case.ALREADY]
        return {
            "from": mask(self.errand.archive),
            "already": {"sessions": already.sessions, "items": already.items, "bytes": already.bytes},
            "left_out": {"items": tally.left_out},
            "refused": tally.refused,
        }

    def _counts(self, report: Report) -> dict[str, Any]:
        """For the ledger."""
        found = report.to_json() | self._more(self.done)
        return {name: found[name] for name in ("matched", "removed", "skipped", "restored", "already", "left_out")}

    def _show(self, tally: Tally, *, planned: bool, to_stderr: bool = False) -> None:
        console = self.out.err if to_stderr else self.out.console
        title = f"restore of {mask(self.errand.archive)} into {self.store.address}"
        self.out.line(f"{title} (from {self.store.address.origin})", console=console)
        show_tally(self.out, tally, console, _WHY, PLANNED if planned else WORDS)
        if tally.left_out:
            self.out.line(
                f"  left out    {tally.left_out:,} items of branches, which are not known there", console=console
            )


_SPARED = (Outcome.ACTIVE, Outcome.HELD)
_WHY = {
    Case.ALREADY: "they have all the items of the archive",
    Case.REFUSED: "they are there with other items, or active",
    Case.UNFIT: "the database cannot hold their ids or texts",
}
