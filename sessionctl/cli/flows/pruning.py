"""Removal of old archives for the command line: which, whether they may go, and the record of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby

from sessionctl.archive.places import place
from sessionctl.cli.context import current
from sessionctl.cli.flows.stores_in_use import Recorded, ledger_address, settings
from sessionctl.cli.options.safeguarding import Consent
from sessionctl.cli.output import Column, Form, Output, Record
from sessionctl.config import Settings
from sessionctl.core.address import StoreAddress, mask
from sessionctl.core.report import Stopped
from sessionctl.core.units import count, exact_duration, format_size, format_time
from sessionctl.errors import GuardRefused, SessionctlError, UsageError
from sessionctl.ledger import Ledger, new_run
from sessionctl.operations.pruning import OldRun, Pruning, Rules, Watch, past_keep, plan_pruning, prune
from sessionctl.operations.visiting import members

_FAILED = 1
_TOLD = 20


@dataclass(slots=True, kw_only=True)
class Pruned:
    """What was removed, what could not be, and the runs in the ledger that say so."""

    removed: list[OldRun] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)


class Pruner:
    """One ``archive prune``."""

    def __init__(self, out: Output, consent: Consent, older_than: timedelta | None, allow_unknown: bool) -> None:
        self._out, self._consent = out, consent
        self._older_than, self._allow_unknown = older_than, allow_unknown

    def run(self, directories: Sequence[str], names: Sequence[str] | None, *, all_stores: bool) -> int:
        """Plan, show, confirm, remove, report; the exit status."""
        known, out, consent = settings(), self._out, self._consent
        stores = known.resolve(names or (), all_stores) if names or all_stores or not directories else ()
        addresses = list(dict.fromkeys(directories or self._configured(known, stores)))
        recorded = Recorded(known, stores)
        only = frozenset(member.recorded for address in stores for member in members(address)) if stores else None
        rules = Rules(keep=lambda store: self._keep(known, recorded.configured_as(store)), only=only)
        ledger = ledger_address()
        with Watch(recorded.address, Ledger.existing(ledger), allow_unknown=self._allow_unknown) as watch:
            plan = plan_pruning(addresses, rules, watch, datetime.now(UTC))
            self._warn(plan)
            if out.form.for_people or not (consent.dry_run or consent.yes):
                self._show(plan, addresses)
            done = Pruned(removed=list(plan.old)) if consent.dry_run else Pruned()
            if plan.old and not consent.dry_run:
                question = f"Remove {count(len(plan.old), 'archive')}? Their runs can no longer be undone."
                if not out.confirm(question, yes=consent.yes):
                    raise GuardRefused("not confirmed: nothing was removed")
                self._remove(plan, watch, Ledger.open(ledger), done)
        return self._report(plan, addresses, done)

    def _configured(self, known: Settings, stores: Sequence[StoreAddress]) -> list[str]:
        """Where the stores' archives lie by the settings; where nothing was archived yet there is nothing old."""
        found = [(address, known.archive_of(address.configured_as)) for address in stores]
        without = next((address for address, archive in found if archive is None), None)
        if without is not None and len(stores) == 1:
            raise UsageError(f"{without.label} has no archive in the settings", hint="name the directory")
        return [archive for _, archive in found if archive is not None and place(archive).is_directory()]

    def _keep(self, known: Settings, name: str | None) -> timedelta | None:
        return self._older_than if self._older_than is not None else known.archive_keep_of(name)

    def _remove(self, plan: Pruning, watch: Watch, ledger: Ledger, done: Pruned) -> None:
        """One run in the ledger a store. What cannot be removed does not keep the others."""

        def store_of(run: OldRun) -> str:
            return run.header.store

        for store, archives in groupby(sorted(plan.old, key=store_of), store_of):
            of_store = list(archives)
            age = "archive_keep" if self._older_than is None else exact_duration(self._older_than)
            criteria = (f"archives older than {age}", *(f"archive of run {old.header.run_id}" for old in of_store))
            reason = self._consent.reason
            run = new_run("archive prune", store, datetime.now(UTC), current().env, reason=reason, criteria=criteria)
            ledger.begin(run)
            done.run_ids.append(run.run_id)
            removed, error = [], None
            with ledger.alive(run.run_id):
                for old in of_store:
                    try:
                        prune(old, watch)
                        removed.append(old)
                    except SessionctlError as failure:
                        error = failure.message
                        done.failures.append(error)
                        self._out.warn(f"not removed: {error}")
            done.removed += removed
            counts = {
                "archives": len(removed),
                "sessions": sum(old.sessions for old in removed),
                "bytes": _size(removed),
            }
            ledger.finish(run.run_id, {"pruned": counts}, Stopped.ERROR if error else Stopped.DONE, error)

    def _warn(self, plan: Pruning) -> None:
        reasons = list(dict.fromkeys(why for _, why in plan.left))
        for why in reasons[:_TOLD]:
            self._out.warn(f"left alone: {why}")
        if len(reasons) > _TOLD:
            self._out.warn(f"left alone: {len(reasons) - _TOLD} more, all of which -o json tells")

    def _show(self, plan: Pruning, addresses: Sequence[str]) -> None:
        out = self._out
        console = out.console if self._consent.dry_run or self._consent.yes else out.err
        out.line(f"Plan: archive prune in {_shown(addresses)}", console=console)
        out.line(f"  removes     {count(len(plan.old), 'archive')}, {format_size(_size(plan.old))}", console=console)
        out.line(f"  keeps       {count(plan.young, 'younger archive')}", console=console)
        if plan.old:
            out.line(console=console)
            out.table(_COLUMNS, map(_record, plan.old), console=console)

    def _report(self, plan: Pruning, addresses: Sequence[str], done: Pruned) -> int:
        if self._out.form is Form.JSON:
            self._out.json(self._json(plan, addresses, done))
        elif self._consent.dry_run:
            self._out.note("dry run: nothing was removed")
        else:
            removed = f"removed {count(len(done.removed), 'archive')}, {format_size(_size(done.removed))}"
            self._out.line(f"archive prune in {_shown(addresses)}: {removed}")
        return _FAILED if done.failures else 0

    def _json(self, plan: Pruning, addresses: Sequence[str], done: Pruned) -> Record:
        return {
            "command": "archive prune",
            "directory": mask(addresses[0]) if len(addresses) == 1 else None,
            "directories": [mask(address) for address in addresses],
            "dry_run": self._consent.dry_run,
            "run_ids": done.run_ids,
            "removed": [_record(run) for run in done.removed],
            "kept": plan.young,
            "left_alone": [{"directory": str(at), "why": why} for at, why in plan.left],
            "failed": done.failures,
        }


def remind(out: Output, known: Settings, name: str | None) -> None:
    """Say how many archives of the store of this name are past their time; nothing where that cannot be told."""
    keep, address = known.archive_keep_of(name), known.archive_of(name)
    if keep is None or address is None:
        return
    with suppress(SessionctlError):
        if old := past_keep(address, keep, datetime.now(UTC)):
            what, age = count(old, "archive"), exact_duration(keep)
            out.note(f"past archive_keep of {age}: {what} in {mask(address)}: sessionctl archive prune --store {name}")


def _shown(addresses: Sequence[str]) -> str:
    return ", ".join(map(mask, addresses))


def _size(runs: Iterable[OldRun]) -> int:
    return sum(run.size for run in runs)


def _record(run: OldRun) -> Record:
    return {
        "archive": str(run.directory),
        "run_id": run.header.run_id,
        "created_at": format_time(run.header.created_at),
        "command": run.header.command,
        "store": run.header.store,
        "sessions": run.sessions,
        "files": len(run.files),
        "size": run.size,
    }


def _minute(record: Record) -> str:
    return str(record["created_at"])[:16].replace("T", " ") + "Z"


def _human_size(record: Record) -> str:
    return format_size(record["size"])


_COLUMNS = (
    Column(key="archive", header="ARCHIVE", style="bold", fold=True),
    Column(key="created_at", header="CREATED", show=_minute),
    Column(key="sessions", header="SESSIONS", justify="right"),
    Column(key="size", header="SIZE", justify="right", show=_human_size),
    Column(key="store", header="FROM", fold=True),
)
