"""A store in memory: the port without a backend, for tests of what stands on it and as a model for adapters.

Nothing is shared and nothing outlives the object. The clock stands still until it is told to move, so that
ages in tests are exact. ``append``, ``pop`` and ``put_raw`` are the application's side: they move versions
and stamps as the SDK's sessions do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from threading import RLock
from typing import ClassVar

from sessionctl.core.address import StoreAddress
from sessionctl.core.hold import Hold, Holds
from sessionctl.core.model import (
    Capabilities,
    Census,
    Change,
    Cursor,
    Guard,
    Hazard,
    Item,
    Onto,
    Order,
    Outcome,
    Pace,
    Preflight,
    Put,
    Recheck,
    Rewrite,
    SessionRef,
    Span,
    StoreInfo,
    Usage,
    Volume,
    Want,
)
from sessionctl.core.payload import COMPACTION
from sessionctl.core.plan import Totals
from sessionctl.core.record import SessionRecord, Stamps, StoredItem, WholeSession, instant
from sessionctl.core.selector import Query
from sessionctl.stores.base import Store
from sessionctl.stores.holds_table import holds_on
from sessionctl.stores.recheck import verdicts

_START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True, kw_only=True)
class _Kept:
    """A session as it is kept; ``change`` counts what was done to it."""

    created_at: datetime | None
    updated_at: datetime | None
    change: int
    items: list[Item] = field(default_factory=list)


class MemoryStore(Store):
    """Sessions in a dict. ``clock`` is the store's own; assign to it, or ``advance`` it."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        lists=True,
        item_times=True,
        recheck=Recheck.TRANSACTION,
        pace=Pace(first=1000, largest=1000, hold_s=0.05, gap_s=0.0),
    )

    def __init__(self, address: StoreAddress | None = None, *, clock: datetime = _START) -> None:
        self.address = address or StoreAddress(scheme="memory", url="memory://")
        self.clock = clock
        self._one_step = RLock()
        """A change is one step to applications in other threads too."""
        self.hazards: tuple[Hazard, ...] = ()
        self.frozen: str | None = None
        self.refuses: set[str] = set()
        """Sessions whose deletion fails, as where a trigger of others refuses it."""
        self._kept: dict[str, _Kept] = {}
        self._holds: list[Hold] = []
        self._keys, self._changes = count(1), count(1)

    def advance(self, by: timedelta) -> None:
        """Move the clock."""
        self.clock += by

    def append(self, session_id: str, *texts: str) -> None:
        """Append items as the SDK's ``add_items`` does, at the clock's time."""
        with self._one_step:
            kept = self._kept.get(session_id)
            if kept is None:
                kept = self._kept[session_id] = _Kept(created_at=self.clock, updated_at=self.clock, change=0)
            kept.items += [Item(key=next(self._keys), text=text, created_at=self.clock) for text in texts]
            kept.updated_at, kept.change = self.clock, next(self._changes)

    def pop(self, session_id: str) -> Item:
        """Take the newest item as the SDK's ``pop_item`` does: the session's stamp stays."""
        kept = self._kept[session_id]
        kept.change = next(self._changes)
        return kept.items.pop()

    def delete(self, session_id: str) -> bool:
        """Clear a session as the SDK's ``clear_session`` does; was it there?"""
        with self._one_step:
            return self._kept.pop(session_id, None) is not None

    def stamp(
        self, session_id: str, *, updated_at: datetime | None, created_at: datetime | None, items_at: datetime | None
    ) -> None:
        """Set times as they are given, None for unknown. The version moves, as it does in a database."""
        kept = self._kept[session_id]
        kept.updated_at, kept.created_at, kept.change = updated_at, created_at, next(self._changes)
        kept.items = [replace(item, created_at=items_at) for item in kept.items]

    def now(self) -> datetime:
        return self.clock

    def info(self) -> StoreInfo:
        warnings = (f"{self.frozen}; it is read but not changed",) if self.frozen else ()
        return StoreInfo(
            kind="memory", flavour="MemoryStore", server="memory", tables=("sessions", "items"),
            hazards=self.hazards, warnings=warnings, frozen=self.frozen,
        )  # fmt: skip

    def census(self, ahead_of: datetime) -> Census:
        stamps = [kept.updated_at for kept in self._kept.values()]
        return Census(sessions=len(stamps), ahead=sum(at is not None and at > ahead_of for at in stamps))

    def sessions(
        self,
        query: Query,
        *,
        order: Order = Order.ACTIVITY,
        limit: int | None = None,
        after: Cursor | None = None,
        want: Want = Want.NOTHING,
    ) -> Iterator[SessionRef]:
        full = [self._ref(session_id, kept) for session_id, kept in self._kept.items()]
        if order is not Order.PHYSICAL:
            full.sort(key=_place if order is Order.ACTIVITY else _age)
        behind = (ref for ref in full if after is None or _is_behind(ref, after))
        return islice((_only(ref, want) for ref in behind if query.matches(ref)), limit)

    def items(self, session_id: str, *, last: int | None = None) -> Iterator[Item]:
        kept = self._kept.get(session_id)
        items = list(kept.items) if kept else []
        return iter(items if last is None else items[max(0, len(items) - last) :])

    def find(self, session_ids: Sequence[str], needle: str) -> Iterator[tuple[str, Item]]:
        for session_id in dict.fromkeys(session_ids):
            for item in self.items(session_id):
                if needle.lower() in item.text.lower():
                    yield session_id, item

    def sample(self, count: int) -> Iterator[Item]:
        every = [item for kept in self._kept.values() for item in kept.items]
        step = max(1, len(every) // count) if count > 0 else 1
        return islice(iter(every[::step]), max(0, count))

    def volume(self) -> Volume:
        every = [item for kept in self._kept.values() for item in kept.items]
        return Volume(items=len(every), bytes=sum(item.size for item in every))

    def usage(self) -> Usage:
        return Usage(total=None, free=None)

    def whole(self, session_ids: Sequence[str]) -> Iterator[WholeSession]:
        for session_id in dict.fromkeys(session_ids):
            kept = self._kept.get(session_id)
            if kept is not None:
                stamps = Stamps(created=_stamp(kept.created_at), updated=_stamp(kept.updated_at))
                session = SessionRecord(id=session_id, version=str(kept.change), stamps=stamps)
                items = [StoredItem(item.key, _stamp(item.created_at), None, item.text) for item in kept.items]
                yield WholeSession(session, items)

    def apply(self, changes: Sequence[Change], guard: Guard) -> Sequence[Outcome]:
        with self._one_step:
            return self._applied(changes, guard)

    def _applied(self, changes: Sequence[Change], guard: Guard) -> Sequence[Outcome]:
        present: Mapping[str, SessionRef] = {
            change.session_id: self._ref(change.session_id, self._kept[change.session_id])
            for change in changes
            if change.session_id in self._kept
        }
        outcomes = []
        held = Holds(self._holds, self.clock).among(present, guard.named)
        for change, verdict in zip(changes, verdicts(changes, present, self.clock - guard.min_idle, held), strict=True):
            outcome = verdict
            if verdict is Outcome.DONE and change.session_id in self.refuses:
                outcome = Outcome.FAILED
            elif verdict is Outcome.DONE and isinstance(change, Rewrite):
                outcome = self._rewrite(change)
            elif verdict is Outcome.DONE:
                del self._kept[change.session_id]
            outcomes.append(outcome)
        return outcomes

    def _rewrite(self, change: Rewrite) -> Outcome:
        kept = self._kept[change.session_id]
        texts = dict(change.replace)
        held = [sum(_is_in(span, item) for item in kept.items) for span in change.remove]
        present = {item.key for item in kept.items}
        if held != [span.items for span in change.remove] or not present.issuperset(texts):
            return Outcome.CHANGED
        kept.items = [
            replace(item, text=texts[item.key]) if isinstance(item.key, int) and item.key in texts else item
            for item in kept.items
            if not any(_is_in(span, item) for span in change.remove)
        ]
        kept.change = next(self._changes)
        return Outcome.DONE

    def holds(self) -> Iterator[Hold]:
        return iter(list(self._holds))

    def hold(self, holds: Sequence[Hold]) -> None:
        self._holds = [hold for hold in self._holds if hold.lasts(self.clock)] + list(holds)

    def release(self, holds: Sequence[Hold]) -> int:
        before = len(self._holds)
        self._holds = [hold for hold in self._holds if hold not in holds]
        return before - len(self._holds)

    def put(self, puts: Sequence[Put], *, hold: Hold | None = None) -> Sequence[Outcome]:
        outcomes = [self._put(put) for put in puts]
        self.hold([] if hold is None else holds_on(hold, puts, outcomes))
        return outcomes

    def _put(self, put: Put) -> Outcome:
        if put.onto is Onto.AMONG:
            return self._put_among(put)
        stamps, there = put.session.stamps, self._kept.get(put.session_id)
        keys = [item.key if put.exact else next(self._keys) for item in put.items]
        taken = {item.key for kept in self._kept.values() for item in kept.items}
        items = [
            Item(key=key, text=item.text, created_at=instant(item.stored_at, item.at))
            for key, item in zip(keys, put.items, strict=True)
        ]
        if not taken.isdisjoint(keys) or (there and not _may_go_in_front(put, there)):
            return Outcome.CHANGED
        self._kept[put.session_id] = _Kept(
            created_at=instant(stamps.created, stamps.created_at),
            updated_at=there.updated_at if there else instant(stamps.updated, stamps.updated_at),
            change=int(put.session.version) if put.exact and not there else next(self._changes),
            items=[*items, *(there.items if there else ())],
        )
        return Outcome.DONE

    def _put_among(self, put: Put) -> Outcome:
        kept, instead = self._kept.get(put.session_id), put.session.part or {}
        if kept is None or _stamp(kept.created_at) != put.session.stamps.created:
            return Outcome.CHANGED
        there = {item.key: item for item in kept.items}
        for key, stored_at, at, text in put.items:
            is_stub = isinstance(key, int) and key in instead and key in there
            if key in there and not (is_stub and there[key].text == instead[key]):  # type: ignore[index]
                return Outcome.CHANGED
            if key not in there and key in instead:
                return Outcome.CHANGED
            there[key] = Item(key=key, text=text, created_at=instant(stored_at, at))
        kept.items = sorted(there.values(), key=lambda item: item.key if isinstance(item.key, int) else 0)
        kept.change = next(self._changes)
        return Outcome.DONE

    def preflight(self, query: Query, planned: Totals) -> Preflight:  # noqa: ARG002
        return Preflight(
            selection="every session is looked at", deletion="by id", rows_per_s=1e6, log="no log", log_bytes=0
        )

    def close(self) -> None:
        """Nothing is held; what was stored stays readable."""

    def _ref(self, session_id: str, kept: _Kept) -> SessionRef:
        return SessionRef(
            id=session_id,
            created_at=kept.created_at,
            updated_at=kept.updated_at,
            items=len(kept.items),
            bytes=sum(item.size for item in kept.items),
            newest_item_at=kept.items[-1].created_at if kept.items else None,
            version=str(kept.change),
            compacted=any(COMPACTION in item.text for item in kept.items),
        )


def _is_in(span: Span, item: Item) -> bool:
    return isinstance(item.key, int) and span.first <= item.key <= span.last


def _may_go_in_front(put: Put, there: _Kept) -> bool:
    newest = max((item.key for item in put.items if isinstance(item.key, int)), default=0)
    newer = all(isinstance(item.key, int) and item.key > newest for item in there.items)
    return put.onto is Onto.FRONT and put.exact and newer


def _stamp(at: datetime | None) -> str | None:
    """UTC without a zone, as SQL stores keep it; to the microsecond where there is a fraction."""
    return None if at is None else at.astimezone(UTC).replace(tzinfo=None).isoformat(" ")


def _only(ref: SessionRef, want: Want) -> SessionRef:
    """Without what was not asked for, so that nobody comes to rely on it."""
    sized, versioned = Want.SIZE in want, Want.VERSION in want
    return replace(
        ref,
        items=ref.items if want else None,
        bytes=ref.bytes if sized else None,
        newest_item_at=ref.newest_item_at if versioned else None,
        version=ref.version if versioned else None,
        compacted=ref.compacted if Want.COMPACTED in want else None,
    )


def _place(ref: SessionRef) -> tuple[float, str]:
    return (-ref.updated_at.timestamp() if ref.updated_at else float("inf"), ref.id)


def _age(ref: SessionRef) -> tuple[float, str]:
    return (ref.updated_at.timestamp() if ref.updated_at else float("-inf"), ref.id)


def _is_behind(ref: SessionRef, after: Cursor) -> bool:
    if after.activity is None:
        return after.id is not None and ref.updated_at is None and ref.id > after.id
    if ref.updated_at is None or ref.updated_at < after.activity:
        return True
    return ref.updated_at == after.activity and after.id is not None and ref.id > after.id
