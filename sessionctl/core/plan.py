"""A plan: what would change, frozen before anything does, and the guards that may refuse it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol

from sessionctl.core.condensing import Condensing
from sessionctl.core.model import Change, Delete, Effect, Hazard, Outcome, Preflight, Rewrite
from sessionctl.core.units import exact_duration

SHARE_GUARD_FROM = 20
"""Stores with fewer sessions are too small for a share to say anything."""
AHEAD_SHARE = 0.01
AHEAD_BY = timedelta(minutes=5)
"""Beyond this share of sessions stamped this far in the future, the store's times are not to be trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over sessions; bytes are octets of stored item texts.

    ``elided`` items stay, and lose only bytes. In ``condensed`` sessions something stands for the items that went.
    """

    sessions: int = 0
    items: int = 0
    bytes: int = 0
    elided: int = 0
    condensed: int = 0

    def plus(self, items: int, size: int, elided: int = 0) -> Totals:
        """These and one more session."""
        return Totals(
            sessions=self.sessions + 1,
            items=self.items + items,
            bytes=self.bytes + size,
            elided=self.elided + elided,
            condensed=self.condensed,
        )

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            sessions=self.sessions + other.sessions,
            items=self.items + other.items,
            bytes=self.bytes + other.bytes,
            elided=self.elided + other.elided,
            condensed=self.condensed + other.condensed,
        )


class Step(NamedTuple):
    """One session to change, as it was when the plan was made: to delete, or to ``rewrite``.

    ``items`` and ``bytes`` are what the change takes away. The newest of these items are replaced, not removed, by
    ``condensed`` items that stand for all of them.
    """

    session_id: str
    version: str
    items: int
    bytes: int
    last_activity: datetime | None = None
    rewrite: Rewrite | None = None
    condensed: int = 0

    @property
    def change(self) -> Change:
        """What the store is told."""
        return self.rewrite or Delete(self.session_id, self.version)

    @property
    def elided(self) -> int:
        """Items that stay, with less in them."""
        return len(self.rewrite.replace) - self.condensed if self.rewrite else 0

    @property
    def rows(self) -> int:
        """Rows that the change touches: items, and the session's own."""
        return 1 + (self.items if self.rewrite is None else self.rewrite.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanHeader:
    """All of a plan but its steps.

    ``matched`` is what the selectors match, ``planned`` what would be removed of the sessions that are neither
    active nor held. ``criteria`` are the selectors as clauses with absolute times, ``terms`` say in the same way
    what is left of each session; without any it is deleted. ``obstacles`` count the sessions of which not all
    that is asked for can be done, by why. ``condensing``: what is removed gives way to what a
    model makes of it, on these terms. ``digest`` is the SHA-256 of the steps in their order. ``share_basis``
    are the matched sessions that nobody named one by one, ``named_skipped`` those that somebody did and that are
    active or held. ``select_s`` is how many seconds the plan took. A rotation moves ``into`` a template, so many
    sessions into each of ``targets``, which do not show what is in ``losses``.
    """

    command: str
    store: str
    label: str
    origin: str
    store_time: datetime
    min_idle: timedelta
    criteria: tuple[str, ...]
    sessions_in_store: int
    ahead: int
    share_basis: int
    matched: Totals
    planned: Totals
    active: int
    named_skipped: int
    missing: int
    digest: str
    terms: tuple[str, ...] = ()
    obstacles: Mapping[StrEnum, int] = field(default_factory=dict)
    condensing: Condensing | None = None
    held: int = 0
    select_s: float = 0.0
    preflight: Preflight | None = None
    hazards: tuple[Hazard, ...] = ()
    warnings: tuple[str, ...] = ()
    frozen: str | None = None
    into: str | None = None
    targets: Mapping[str, int] = field(default_factory=dict)
    losses: tuple[str, ...] = ()

    @property
    def keeps_sessions(self) -> bool:
        """Do the sessions stay, and only lose some of their items?"""
        return bool(self.terms)

    @property
    def unchanged(self) -> int:
        """Sessions to which nothing would be done, though they may be changed."""
        return self.matched.sessions - self.planned.sessions - self.active - self.held

    @property
    def skipped(self) -> dict[Outcome, int]:
        """What was matched, or named, and is not planned."""
        return {Outcome.ACTIVE: self.active, Outcome.HELD: self.held, Outcome.MISSING: self.missing}


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What carrying out a plan will take: seconds, and octets written to the log that ``log`` names.

    ``measured``: the pace is that of an earlier run on this store, else what such stores usually reach.
    """

    seconds: float
    rows_per_s: float
    measured: bool
    log: str
    log_bytes: int


class Plan(Protocol):
    """A header and its steps, which may be gone through more than once, in physical order."""

    @property
    def header(self) -> PlanHeader: ...

    def steps(self) -> Iterator[Step]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowances:
    """What the user explicitly allowed."""

    max_share: float = 0.5
    cascade: bool = field(default=False)


def refusals(header: PlanHeader, allowed: Allowances) -> tuple[str, ...]:
    """Why this plan must not be applied, one sentence each; empty where it may be."""
    found = []
    if header.frozen:
        found.append(f"{header.label} is not changed: {header.frozen}")
    if header.ahead > AHEAD_SHARE * header.sessions_in_store:
        found.append(
            f"{header.ahead} of {header.sessions_in_store} sessions of {header.label} are stamped more than "
            f"{exact_duration(AHEAD_BY)} in the future: its times cannot be trusted"
        )
    taking = [hazard.what for hazard in header.hazards if hazard.effect is Effect.TAKES_ALONG]
    if taking and not allowed.cascade:
        found.append(
            f"deletions in {header.label} would reach beyond the SDK's tables ({'; '.join(taking)}): "
            "--allow-cascade allows it"
        )
    share = share_refusal(header.label, header.share_basis, header.sessions_in_store, allowed.max_share)
    return (*found, share) if share else tuple(found)


def share_refusal(label: str, matched: int, total: int, max_share: float) -> str | None:
    """The share guard, for one store and for all stores of a run together."""
    if total < SHARE_GUARD_FROM or matched / total <= max_share:  # 57 / 100 is 0.57, but 0.57 * 100 is not 57
        return None
    share = matched / total
    return (
        f"the selection matches {matched} of {total} sessions ({share:.0%}) of {label}, more than {max_share:.0%}: "
        f"--max-share {min(1.0, round(share + 0.005, 2))} allows it"
    )
