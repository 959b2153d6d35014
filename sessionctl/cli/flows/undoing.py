"""Undo of a run: look, show, confirm, put back, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from sessionctl.cli.context import current
from sessionctl.cli.flows.signals import stopping
from sessionctl.cli.flows.stores_in_use import Recorded, ledger_address, settings
from sessionctl.cli.options.safeguarding import Consent
from sessionctl.cli.output import Output
from sessionctl.cli.views.tally import PLANNED, WORDS, show_tally
from sessionctl.config import Settings
from sessionctl.core.address import StoreAddress, parse_address
from sessionctl.core.hold import HoldOrigin
from sessionctl.core.model import Outcome
from sessionctl.core.plan import Totals
from sessionctl.core.report import Report, Stopped
from sessionctl.core.units import exact_duration
from sessionctl.errors import ArchiveMissing, GuardRefused, SessionctlError, UsageError
from sessionctl.ledger import Ledger, Run, Segment, new_run
from sessionctl.operations.holding import HOLD_FOR, hold_of_return
from sessionctl.operations.placing import settle
from sessionctl.operations.put_back import Case, Tally
from sessionctl.operations.rotation.targets import AddressOf
from sessionctl.operations.stop import Stop
from sessionctl.operations.undo import check, foresee_undo, put_back
from sessionctl.operations.visiting import members
from sessionctl.stores import open_store
from sessionctl.stores.base import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """An undo as the user asked for it."""

    run_id: str
    store: str | None
    consent: Consent
    hold_for: timedelta | None


def undo_run(errand: Errand, out: Output) -> int:
    """Carry it out, and return the exit status."""
    began = time.monotonic()
    address = ledger_address()
    ledger = Ledger.existing(address)
    run = ledger.run(errand.run_id) if ledger else None
    if ledger is None or run is None:
        raise SessionctlError(f"there is no run {errand.run_id} in the ledger {address}", hint="sessionctl runs list")
    if not run.archive:
        raise UsageError(f"run {run.run_id} has no archive: what it removed cannot be put back")
    ledger.require_over(run)
    address_of = _targets(settings())
    with open_store(_address(errand, ledger, run)) as store:
        segments = ledger.segments(run.run_id)
        _check(ledger, run, segments, address_of)
        if not errand.consent.dry_run:
            ledger = Ledger.open(address)  # it can be written, or nothing is begun
            ledger.take_up(run.run_id)
            segments = settle(store, ledger, run, segments)
        foreseen = foresee_undo(store, run, segments, address_of)
        frozen = store.info().frozen if foreseen.restored.sessions else None
        refused = f"{store.address.label} is not changed: {frozen}"
        if errand.consent.dry_run:
            if frozen:
                out.warn(f"a real run would refuse: {refused}")
            return _report(errand, out, run, foreseen, Stopped.DONE, None, began)
        if not errand.consent.yes:
            _show(out, run, foreseen, planned=True, to_stderr=True)
        if not foreseen.restored.sessions:
            return _report(errand, out, run, foreseen, Stopped.DONE, None, began)
        if frozen:
            raise GuardRefused(refused)
        question = f"Put {foreseen.restored.sessions} sessions back into {store.address.label}?"
        if not out.confirm(question, yes=errand.consent.yes):
            raise GuardRefused("not confirmed: nothing was changed")
        putting = partial(put_back, address_of=address_of)
        return _undo(errand, out, store, ledger, run, foreseen, began, putting)


def _targets(known: Settings) -> AddressOf:
    """Finds the targets of a rotation; passwords come from the settings, which the ledger does not have."""
    recorded = Recorded(known)
    return lambda address: recorded.address(address) or parse_address(address)


def _check(ledger: Ledger, run: Run, segments: Sequence[Segment], address_of: AddressOf) -> None:
    """As ``check``; of an archive that was pruned it says by which run."""
    try:
        check(run, segments, address_of)
    except ArchiveMissing as error:
        by = next((other for other in ledger.runs() if any(_removed(run, c, error) for c in other.criteria)), None)
        if by is None:
            raise
        raise ArchiveMissing(
            f"the archive of run {run.run_id} was removed by run {by.run_id} ({by.command}): it cannot be undone"
        ) from error


def _removed(run: Run, criterion: str, error: ArchiveMissing) -> bool:
    """Does this tell of the removal of what is missing: the archive of the run, or a target of its rotation?"""
    if criterion == f"archive of run {run.run_id}":
        return True
    target = criterion.removeprefix("removes ")
    return target != criterion and error.message.startswith(f"{target},")


def _undo(
    errand: Errand, out: Output, store: Store, ledger: Ledger, run: Run, foreseen: Tally, began: float,
    putting: Callable[..., None],
) -> int:  # fmt: skip
    """Itself a run in the ledger; ``putting`` is ``put_back`` with what it needs."""
    mine = new_run(
        "undo", run.store, datetime.now(UTC), current().env, reason=errand.consent.reason,
        criteria=(f"what run {run.run_id} removed",), undoes=run.run_id,
    )  # fmt: skip
    lasts = HOLD_FOR if errand.hold_for is None else errand.hold_for
    hold = hold_of_return(store, mine, HoldOrigin.UNDO, lasts)
    ledger.begin(mine)
    done, error, stop = Tally(), None, Stop()
    try:
        segments = ledger.segments(run.run_id)  # another undo may have come to its end since they were looked at
        with stopping(out) as stop, ledger.alive(mine.run_id) as pulse:
            noting = partial(pulse.note, done.counts)
            putting(store, ledger, run, segments, done, stop=stop, hold=hold, observe=noting)
    except SessionctlError as failure:
        error = failure
    stopped = Stopped.ERROR if error else Stopped.SIGNAL if stop else Stopped.DONE
    left = max(0, foreseen.matched.sessions - done.matched.sessions) if stopped is not Stopped.DONE else 0
    status = _report(errand, out, run, done, stopped, mine.run_id, began, left=left, error=error, signal=stop.signal)
    if hold is not None and done.restored.sessions:
        out.note(f"what is back is held for {exact_duration(lasts)}: sessionctl hold release {hold.hold_id}")
    undone = {case.name.lower(): totals.sessions for case, totals in done.by_case.items()}
    ledger.finish(mine.run_id, done.counts() | {"undone": undone}, stopped, error.message if error else None)
    return status


def _address(errand: Errand, ledger: Ledger, run: Run) -> StoreAddress:
    """The store of the run: the ledger keeps no password, so its URL comes from the settings or the user."""
    known = settings()
    if errand.store is not None:
        meant = [member for address in known.resolve([errand.store]) for member in members(address)]
        address = next((found for found in meant if found.recorded == run.store), None)
    else:
        address = Recorded(known).address(run.store)
    if address is None:
        raise UsageError(
            f"run {run.run_id} was on {run.store}, and that is not the store meant here", hint="name it with --store"
        )
    if errand.store is None and ledger.may_mean_another(run, address):
        raise UsageError(
            f"run {run.run_id} was on {run.store} of {run.host}, which may be another store than the one here",
            hint=f"undo it on {run.host}, or name the store with --store if it is the same",
        )
    return address


def _report(
    errand: Errand, out: Output, run: Run, undone: Tally, stopped: Stopped, run_id: str | None, began: float,
    *, left: int = 0, error: SessionctlError | None = None, signal: int | None = None,
) -> int:  # fmt: skip
    refused = undone.by_case[Case.REFUSED].sessions + undone.by_case[Case.GONE].sessions
    report = Report(
        command="undo",
        store=run.store,
        label=run.store,
        dry_run=errand.consent.dry_run,
        run_id=run_id,
        matched=undone.matched,
        removed=Totals(),
        restored=undone.restored,
        skipped={
            Outcome.CHANGED: refused,
            Outcome.FAILED: undone.by_case[Case.UNFIT].sessions,
        },
        remaining=left,
        stopped=stopped,
        elapsed_s=time.monotonic() - began,
        archive=run.archive,
        named_skipped=refused,
        error=(error.message, error.exit_code) if error else None,
        signal=signal,
    )
    if out.form.for_people:
        _show(out, run, undone, planned=errand.consent.dry_run)
        if run_id:
            out.line(f"  run         {run_id}")
        if error:
            out.line(f"  error       {error.message}")
        if errand.consent.dry_run:
            out.note("dry run: nothing was changed")
    else:
        out.json(
            report.to_json()
            | {
                "undoes": run.run_id,
                "refused": undone.refused,
                "left_out": {"items": undone.left_out},
            }
        )
    return report.exit_code


_WHY = {
    Case.FRONT: "begun anew since; the items go before the new ones",
    Case.ALREADY: "they were not away, or are back",
    Case.REFUSED: "other items are in their place",
    Case.GONE: "the sessions that they were taken from are gone, or were begun anew",
    Case.UNFIT: "the database refused them",
    Case.KEPT: "archived, but not removed by the run, or back by an earlier undo",
}


def _show(out: Output, run: Run, undone: Tally, *, planned: bool, to_stderr: bool = False) -> None:
    console = out.err if to_stderr else out.console
    out.line(f"undo of {run.command} {run.run_id} in {run.store}", console=console)
    out.line(f"  archive     {run.archive}", console=console)
    show_tally(out, undone, console, _WHY, PLANNED if planned else WORDS)
    if undone.left_out:
        out.line(f"  left alone  {undone.left_out:,} items whose text was replaced again since", console=console)
