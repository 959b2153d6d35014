"""How much a store holds, how old and how large it is, and what takes the space.

Counts and sizes are exact, from one pass over the sessions. What kinds of items and which tools the bytes
belong to is read from the items themselves: of all where there are few, else of an even sample, and then
it is an estimate and says so.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sessionctl.core.model import Item, Order, SessionRef, StoreInfo, Usage, Want
from sessionctl.core.payload import read_item
from sessionctl.core.plan import Totals
from sessionctl.core.selector import Selector
from sessionctl.operations.selecting import select
from sessionctl.stores.base import Store

SAMPLE = 20_000
"""Items read to tell kinds and tools apart; a store with no more than this is read whole."""
_SAMPLED_SESSIONS = 500
AGES = (
    ("under 1 hour", timedelta(hours=1)),
    ("under 1 day", timedelta(days=1)),
    ("under 1 week", timedelta(days=7)),
    ("under 30 days", timedelta(days=30)),
    ("under 90 days", timedelta(days=90)),
    ("under 1 year", timedelta(days=365)),
)
OLDER, FUTURE, UNKNOWN = "1 year and more", "in the future", "unknown"
SIZES = ((1, "none"), (10, "1 to 9"), (100, "10 to 99"), (1000, "100 to 999"), (10_000, "1,000 to 9,999"))
LARGEST = "10,000 and more"


@dataclass(slots=True, kw_only=True)
class Share:
    """What one kind of item or one tool takes, of the items that were read."""

    items: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.items += 1
        self.bytes += size


@dataclass(slots=True, kw_only=True)
class Stats:
    """Of one store, or summed over several (``store`` None then).

    ``by_age`` and ``by_items`` map every bucket's label to its totals, in order. ``top`` are the largest
    sessions with their store. ``by_type`` and ``by_tool`` cover ``sampled`` items; ``sampled_all`` says that
    those are all there are. A tool's bytes are its calls and their outputs.
    """

    store: str | None = None
    store_time: datetime | None = None
    info: StoreInfo | None = None
    totals: Totals = field(default_factory=Totals)
    empty: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    by_age: dict[str, Totals] = field(default_factory=lambda: dict.fromkeys(_age_labels(), Totals()))
    by_items: dict[str, Totals] = field(default_factory=lambda: dict.fromkeys(_size_labels(), Totals()))
    top: list[tuple[str, SessionRef]] = field(default_factory=list)
    by_type: dict[str, Share] = field(default_factory=dict)
    by_tool: dict[str, Share] = field(default_factory=dict)
    sampled: int = 0
    sampled_all: bool = True
    usage: Usage | None = None


def measure(store: Store, selector: Selector, *, top: int) -> Stats:
    """The stats of what ``selector`` selects in ``store``; memory does not grow with the store."""
    now = store.now()
    stats = Stats(store=str(store.address), store_time=now, info=store.info(), usage=store.usage())
    chosen = _Reservoir(_SAMPLED_SESSIONS)
    largest: list[tuple[int, str, SessionRef]] = []
    ages, sizes = _Histogram(_age_labels()), _Histogram(_size_labels())
    for ref in select(store, selector, now=now, order=Order.PHYSICAL, want=Want.SIZE):
        items, size, at = ref.items or 0, ref.bytes or 0, ref.last_activity
        ages.add(_age_bucket(at, now), items, size)
        sizes.add(bisect_right(_SIZE_BOUNDS, items), items, size)
        if at is not None:
            stats.oldest = at if stats.oldest is None or at < stats.oldest else stats.oldest
            stats.newest = at if stats.newest is None or at > stats.newest else stats.newest
        if len(largest) < top or size > largest[0][0]:
            (heapq.heappush if len(largest) < top else heapq.heapreplace)(largest, (size, ref.id, ref))
        chosen.offer(ref.id)
    stats.by_age, stats.by_items = ages.totals(), sizes.totals()
    stats.totals = sum(stats.by_items.values(), Totals())
    stats.empty = stats.by_items[SIZES[0][1]].sessions
    stats.top = [(str(store.address), ref) for _, _, ref in sorted(largest, reverse=True)]
    whole = selector == Selector()
    _sort_items(stats, store.sample(SAMPLE) if whole else _items_of(store, chosen.kept))
    stats.sampled_all = stats.sampled >= stats.totals.items
    return stats


def combine(parts: Sequence[Stats], *, top: int) -> Stats:
    """Several stores as one; kinds and tools are scaled from each store's own sample."""
    total = Stats(sampled_all=all(part.sampled_all for part in parts))
    for part in parts:
        total.totals += part.totals
        total.empty += part.empty
        total.sampled += part.sampled
        for label, totals in part.by_age.items():
            total.by_age[label] += totals
        for label, totals in part.by_items.items():
            total.by_items[label] += totals
        for mine, theirs in ((total.by_type, part.by_type), (total.by_tool, part.by_tool)):
            for name, share in theirs.items():
                into = mine.setdefault(name, Share())
                into.items += share.items
                into.bytes += share.bytes
    total.oldest = min((p.oldest for p in parts if p.oldest), default=None)
    total.newest = max((p.newest for p in parts if p.newest), default=None)
    total.top = sorted((t for p in parts for t in p.top), key=lambda t: -(t[1].bytes or 0))[:top]
    return total


class _Histogram:
    """Counters by bucket number; plain integers, for a pass over very many sessions."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        self._counts = [[0, 0, 0] for _ in labels]

    def add(self, bucket: int, items: int, size: int) -> None:
        counts = self._counts[bucket]
        counts[0] += 1
        counts[1] += items
        counts[2] += size

    def totals(self) -> dict[str, Totals]:
        return {
            label: Totals(sessions=sessions, items=items, bytes=size)
            for label, (sessions, items, size) in zip(self._labels, self._counts, strict=True)
        }


class _Reservoir:
    """An even sample of ids from a stream of unknown length (algorithm R), the same for the same stream."""

    def __init__(self, size: int) -> None:
        self.kept: list[str] = []
        self._size, self._seen = size, 0
        self._random = random.Random(0)  # noqa: S311 - a sample, no secret

    def offer(self, session_id: str) -> None:
        self._seen += 1
        if len(self.kept) < self._size:
            self.kept.append(session_id)
            return
        place = int(self._random.random() * self._seen)
        if place < self._size:
            self.kept[place] = session_id


def _items_of(store: Store, ids: Sequence[str]) -> Iterator[Item]:
    return (item for _, item in store.find(ids, ""))


def _sort_items(stats: Stats, items: Iterable[Item]) -> None:
    """Kinds and tools of ``items``; an output belongs to the tool of the call met before it."""
    tools: dict[str, str] = {}
    for item in items:
        payload, size = read_item(item.text), item.size
        stats.sampled += 1
        stats.by_type.setdefault(payload.type or "unreadable", Share()).add(size)
        name = payload.name
        if name and payload.call_id:
            tools[payload.call_id] = name
        tool = name or (tools.get(payload.call_id) if payload.call_id else None)
        if tool:
            stats.by_tool.setdefault(tool, Share()).add(size)


_AGE_BOUNDS = [limit.total_seconds() for _, limit in AGES]
_SIZE_BOUNDS = [below for below, _ in SIZES]


def _age_labels() -> list[str]:
    return [*(label for label, _ in AGES), OLDER, FUTURE, UNKNOWN]


def _size_labels() -> list[str]:
    return [*(label for _, label in SIZES), LARGEST]


def _age_bucket(at: datetime | None, now: datetime) -> int:
    if at is None:
        return len(AGES) + 2
    age = (now - at).total_seconds()
    return len(AGES) + 1 if age < 0 else bisect_right(_AGE_BOUNDS, age)
