"""The passes of a migration up to one that finds nothing new, and what they came to together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from sessionctl.core.address import StoreAddress
from sessionctl.core.hold import Hold, HoldKind
from sessionctl.core.plan import SHARE_GUARD_FROM
from sessionctl.core.report import Report, Stopped
from sessionctl.errors import SessionctlError
from sessionctl.operations.migration.migrate import Migration, PassTally
from sessionctl.operations.migration.record import Entry
from sessionctl.operations.migration.replacing import absent, plan_replacing
from sessionctl.operations.migration.routes import Route
from sessionctl.operations.put_back import Case, Tally
from sessionctl.operations.spool import SpooledPlan
from sessionctl.stores import complete_store, open_store
from sessionctl.stores.base import Store

_MOST = 0.5

Delete = Callable[[Store, SpooledPlan], Report]
"""Applies a plan to the target, as a part of the run."""


@dataclass(slots=True)
class CutOver:
    """What all passes came to. ``is_clean``: the last one found everything in place, as it is in the sources.

    ``replaced`` and ``deleted`` are sessions that had changed or gone in their source; ``left`` those that were
    to be, and that somebody had touched in the target, or holds there; ``in_place`` is the last pass's.
    """

    tally: Tally = field(default_factory=Tally)
    passes: int = 0
    in_place: int = 0
    is_clean: bool = False
    replaced: int = 0
    deleted: int = 0
    left: list[str] = field(default_factory=list)
    stopped: Stopped = Stopped.DONE

    def add(self, found: PassTally) -> None:
        """One more pass."""
        self.passes += 1
        self.in_place = found.in_place
        self.stopped = found.stopped
        self._merge(found.tally)
        refused = any(found.tally.by_case[case].sessions for case in (Case.REFUSED, Case.UNFIT))
        self.is_clean = found.is_clean and not self.left and not refused

    def _merge(self, more: Tally) -> None:
        by_case = {case: totals + more.by_case[case] for case, totals in self.tally.by_case.items()}
        # What was refused once is looked at again in every pass.
        by_case |= {case: more.by_case[case] for case in (Case.REFUSED, Case.UNFIT)}
        self.tally = replace(self.tally, by_case=by_case, refused=more.refused)

    def replaced_by(self, report: Report, again: PassTally) -> None:
        """Sessions were deleted, and those of them put anew that are in their source still."""
        done = again.tally.restored.sessions
        self.replaced += done
        self.deleted += report.removed.sessions - done


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """A migration and what it takes to bring it to its end. ``directory`` is for plans, ``delete`` applies them."""

    migration: Migration
    target: StoreAddress
    directory: Path
    delete: Delete

    def through(self, follow_up: int, done: CutOver) -> None:
        """One pass, and up to ``follow_up`` more until one is clean; all that is done is in ``done`` at any time."""
        for _ in range(1 + follow_up):
            found = self.migration.one_pass()
            done.left = []
            gone = self._believed(found.gone, done)
            if self.migration.bare and found.stopped is Stopped.DONE:
                self._complete()
            if found.stopped is Stopped.DONE:
                self._replace(found.stale, gone, done)
            done.add(found)
            if found.is_clean or found.stopped is not Stopped.DONE:
                return

    def _believed(self, gone: list[Entry], done: CutOver) -> list[Entry]:
        """Those that went from their source; where that is most of them, it is rather the source that is wrong."""
        if len(gone) >= SHARE_GUARD_FROM and len(gone) > _MOST * sum(1 for _ in self.migration.record.entries()):
            done.left += [entry.id for entry in gone]
            return []
        return gone

    def _complete(self) -> None:
        complete_store(self.target).close()
        self.migration.record.set_bare(False)
        self.migration.bare = False

    def _replace(self, stale: Sequence[Entry], gone: Sequence[Entry], done: CutOver) -> None:
        if not stale and not gone:
            return
        record, both = self.migration.record, [*stale, *gone]
        put = record.find([entry.id for entry in both])
        with open_store(self.target) as target:
            known = [put[entry.id] for entry in both if entry.id in put]
            with plan_replacing(target, known, self.directory) as plan:
                report = self.delete(target, plan)
            missing = set(absent(target, both))
            record.forget(missing)
            done.left += [entry.id for entry in both if entry.id not in missing]
        if report.error:
            raise SessionctlError(report.error[0])
        done.replaced_by(report, self.migration.again([entry for entry in stale if entry.id in missing]))


def carry_holds(routes: Sequence[Route]) -> int:
    """Hold in the target what is held in the sources, for as long; how many holds were added.

    A hold of a glob means the ids that its source's sessions have there.
    """
    added = 0
    for route in routes:
        with closing(open_store(route.source)) as source, closing(open_store(route.target)) as target:
            now = source.now()
            wanted = [_held_there(route, hold) for hold in source.holds() if hold.lasts(now)]
            there = {(hold.hold_id, hold.kind, hold.value) for hold in target.holds()} if wanted else set()
            missing = [hold for hold in wanted if (hold.hold_id, hold.kind, hold.value) not in there]
            if missing:
                target.hold(missing)
            added += len(missing)
    return added


def _held_there(route: Route, hold: Hold) -> Hold:
    prefix = route.prefix
    if hold.kind is not HoldKind.ID:  # what the prefix says is meant to the letter
        prefix = "".join("?" if letter in "*?" else letter for letter in prefix)
    return replace(hold, value=prefix + hold.value)
