"""Plan, show, confirm, apply, report: the same order for every command that changes stores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sessionctl.cli.context import current
from sessionctl.cli.flows.signals import stopping
from sessionctl.cli.flows.stores_in_use import failed_json, finish, ledger_address, settings, visit
from sessionctl.cli.options.safeguarding import Consent, Safety
from sessionctl.cli.output import Form, Output
from sessionctl.cli.views.plan import show_plan, show_report
from sessionctl.cli.views.progress import progress_of
from sessionctl.config import Settings, state_dir
from sessionctl.core.address import StoreAddress, mask
from sessionctl.core.limits import Limits
from sessionctl.core.model import Guard
from sessionctl.core.plan import PlanHeader, Totals, refusals, share_refusal
from sessionctl.core.report import Report, Stopped, combined_json, exit_code
from sessionctl.core.selector import Selector
from sessionctl.core.units import count
from sessionctl.errors import GuardRefused, SessionctlError, UsageError
from sessionctl.ledger import Ledger, Run, new_run, private_directory
from sessionctl.operations.archiving import archiving_of
from sessionctl.operations.covering import Covering
from sessionctl.operations.dry_run import foresee, known_pace
from sessionctl.operations.execute import Terms, apply_plan
from sessionctl.operations.placing import settle_cut_off
from sessionctl.operations.spool import SpooledPlan
from sessionctl.operations.stop import Stop
from sessionctl.operations.visiting import Visit
from sessionctl.stores import open_store
from sessionctl.stores.base import Store

CoverOf = Callable[[Store, PlanHeader, Run, Ledger], Covering]


class Closing(Protocol):
    """What a command does once all stores were changed, in the same order: plan, show, confirm, apply, report."""

    def foresee(self, plans: Sequence[Planned]) -> None:
        """Find out what there will be to do. Nothing is done."""

    @property
    def question(self) -> str | None:
        """What is to be confirmed, None where there is nothing to do."""

    def show(self, *, to_stderr: bool = False) -> None: ...

    def carry_out(self, ledger: Ledger, reports: Sequence[Report]) -> None: ...

    def to_json(self) -> dict[str, Any]: ...

    @property
    def failed(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A change as the user asked for it; ``plan`` makes the plan for a store, spooled into ``spool_directory``.

    ``cover`` makes what must hold a session before it is removed; None: an archive, where there is to be one.
    ``closings`` are what is done after the changes of all stores, one after the other.
    """

    command: str
    plan: Callable[..., SpooledPlan]
    selector: Selector
    limits: Limits
    consent: Consent
    safety: Safety
    cover: CoverOf | None = None
    closings: tuple[Closing, ...] = ()

    @property
    def has_more_to_do(self) -> bool:
        """Is there something to be done though no session is to be changed?"""
        return any(closing.question for closing in self.closings)


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with the address it is for, the limits that the settings have for it, and where its archive goes."""

    address: StoreAddress
    plan: SpooledPlan
    limits: Limits
    archive: str | None

    @property
    def header(self) -> PlanHeader:
        return self.plan.header


def run_changes(job: Job, out: Output, names: Sequence[str] | None, *, all_stores: bool) -> int:
    """Carry out ``job`` on the stores named, and return the exit status."""
    began = time.monotonic()
    if not job.consent.dry_run and out.form in (Form.NAME, Form.JSONL):
        raise UsageError(f"--output {out.form} lists a plan: it goes with --dry-run")
    configured = settings()
    trip = visit(names, out, all_stores=all_stores)
    with ExitStack() as plans:
        planned = [
            Planned(
                address,
                plans.enter_context(plan),
                configured.limits_of(address.configured_as),
                None if job.cover else job.safety.archive_of(configured.archive_of(address.configured_as)),
            )
            for address, plan in trip.each(lambda s: _plan(job, s))
        ]
        refused = _refusals(job, planned)
        for closing in job.closings:
            closing.foresee(planned)
        if job.consent.dry_run:
            return _dry(job, out, trip, planned, refused, began)
        if refused:
            raise GuardRefused(refused[0], hint="--dry-run shows the plan")
        if not any(plan.header.planned.sessions for plan in planned) and not job.has_more_to_do:
            reports = [_nothing(plan.header) for plan in planned]
        else:
            reports = _confirmed(job, out, planned)
        status = _report(job, out, trip, reports, began)
        _remind(out, configured, planned)
        return status


def _remind(out: Output, known: Settings, plans: Sequence[Planned]) -> None:
    """Say where archives are past the time that the settings give them: nothing removes them by itself."""
    names = dict.fromkeys(plan.address.configured_as for plan in plans if plan.archive)
    for name in filter(known.archive_keep_of, names) if out.form.for_people else ():
        from sessionctl.cli.flows.pruning import remind

        remind(out, known, name)


def _plan(job: Job, store: Store) -> Iterator[tuple[StoreAddress, SpooledPlan]]:
    directory = None if job.consent.dry_run else private_directory(state_dir(current().env))
    yield store.address, job.plan(store, spool_directory=directory)


def _refusals(job: Job, plans: Sequence[Planned]) -> tuple[str, ...]:
    """What the guards say of each store, and the share guard of all together."""
    found = [sentence for plan in plans for sentence in refusals(plan.header, job.safety.allowed)]
    if len(plans) > 1 and not found:
        matched = sum(plan.header.share_basis for plan in plans)
        total = sum(plan.header.sessions_in_store for plan in plans)
        overall = share_refusal("all stores together", matched, total, job.safety.allowed.max_share)
        found += [overall] if overall else []
    return tuple(found)


def _dry(job: Job, out: Output, trip: Visit, plans: Sequence[Planned], refused: tuple[str, ...], began: float) -> int:
    """Show the plans. The forms for programs print the sessions (name, jsonl) or the report (json)."""
    elapsed = time.monotonic() - began
    reports: list[Report] = []
    for planned in plans:
        left = _left(job, planned, reports, 0)
        reports.append(_foreseen(planned, left, refused=refused, elapsed_s=elapsed))
    for sentence in refused:
        out.warn(f"a real run would refuse: {sentence}")
    if out.form.for_people:
        for plan, report in zip(plans, reports, strict=True):
            show_plan(out, plan.plan, report)
        for closing in job.closings:
            closing.show()
    elif out.form is Form.JSON:
        _write_json(job, out, trip, reports, began)
    else:
        _list(out, plans)
    finish(trip, out)
    if out.form.for_people:
        out.note("dry run: nothing was changed")
    dry = [report for report in reports if report.named_skipped]
    return 3 if trip.failures or dry else 0


def _list(out: Output, plans: Sequence[Planned]) -> None:
    """The planned sessions by name, or one record each."""
    for plan in plans:
        for step in plan.plan.steps():
            if out.form is Form.NAME:
                out.name(step.session_id)
            else:
                record = {"store": plan.header.store, "session_id": step.session_id}
                out.record(record | {"items": step.items, "bytes": step.bytes})


def _confirmed(job: Job, out: Output, plans: Sequence[Planned]) -> list[Report]:
    if not job.consent.yes:
        for plan in plans:
            show_plan(out, plan.plan, _foreseen(plan, job.limits.over(plan.limits)), to_stderr=True)
        for closing in job.closings:
            closing.show(to_stderr=True)
    where = plans[0].header.label if len(plans) == 1 else f"{len(plans)} stores"
    archives = {plan.archive for plan in plans}
    back = "This cannot be undone."
    if None not in archives:
        back = f"They go to {', '.join(sorted(filter(None, archives)))} first."
    elif plans[0].header.into:
        back = "Undo brings them back."
    questions = [f"{_question(plans)} {where}? {back}"] if any(p.header.planned.sessions for p in plans) else []
    questions += filter(None, (closing.question for closing in job.closings))
    if not out.confirm(" ".join(questions), yes=job.consent.yes):
        raise GuardRefused("not confirmed: nothing was changed")
    return _applied(job, out, plans)


def _question(plans: Sequence[Planned]) -> str:
    """What is to be confirmed, up to the place."""
    planned = sum((plan.header.planned for plan in plans), Totals())
    if any(plan.header.keeps_sessions for plan in plans):
        and_elide = f" and elide {planned.elided:,}" if planned.elided else ""
        condensing = next((plan.header.condensing for plan in plans if plan.header.condensing), None)
        if condensing:
            from_these = f"from {count(planned.sessions, 'session')}"
            return (
                f"Send {count(planned.items, 'item')} {from_these} to {condensing.where}, leave a {condensing.kind} in "
                f"their place{and_elide}, in"
            )
        return f"Remove {count(planned.items, 'item')}{and_elide} from {count(planned.sessions, 'session')} in"
    if into := plans[0].header.into:
        return f"Move {count(planned.sessions, 'session')} into {mask(into)}, out of"
    return f"Delete {planned.sessions} sessions from"


def _applied(job: Job, out: Output, plans: Sequence[Planned]) -> list[Report]:
    ledger = Ledger.open(ledger_address())
    reports: list[Report] = []
    began = time.monotonic()
    with stopping(out) as stop:
        for plan in plans:
            if stop:
                reports.append(_not_reached(plan.header, stop))
                continue
            left = _left(job, plan, reports, time.monotonic() - began)
            try:
                if not plan.header.planned.sessions:
                    reports.append(_nothing(plan.header))
                    continue
                reports.append(_apply(job, out, plan, left, ledger, stop))
            except SessionctlError as error:
                if len(plans) == 1:
                    raise
                reports.append(_failed(plan.header, error))
    for closing in job.closings:
        closing.carry_out(ledger, reports)
    return reports


def _left(job: Job, plan: Planned, reports: Sequence[Report], seconds: float) -> Limits:
    """What flags limit is the run's: what one store used up is not there for the next. Settings are each store's."""
    return job.limits.less(sum(report.removed.sessions for report in reports), seconds).over(plan.limits)


def _foreseen(plan: Planned, limits: Limits, **facts: Any) -> Report:
    pace = known_pace(Ledger.existing(ledger_address()), plan.address.recorded, plan.header.command)
    return foresee(plan.plan, limits=limits, pace=pace, **facts)


def _apply(job: Job, out: Output, planned: Planned, limits: Limits, ledger: Ledger, stop: Stop) -> Report:
    header = planned.header
    into = [f"into {mask(header.into)}"] if header.into else []
    run = new_run(
        header.command, planned.address.recorded, header.store_time, current().env,
        reason=job.consent.reason, criteria=(*header.criteria, *header.terms, *into), digest=header.digest,
    )  # fmt: skip
    named = frozenset(job.selector.named)
    terms = Terms(guard=Guard(min_idle=job.safety.min_idle, named=named), limits=limits, named=named, stop=stop)
    with open_store(planned.address) as store, ExitStack() as stack:
        if limits.max_replica_lag is not None and store.lag() is None:
            out.warn(f"{header.label} does not show how far its replicas are behind: --max-replica-lag has no effect")
        settle_cut_off(store, ledger)
        cover = None
        if job.cover:
            cover = stack.enter_context(job.cover(store, header, run, ledger))
        elif planned.archive:
            cover = stack.enter_context(archiving_of(store, planned.archive, header, run, ledger))
        if cover:
            run = replace(run, archive=cover.name)
        observe, condensation = stack.enter_context(progress_of(out, header.command)), None
        if header.condensing:
            from sessionctl.operations.condensing import condensation_of

            condensation = stack.enter_context(condensation_of(store, header.condensing, job.safety.min_idle))
            observe = condensation.watched(observe)
        return apply_plan(
            store, planned.plan, terms, ledger=ledger, run=run, cover=cover, condensation=condensation,
            observe=observe,
        )  # fmt: skip


def _report(job: Job, out: Output, trip: Visit, reports: Sequence[Report], began: float) -> int:
    if out.form.for_people:
        for report in reports:
            show_report(out, report)
        for closing in job.closings:
            closing.show()
    else:
        _write_json(job, out, trip, reports, began)
    finish(trip, out)
    status = exit_code(reports, len(trip.failures))
    return 3 if not status and any(closing.failed for closing in job.closings) else status


def _write_json(job: Job, out: Output, trip: Visit, reports: Sequence[Report], began: float) -> None:
    closed = {key: value for closing in job.closings for key, value in closing.to_json().items()}
    if not trip.several and len(reports) == 1:
        out.json(reports[0].to_json() | closed)
    else:
        elapsed = time.monotonic() - began
        out.json(combined_json(job.command, reports, failed_json(trip), elapsed, dry_run=job.consent.dry_run) | closed)


def _nothing(header: PlanHeader) -> Report:
    """Nothing selected is a success."""
    return _unapplied(header, Stopped.DONE, None)


def _not_reached(header: PlanHeader, stop: Stop) -> Report:
    return _unapplied(header, Stopped.SIGNAL, stop.signal)


def _failed(header: PlanHeader, error: SessionctlError) -> Report:
    """A store that went away behind its plan, or whose run cannot be recorded; the others go on."""
    return replace(_unapplied(header, Stopped.ERROR, None), error=(error.message, error.exit_code))


def _unapplied(header: PlanHeader, stopped: Stopped, signal: int | None) -> Report:
    return Report(
        command=header.command,
        store=header.store,
        label=header.label,
        dry_run=False,
        run_id=None,
        matched=header.matched,
        removed=Totals(),
        skipped=header.skipped,
        remaining=header.planned.sessions,
        stopped=stopped,
        elapsed_s=0.0,
        keeps_sessions=header.keeps_sessions,
        obstacles=header.obstacles,
        named_skipped=header.named_skipped,
        into=header.into,
        signal=signal,
    )
