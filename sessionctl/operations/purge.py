"""Plan the deletion of whole sessions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from sessionctl.core.model import Order, SessionRef, Want
from sessionctl.core.plan import AHEAD_BY, PlanHeader, Step, Totals
from sessionctl.core.selector import Query, Selector
from sessionctl.operations.selecting import select
from sessionctl.operations.spool import Spool, SpooledPlan
from sessionctl.stores.base import Store

_WANT = Want.SIZE | Want.VERSION


def plan_purge(
    store: Store, selector: Selector, *, min_idle: timedelta, spool_directory: Path | None = None
) -> SpooledPlan:
    """Look through the store once, in physical order, and freeze what a purge would delete.

    A session is active, and not planned, when its latest sign of life is within ``min_idle`` of the
    store's clock; a stamp in the future is one too.
    """
    now = store.now()
    census = store.census(now + AHEAD_BY)
    named = frozenset(selector.named)
    spool = Spool(spool_directory)
    matched = planned = Totals()
    active = named_active = share_basis = found = 0
    try:
        for ref in _candidates(store, selector, now):
            found += ref.id in named
            matched = matched.plus(ref.items or 0, ref.bytes or 0)
            share_basis += ref.id not in named
            if _is_active(ref, now - min_idle):
                active += 1
                named_active += ref.id in named
                continue
            planned = planned.plus(ref.items or 0, ref.bytes or 0)
            spool.add(_step(ref))
        missing = _missing(store, named, found)
    except BaseException:
        spool.close()
        raise
    info = store.info()
    header = PlanHeader(
        command="purge",
        store=str(store.address),
        label=store.address.label,
        origin=store.address.origin,
        store_time=now,
        min_idle=min_idle,
        criteria=selector.explain(now),
        sessions_in_store=census.sessions,
        ahead=census.ahead,
        share_basis=share_basis,
        matched=matched,
        planned=planned,
        active=active,
        named_active=named_active,
        missing=missing,
        digest=spool.digest,
        hazards=info.hazards,
        warnings=info.warnings,
        frozen=info.frozen,
    )
    return SpooledPlan(header, spool)


def _candidates(store: Store, selector: Selector, now: datetime) -> Iterator[SessionRef]:
    return select(store, selector, now=now, order=Order.PHYSICAL, want=_WANT)


def _is_active(ref: SessionRef, cutoff: datetime) -> bool:
    alive = ref.latest_sign_of_life
    return alive is not None and alive > cutoff


def _missing(store: Store, named: frozenset[str], found: int) -> int:
    """How many of the sessions named one by one do not exist (others may just not match)."""
    if found == len(named):
        return 0
    return len(named) - sum(1 for _ in store.sessions(Query(named=named)))


def _step(ref: SessionRef) -> Step:
    return Step(
        session_id=ref.id,
        version=ref.version or "",
        items=ref.items or 0,
        bytes=ref.bytes or 0,
        last_activity=ref.last_activity,
    )
