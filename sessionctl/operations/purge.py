"""Plan the deletion of whole sessions."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sessionctl.core.address import StoreAddress
from sessionctl.core.hold import Holds
from sessionctl.core.model import Order, SessionRef, StoreInfo, Want
from sessionctl.core.plan import AHEAD_BY, PlanHeader, Step, Totals
from sessionctl.core.releases import LOCKS_SESSIONS, parse_release
from sessionctl.core.selector import Query, Selector
from sessionctl.operations.held import in_force
from sessionctl.operations.selecting import select
from sessionctl.operations.spool import Spool, SpooledPlan
from sessionctl.stores.base import Store

_WANT = Want.SIZE | Want.VERSION
_UNREADABLE = "this role may not read its holds (SELECT on sessionctl_holds lets it)"


def plan_purge(
    store: Store, selector: Selector, *, min_idle: timedelta, named: Collection[str] | None = None,
    spool_directory: Path | None = None,
) -> SpooledPlan:  # fmt: skip
    """Look through the store once, in physical order, and freeze what a purge would delete.

    A session is active, and not planned, when its latest sign of life is within ``min_idle`` of the
    store's clock; a stamp in the future is one too. Nor is one that is held. ``named`` are those that the user
    named one by one, where they are not the ones that the selector names.
    """
    began = time.monotonic()
    now = store.now()
    census = store.census(now + AHEAD_BY)
    spool = Spool(spool_directory)
    try:
        holds = in_force(store, now)
        mine = frozenset(selector.named if named is None else named)
        sorting = _Sorting(spool, now - min_idle, mine, holds or Holds((), now))
        for ref in _candidates(store, selector, now):
            sorting.add(ref)
        missing = _missing(store, sorting)
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
        share_basis=sorting.share_basis,
        matched=sorting.matched,
        planned=sorting.planned,
        active=sorting.active,
        held=sorting.held,
        named_skipped=sorting.named_skipped,
        missing=missing,
        digest=spool.digest,
        select_s=time.monotonic() - began,
        preflight=store.preflight(selector.resolve(now), sorting.planned),
        hazards=info.hazards,
        warnings=(*info.warnings, *_old_writers(store.address, info)),
        frozen=info.frozen or (_UNREADABLE if holds is None else None),
    )
    return SpooledPlan(header, spool)


@dataclass(slots=True)
class _Sorting:
    """Takes the matched sessions one by one: what is held or active is counted, the rest goes into the spool."""

    spool: Spool
    cutoff: datetime
    named: frozenset[str]
    holds: Holds
    matched: Totals = field(default_factory=Totals)
    planned: Totals = field(default_factory=Totals)
    active: int = 0
    held: int = 0
    named_skipped: int = 0
    named_found: int = 0
    share_basis: int = 0

    def add(self, ref: SessionRef) -> None:
        items, size, is_named = ref.items or 0, ref.bytes or 0, ref.id in self.named
        self.matched = self.matched.plus(items, size)
        self.named_found += is_named
        self.share_basis += not is_named
        if self.holds.keep(ref.id, named=is_named):
            self.held += 1
            self.named_skipped += is_named
            return
        if _is_active(ref, self.cutoff):
            self.active += 1
            self.named_skipped += is_named
            return
        self.planned = self.planned.plus(items, size)
        self.spool.add(_step(ref))


def _candidates(store: Store, selector: Selector, now: datetime) -> Iterator[SessionRef]:
    return select(store, selector, now=now, order=Order.PHYSICAL, want=_WANT)


def _is_active(ref: SessionRef, cutoff: datetime) -> bool:
    alive = ref.latest_sign_of_life
    return alive is not None and alive > cutoff


def _missing(store: Store, sorting: _Sorting) -> int:
    """How many of the sessions named one by one do not exist (others may just not match)."""
    named = sorting.named
    if sorting.named_found == len(named):
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


def _old_writers(address: StoreAddress, info: StoreInfo) -> Iterator[str]:
    """A warning where the store's ``sdk`` key says that releases write there which lock no session."""
    oldest = address.options.get("sdk")
    if oldest and info.flavour == "SQLAlchemySession" and parse_release(oldest) < LOCKS_SESSIONS:
        locking = ".".join(map(str, LOCKS_SESSIONS))
        yield (
            f"SDK {oldest} writes to {address.label}: before {locking} an append does not lock its session, and one "
            "that resumes a session in the very moment of its deletion may fail and has to be made again"
        )
