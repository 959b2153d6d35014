"""A vacuum of one or several stores: look, show, confirm, do, report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sessionctl.cli.context import current
from sessionctl.cli.flows.signals import stopping
from sessionctl.cli.flows.stores_in_use import failed_json, finish, ledger_address, settings, visit
from sessionctl.cli.options.safeguarding import Consent
from sessionctl.cli.output import Form, Output
from sessionctl.cli.views.vacuum import show_plan, show_report, telling
from sessionctl.core.limits import Limits
from sessionctl.core.report import Stopped, exit_code
from sessionctl.core.space import SpaceReport, Wish, together
from sessionctl.core.units import format_size
from sessionctl.errors import GuardRefused, SessionctlError, UsageError
from sessionctl.ledger import Ledger, Run, new_run
from sessionctl.operations.stop import Stop
from sessionctl.operations.vacuum import COMMAND, VacuumPlan, forecast, not_done, plan_vacuum, vacuum
from sessionctl.operations.visiting import Visit, members
from sessionctl.stores import finish_vacuum, open_store

FORMS = (Form.TABLE, Form.JSON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vacuuming:
    """A vacuum as the user asked for it."""

    wish: Wish
    limits: Limits
    consent: Consent
    out: Output

    def run(self, names: Sequence[str] | None, *, all_stores: bool) -> int:
        """Carry it out on the stores named, and return the exit status."""
        began = time.monotonic()
        if self.wish.via and not self.consent.dry_run:
            self._finish_what_was_cut_off(names, all_stores=all_stores)
        trip = visit(names, self.out, all_stores=all_stores)
        plans = list(trip.each(lambda store: iter([plan_vacuum(store, self.wish)])))
        if self.consent.dry_run:
            return self._dry(trip, plans, began)
        return self._report(trip, self._done(trip, plans))

    def _dry(self, trip: Visit, plans: Sequence[VacuumPlan], began: float) -> int:
        out = self.out
        for plan in plans:
            for sentence in plan.space.refused:
                out.warn(f"a real run would refuse {plan.address.label}: {sentence}")
        if out.form.for_people:
            for plan in plans:
                show_plan(out, plan)
        else:
            self._write_json(trip, [forecast(plan, time.monotonic() - began) for plan in plans])
        finish(trip, out)
        if out.form.for_people:
            out.note("dry run: nothing was changed")
        return 3 if trip.failures else 0

    def _done(self, trip: Visit, plans: Sequence[VacuumPlan]) -> list[SpaceReport]:
        refused = [plan for plan in plans if plan.is_refused]
        if refused and not trip.several:
            raise GuardRefused(refused[0].space.refused[0], hint="--dry-run shows what would be done")
        able = [plan for plan in plans if not plan.is_refused and plan.space.steps]
        if able:
            self._confirm(able)
        ledger = Ledger.open(ledger_address()) if able else None
        reports: list[SpaceReport] = []
        with stopping(self.out) as stop:
            for plan in plans:
                if plan.is_refused:
                    error = (plan.space.refused[0], GuardRefused.exit_code)
                    reports.append(not_done(plan, Stopped.ERROR, elapsed_s=0.0, error=error))
                elif stop:
                    reports.append(not_done(plan, Stopped.SIGNAL, elapsed_s=0.0, signal=stop.signal))
                elif ledger is None or not plan.space.steps:
                    reports.append(not_done(plan, Stopped.DONE, elapsed_s=0.0, why="there is nothing to do"))
                else:
                    reports.append(self._one(plan, ledger, stop))
        return reports

    def _confirm(self, plans: Sequence[VacuumPlan]) -> None:
        if not self.consent.yes:
            for plan in plans:
                show_plan(self.out, plan, to_stderr=True)
        where = plans[0].address.label if len(plans) == 1 else f"{len(plans)} stores"
        gain = format_size(sum(plan.space.gain for plan in plans))
        question = f"Vacuum {where}? It gives back about {gain}."
        if not self.out.confirm(question, yes=self.consent.yes):
            raise GuardRefused("not confirmed: nothing was changed")

    def _one(self, plan: VacuumPlan, ledger: Ledger, stop: Stop) -> SpaceReport:
        limits = self.limits.over(settings().limits_of(plan.address.configured_as))
        seconds = None if limits.max_runtime is None else limits.max_runtime.total_seconds()
        run = self._run(plan.address.recorded, tuple(f"{step.what} {step.table}".rstrip() for step in plan.space.steps))
        try:
            with open_store(plan.address) as store:
                return vacuum(
                    store, plan, ledger=ledger, run=run, stop=stop, max_runtime_s=seconds, observe=telling(self.out)
                )
        except SessionctlError as error:  # it went away behind its plan, or its run cannot be recorded
            return not_done(plan, Stopped.ERROR, elapsed_s=0.0, error=(error.message, error.exit_code))

    def _run(self, store: str, criteria: tuple[str, ...]) -> Run:
        return new_run(
            COMMAND, store, datetime.now(UTC), current().env, reason=self.consent.reason, criteria=criteria
        )  # fmt: skip

    def _report(self, trip: Visit, reports: Sequence[SpaceReport]) -> int:
        if self.out.form.for_people:
            for report in reports:
                show_report(self.out, report)
        else:
            self._write_json(trip, reports)
        finish(trip, self.out)
        return exit_code(reports, len(trip.failures))

    def _write_json(self, trip: Visit, reports: Sequence[SpaceReport]) -> None:
        if not trip.several and len(reports) == 1:
            self.out.json(reports[0].to_json())
        else:
            self.out.json(together(reports, failed_json(trip), dry_run=self.consent.dry_run))

    def _finish_what_was_cut_off(self, names: Sequence[str] | None, *, all_stores: bool) -> None:
        """A file that is half written over can be opened by nobody, so this comes before all else."""
        for address in settings().resolve(names or (), all_stores):
            for member in members(address):
                if finish_vacuum(member):
                    ledger = Ledger.open(ledger_address())
                    run = self._run(member.recorded, ("what was cut off while it was written over",))
                    ledger.begin(run)
                    ledger.finish(run.run_id, {}, Stopped.DONE)
                    self.out.note(f"{member.label} is whole again: what was cut off has been brought to its end")


def check(wish: Wish) -> None:
    """Raises UsageError for options that do not go together."""
    if wish.via and not wish.writes_anew:
        raise UsageError("--via is a way of writing everything anew: it goes with --full or --incremental")
    if wish.via and not wish.via.is_dir():
        raise UsageError(f"--via {wish.via}: there is no such directory")
    if wish.compress is not None and wish.incremental:
        raise UsageError("--incremental is for SQLite, which does not compress")
