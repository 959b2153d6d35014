"""Plan changes to sessions: look through the store once, and freeze what would be done to each."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from sessionctl.core.hold import Holds
from sessionctl.core.model import Order, SessionRef, Want
from sessionctl.core.plan import AHEAD_BY, PlanHeader, Step, Totals
from sessionctl.core.selector import Query, Selector
from sessionctl.operations.collecting import only_what_is_new
from sessionctl.operations.held import in_force
from sessionctl.operations.selecting import select
from sessionctl.operations.spool import Spool, SpooledPlan
from sessionctl.stores.base import Store

WANT = Want.SIZE | Want.VERSION
"""What a plan knows of each session."""
_OF_ITEMS = "items by ranges of their keys"
"""How changes delete that leave the sessions."""
_UNREADABLE = "this role may not read its holds (SELECT on sessionctl_holds lets it)"

Foresee = Callable[[Iterable[SessionRef]], Iterator[Step]]
"""What would be done to these sessions, in their order; nothing for some of them."""


def plan_changes(
    store: Store, selector: Selector, command: str, foresee: Foresee,
    *, min_idle: timedelta, terms: tuple[str, ...] = (), named: Collection[str] | None = None, want: Want = WANT,
    spool_directory: Path | None = None, admit: Callable[[SessionRef], bool] | None = None,
) -> SpooledPlan:  # fmt: skip
    """Go through the selected sessions in physical order; those that are neither active nor held go to ``foresee``.

    A session is active when its latest sign of life is within ``min_idle`` of the store's clock; a stamp in the
    future is one too. ``named`` are those that the user named one by one, where they are not the ones that the
    selector names. ``terms``: as in the header. ``want``: what ``foresee`` asks of each session. ``admit``: others
    that the selector selects are passed over.
    """
    began = time.monotonic()
    now = store.now()
    census = store.census(now + AHEAD_BY)
    holds = in_force(store, now)
    mine = frozenset(selector.named if named is None else named)
    sorting = _Sorting(now - min_idle, mine, holds or Holds((), now))
    candidates = select(store, selector, now=now, order=Order.PHYSICAL, want=want)
    foreseen = foresee(sorting.open_to_change(filter(admit, candidates) if admit else candidates))
    spool, planned = _spooled(foreseen, spool_directory)
    missing = _missing(store, sorting)
    info, preflight = store.info(), store.preflight(selector.resolve(now), planned)
    if terms:  # the sessions stay
        preflight = replace(preflight, deletion=_OF_ITEMS)
    header = PlanHeader(
        command=command,
        store=str(store.address),
        label=store.address.label,
        origin=store.address.origin,
        store_time=now,
        min_idle=min_idle,
        criteria=selector.explain(now),
        terms=terms,
        sessions_in_store=census.sessions,
        ahead=census.ahead,
        share_basis=sorting.share_basis,
        matched=sorting.matched,
        planned=planned,
        active=sorting.active,
        held=sorting.held,
        named_skipped=sorting.named_skipped,
        missing=missing,
        digest=spool.digest,
        select_s=time.monotonic() - began,
        preflight=preflight,
        hazards=info.hazards,
        warnings=info.warnings,
        frozen=info.frozen or (_UNREADABLE if holds is None else None),
    )
    return SpooledPlan(header, spool)


def _spooled(steps: Iterable[Step], directory: Path | None) -> tuple[Spool, Totals]:
    """The steps, kept, and what they come to."""
    spool, planned = Spool(directory), Totals()
    try:
        with only_what_is_new():
            for step in steps:
                planned = planned.plus(step.items, step.bytes, step.elided)
                spool.add(step)
    except BaseException:
        spool.close()
        raise
    return spool, planned


@dataclass(slots=True)
class _Sorting:
    """Takes the matched sessions one by one and counts them; hands on what is neither held nor active."""

    cutoff: datetime
    named: frozenset[str]
    holds: Holds
    matched: Totals = field(default_factory=Totals)
    active: int = 0
    held: int = 0
    named_skipped: int = 0
    named_found: int = 0
    share_basis: int = 0

    def open_to_change(self, refs: Iterable[SessionRef]) -> Iterator[SessionRef]:
        for ref in refs:
            is_named = ref.id in self.named
            self.matched = self.matched.plus(ref.items or 0, ref.bytes or 0)
            self.named_found += is_named
            self.share_basis += not is_named
            if self.holds.keep(ref.id, named=is_named):
                self.held += 1
                self.named_skipped += is_named
            elif _is_active(ref, self.cutoff):
                self.active += 1
                self.named_skipped += is_named
            else:
                yield ref


def _is_active(ref: SessionRef, cutoff: datetime) -> bool:
    alive = ref.latest_sign_of_life
    return alive is not None and alive > cutoff


def _missing(store: Store, sorting: _Sorting) -> int:
    """How many of the sessions named one by one do not exist (others may just not match)."""
    named = sorting.named
    if sorting.named_found == len(named):
        return 0
    return len(named) - sum(1 for _ in store.sessions(Query(named=named)))
