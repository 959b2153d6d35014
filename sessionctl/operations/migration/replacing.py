"""Sessions that a migration put, and that changed or went away in their source since: deleted as by any other plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from sessionctl.core.model import Want
from sessionctl.core.plan import PlanHeader, Step, Totals
from sessionctl.core.selector import Query
from sessionctl.operations.migration.record import Entry
from sessionctl.operations.spool import Spool, SpooledPlan
from sessionctl.stores.base import Store

_TOGETHER = 5000


def plan_replacing(target: Store, entries: Sequence[Entry], directory: Path) -> SpooledPlan:
    """The deletion of those of ``entries`` that are in the target as they were put, each at its present version.

    No idleness is asked for: what is deleted is what the migration wrote, and a session that anybody else
    touched since has another version.
    """
    spool, planned = Spool(directory), Totals()
    try:
        for step in _steps(target, entries):
            planned = planned.plus(step.items, step.bytes)
            spool.add(step)
    except BaseException:
        spool.close()
        raise
    info = target.info()
    header = PlanHeader(
        command="migrate",
        store=str(target.address),
        label=target.address.label,
        origin=target.address.origin,
        store_time=target.now(),
        min_idle=timedelta(0),
        criteria=(),
        sessions_in_store=planned.sessions,
        ahead=0,
        share_basis=0,
        matched=planned,
        planned=planned,
        active=0,
        named_skipped=0,
        missing=0,
        digest=spool.digest,
        hazards=info.hazards,
        frozen=info.frozen,
    )
    return SpooledPlan(header, spool)


def absent(target: Store, entries: Sequence[Entry]) -> list[str]:
    """Those of ``entries`` of which the target has nothing any more."""
    found: list[str] = []
    for some in _portions(entries):
        there = {ref.id for ref in target.sessions(Query(named=frozenset(some)))}
        found += [session_id for session_id in some if session_id not in there]
    return found


def _steps(target: Store, entries: Sequence[Entry]) -> Iterator[Step]:
    for some in _portions(entries):
        refs = target.sessions(Query(named=frozenset(some)), want=Want.SIZE | Want.VERSION)
        for ref in refs:
            if some[ref.id].is_untouched(ref):
                yield Step(
                    session_id=ref.id,
                    version=ref.version or "",
                    items=ref.items or 0,
                    bytes=ref.bytes or 0,
                    last_activity=ref.last_activity,
                )


def _portions(entries: Sequence[Entry]) -> Iterator[dict[str, Entry]]:
    for start in range(0, len(entries), _TOGETHER):
        yield {entry.id: entry for entry in entries[start : start + _TOGETHER]}
