"""A migration: look, show, confirm, make tables, copy, catch up, report."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sessionctl.cli.context import current
from sessionctl.cli.flows.signals import stopping
from sessionctl.cli.flows.stores_in_use import ledger_address, settings
from sessionctl.cli.options.copying import Manner
from sessionctl.cli.options.safeguarding import Consent
from sessionctl.cli.output import Output
from sessionctl.cli.views.migration import show_cut_over, show_outlook, to_json
from sessionctl.cli.views.progress import progress_of
from sessionctl.config import state_dir
from sessionctl.core.address import StoreAddress
from sessionctl.core.limits import Limits
from sessionctl.core.model import Guard, Outcome
from sessionctl.core.plan import Totals
from sessionctl.core.report import Report, Stopped
from sessionctl.errors import GuardRefused, SessionctlError, StoreMissing, StoreNotUnderstood
from sessionctl.ledger import Ledger, Pulse, Run, new_run, private_directory
from sessionctl.operations.execute import Terms, work_off
from sessionctl.operations.migration.copying import Copying, Processes
from sessionctl.operations.migration.cut_over import CutOver, Journey, carry_holds
from sessionctl.operations.migration.migrate import Migration
from sessionctl.operations.migration.outlook import Outlook, look, usable
from sessionctl.operations.migration.record import MigrationRecord, record_of
from sessionctl.operations.migration.routes import Route, routes
from sessionctl.operations.placing import settle_cut_off
from sessionctl.operations.progress import Progress
from sessionctl.operations.put_back import Case
from sessionctl.operations.spool import SpooledPlan
from sessionctl.operations.stop import Stop
from sessionctl.operations.workers import Workers
from sessionctl.stores import adapter, create_store, open_store
from sessionctl.stores.base import Store

_PROCESSES = 2
"""That copy, where the user does not say how many: with the server they keep two processors busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """A migration as the user asked for it."""

    source: str
    target: str
    manner: Manner
    limits: Limits
    consent: Consent


def migrate(errand: Errand, out: Output) -> int:
    """Carry it out, and return the exit status."""
    began = time.monotonic()
    known = settings()
    [source] = known.resolve([errand.source])
    target = known.to_be_made(errand.target, "DST")
    planned = routes(source, target, errand.manner.prefix)
    directory = state_dir(current().env)
    private_directory(directory)
    with ExitStack() as stack:
        processes = stack.enter_context(_processes(errand, source, target))
        ways, skipped = usable(planned)
        if not ways:
            raise StoreMissing(f"there is no SDK store in {source}")
        if skipped:
            out.note(f"{skipped} other files in the fleet are no SDK stores and were skipped")
        place = record_of(directory, source.recorded, target.recorded, errand.manner.prefix)
        record = stack.enter_context(MigrationRecord(place))
        there = _existing(target, create_tables=errand.manner.create_tables)
        if there is not None:
            stack.enter_context(there)
        outlook = look(ways, there, record)
        return _Work(errand, out, ways, record, directory, outlook, began, processes).through()


def _processes(errand: Errand, source: StoreAddress, target: StoreAddress) -> AbstractContextManager[Processes | None]:
    """So many as are to copy, before any store is open; none for one, which a thread does as well, or for a look."""
    count = errand.manner.jobs or (1 if target.scheme == "sqlite" else _PROCESSES)  # of which one at a time writes
    if errand.consent.dry_run or count == 1:
        return nullcontext()
    for scheme in {source.scheme, target.scheme}:
        with suppress(SessionctlError, ImportError):  # opening it tells better
            adapter(scheme)
    return Workers(Copying(), count)


def _existing(target: StoreAddress, *, create_tables: bool) -> Store | None:
    """The target, None where its tables are to be made."""
    try:
        return open_store(target)
    except (StoreMissing, StoreNotUnderstood) as error:
        is_makeable = isinstance(error, StoreNotUnderstood) or target.path is not None
        if create_tables and is_makeable:
            return None
        raise type(error)(error.message, hint="--create-tables makes them" if is_makeable else error.hint) from error


@dataclass(slots=True)
class _Work:
    """One migration, once all is known of it beforehand."""

    errand: Errand
    out: Output
    ways: list[Route]
    record: MigrationRecord
    directory: Path
    outlook: Outlook
    began: float
    processes: Processes | None
    done: CutOver = field(default_factory=CutOver)

    @property
    def target(self) -> StoreAddress:
        return self.ways[0].target

    def through(self) -> int:
        refused = self._refusal()
        if self.errand.consent.dry_run:
            if refused:
                self.out.warn(f"a real run would refuse: {refused}")
            return self._tell(Stopped.DONE, None)
        if refused:
            raise GuardRefused(refused, hint="--dry-run names them; --skip-misfits leaves them out")
        if not self.errand.consent.yes:
            show_outlook(self.out, self.outlook, self._title(), self.out.err)
        question = f"Copy {self.outlook.left:,} sessions into {self.target.label}?"
        if not self.out.confirm(question, yes=self.errand.consent.yes):
            raise GuardRefused("not confirmed: nothing was changed")
        return self._carry_out()

    def _refusal(self) -> str | None:
        found = self.outlook.misfits
        if not found or self.errand.manner.skip_misfits:
            return None
        first = found[0]
        return f"{len(found):,} sessions have no place in the target, such as {first.session_id!r}: {first.why}"

    def _carry_out(self) -> int:
        """Itself a run in the ledger."""
        ledger = Ledger.open(ledger_address())
        run = new_run(
            "migrate", self.target.recorded, datetime.now(UTC), current().env, reason=self.errand.consent.reason,
            criteria=tuple(f"from {route.source.recorded}" for route in self.ways[:10]),
        )  # fmt: skip
        ledger.begin(run)
        error = None
        with ExitStack() as stack:
            pulse, stop = stack.enter_context(ledger.alive(run.run_id)), stack.enter_context(stopping(self.out))
            try:
                self._copy_all(ledger, run, pulse, stop, stack)
            except SessionctlError as failure:
                error = failure
                if self.processes is not None:
                    self.processes.abandon()
        stopped = Stopped.ERROR if error else Stopped.SIGNAL if stop else self.done.stopped
        status = self._tell(stopped, run, error, stop.signal)
        ledger.finish(run.run_id, self.done.tally.counts(), stopped, error.message if error else None)
        return status

    def _copy_all(self, ledger: Ledger, run: Run, pulse: Pulse, stop: Stop, stack: ExitStack) -> None:
        if self.outlook.makes_tables:
            self._make_tables()
        with open_store(self.target) as target:
            settle_cut_off(target, ledger)
        observe = stack.enter_context(progress_of(self.out, "migrate"))
        progress = Progress(planned=self.outlook.matched)
        in_place = self.outlook.in_place

        def seen(copied: Totals) -> None:
            progress.attempted = copied + Totals(sessions=in_place)
            progress.removed = copied
            observe(progress)
            pulse.note(self.done.tally.counts)

        migration = Migration(
            routes=self.ways, record=self.record, limits=self.errand.limits, stop=stop, bare=self.record.is_bare,
            processes=self.processes, observe=seen,
            left_out=frozenset((misfit.source, misfit.session_id) for misfit in self.outlook.misfits),
            mean=self.outlook.matched.items // max(1, self.outlook.matched.sessions),
        )  # fmt: skip

        def delete(store: Store, plan: SpooledPlan) -> Report:
            terms = Terms(guard=Guard(min_idle=timedelta(0)), limits=Limits(), stop=Stop())
            return work_off(store, plan, terms, ledger=ledger, run=run, pulse=pulse)

        journey = Journey(migration=migration, target=self.target, directory=self.directory, delete=delete)
        journey.through(self.errand.manner.follow_up, self.done)
        if self.done.stopped is Stopped.DONE:
            carry_holds(self.ways)

    def _make_tables(self) -> None:
        """Bare, for a quick load; and what it owes them is known before they are there."""
        self.record.set_bare(True)
        create_store(self.target, bare=True).close()

    def _title(self) -> str:
        return f"migration of {self._source} into {self.target} (from {self.target.origin})"

    @property
    def _source(self) -> str:
        first = self.ways[0].source
        return str(first) if len(self.ways) == 1 else f"{len(self.ways)} stores such as {first}"

    def _tell(
        self, stopped: Stopped, run: Run | None, error: SessionctlError | None = None, signal: int | None = None
    ) -> int:
        report = self._report(stopped, run, error, signal)
        if not self.out.form.for_people:
            self.out.json(report.to_json() | to_json(self.outlook, self.done if run else None))
        elif run is None:
            show_outlook(self.out, self.outlook, self._title(), self.out.console)
            self.out.note("dry run: nothing was changed")
        else:
            show_cut_over(self.out, self.done, self._title(), self.outlook)
            self.out.line(f"  run         {run.run_id}")
            if error:
                self.out.line(f"  error       {error.message}")
        return report.exit_code

    def _report(self, stopped: Stopped, run: Run | None, error: SessionctlError | None, signal: int | None) -> Report:
        tally = self.done.tally
        unfit, refused = tally.by_case[Case.UNFIT].sessions, tally.by_case[Case.REFUSED].sessions
        skipped = dict.fromkeys(Outcome, 0) | {Outcome.CHANGED: refused + len(self.done.left), Outcome.FAILED: unfit}
        not_clean = (
            run is not None and stopped is Stopped.DONE and not self.done.is_clean and self.errand.manner.follow_up
        )
        return Report(
            command="migrate",
            store=str(self.target),
            label=self.target.label,
            dry_run=self.errand.consent.dry_run,
            run_id=run.run_id if run else None,
            matched=self.outlook.matched,
            removed=Totals(sessions=self.done.deleted),
            restored=tally.restored,
            skipped=skipped,
            remaining=0 if self.done.is_clean else max(0, self.outlook.left - tally.matched.sessions),
            stopped=stopped,
            elapsed_s=time.monotonic() - self.began,
            named_skipped=refused + unfit + len(self.done.left) + bool(not_clean) + len(self.outlook.misfits),
            error=(error.message, error.exit_code) if error else None,
            signal=signal,
        )
