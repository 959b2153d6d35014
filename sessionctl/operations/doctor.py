"""Look for what is wrong with stores and their sessions.

The sessions that the selectors choose are read item by item. What costs a pass over a whole store beyond them
is looked for only where all of it is meant, so that a selection limits the reading.
"""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from sessionctl.core.diagnosis import TIME_TO_LIVE, Diagnosis, Sight
from sessionctl.core.envelope import Key
from sessionctl.core.finding import EXAMPLES, Finding, gravest_first
from sessionctl.core.model import Effect, Order, SessionRef
from sessionctl.core.payload import read_item
from sessionctl.core.plan import AHEAD_BY
from sessionctl.core.repairing import MENDABLE
from sessionctl.core.selector import Selector
from sessionctl.core.units import exact_duration
from sessionctl.operations.purge import old_writers
from sessionctl.operations.selecting import select
from sessionctl.stores.base import Store
from sessionctl.stores.layout import SESSIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosed:
    """What was found in one store, gravest first, and how many sessions were read for it."""

    store: str
    sessions: int
    findings: tuple[Finding, ...]


class Places:
    """Remembers in which store each session was met; told of several stores, one after the other."""

    def __init__(self) -> None:
        self._store_of: dict[int, int] = {}
        self._labels: list[str] = []
        self._twice: dict[str, tuple[str, str]] = {}
        self._several = set[int]()

    def enter(self, label: str) -> Callable[[SessionRef], None]:
        """What notes the sessions of the next store."""
        number = len(self._labels)
        self._labels.append(label)

        def note(ref: SessionRef) -> None:
            name = hash(ref.id)  # of millions of ids only the hashes are kept
            before = self._store_of.setdefault(name, number)
            if before != number and name not in self._several:
                self._several.add(name)
                if len(self._twice) < EXAMPLES:
                    self._twice[ref.id] = (self._labels[before], label)

        return note

    def findings(self) -> Iterator[Finding]:
        if self._twice:
            first, second = next(iter(self._twice.values()))
            detail = f"the first of them in {first} and {second}; which is newer:"
            told = tuple(self._twice)
            stores = f"-s {shlex.quote(first)} -s {shlex.quote(second)}"
            fix = f"sessionctl list --id {shlex.quote(told[0])} {stores}"
            yield Finding(kind="two_stores", count=len(self._several), examples=told, detail=detail, fix=fix)


def diagnose(
    store: Store, selector: Selector, note: Callable[[SessionRef], None] = lambda _: None,
    *, ttl: timedelta | None = None, key: Key | None = None,
) -> Diagnosed:  # fmt: skip
    """What is wrong with ``store`` and the sessions that ``selector`` chooses; ``note`` is told of each of them.

    ``ttl`` and ``key``: what the application gives EncryptedSession, as far as it is known.
    """
    now = store.now()
    sight = Sight(now=now, ttl=ttl or TIME_TO_LIVE, key=key)
    seen = _Seen()
    for ref in select(store, selector, now=now, order=Order.PHYSICAL):
        note(ref)
        diagnosis = Diagnosis(ref.id, sight)
        for item in store.items(ref.id):
            diagnosis.see(read_item(item.text), item)
        seen.add(ref.id, diagnosis.found())
    label = shlex.quote(store.address.label)
    own = (_with_fix(finding, label) for finding in store.findings(selector.resolve(now)))
    found = [*seen.findings(label, sight.ttl), *of_any_store(store), *own]
    return Diagnosed(store=str(store.address), sessions=seen.sessions, findings=tuple(sorted(found, key=gravest_first)))


@dataclass(slots=True)
class _Seen:
    """The findings of sessions, added up by class."""

    sessions: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, session_id: str, found: Counter[str]) -> None:
        self.sessions += 1
        self.counts.update(found)
        for kind in found:
            if len(self.examples[kind]) < EXAMPLES:
                self.examples[kind].append(session_id)

    def findings(self, label: str, ttl: timedelta) -> Iterator[Finding]:
        for kind, count in self.counts.items():
            within, detail = "", ""
            if kind == "expired_rows":
                detail = f"of {exact_duration(ttl)}; what the application set is not stored"
                within = f" --ttl {exact_duration(ttl)}"
            fix = f"sessionctl doctor --fix {kind}{within} -s {label}" if kind in MENDABLE else None
            yield Finding(kind=kind, count=count, examples=tuple(self.examples[kind]), detail=detail, fix=fix)


def _with_fix(finding: Finding, label: str) -> Finding:
    """What is mended by a command rather than by a statement."""
    return replace(finding, fix=f"sessionctl purge --empty -s {label}") if finding.kind == "empty_session" else finding


def of_any_store(store: Store) -> Iterator[Finding]:
    """What every kind of store tells of itself; a check is a line or a function."""
    info, census = store.info(), store.census(store.now() + AHEAD_BY)
    if census.ahead:
        table = store.address.options.get("sessions_table", SESSIONS)
        fix = f"UPDATE {table} SET updated_at = CURRENT_TIMESTAMP WHERE updated_at > CURRENT_TIMESTAMP"
        yield Finding(kind="future_stamps", count=census.ahead, fix=fix)
    if info.frozen:
        yield Finding(kind="unknown_layout", detail=info.frozen)
    hanging = [hazard for hazard in info.hazards if hazard.effect is not Effect.UNTOUCHED]
    if hanging:
        told = "; ".join(f"{hazard.what} {hazard.effect}" for hazard in hanging[:EXAMPLES])
        yield Finding(kind="foreign_rows", count=len(hanging), detail=told)
    for sentence in old_writers(store.address, info):
        yield Finding(kind="old_sdk", detail=sentence, fix="pip install --upgrade 'openai-agents>=0.23.1'")


def grave(findings: Iterable[Finding]) -> bool:
    """Is any of them more than a note?"""
    return any(finding.severity != "note" for finding in findings)


def all_findings(parts: Sequence[Diagnosed], places: Places) -> list[Finding]:
    """Of all stores, and of what only several together show."""
    return [*places.findings(), *(finding for part in parts for finding in part.findings)]
