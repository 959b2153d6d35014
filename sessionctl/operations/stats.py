"""How much a store holds, how old and how large it is, and what takes the space.

Counts and totals are exact: the items of each session are counted through the index, the octets of all are
summed in one pass as they lie. The octets of each session cost a look at every row of it, and are read only
where a selection or ``by_bytes`` asks for them. What kinds of items and which tools the bytes belong to is read
from the items themselves: of all where there are few, else of an even sample, and then it is an estimate and
says so.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sessionctl.core.model import Item, Order, RecordedUsage, SessionRef, StoreInfo, Usage, Want
from sessionctl.core.payload import read_item
from sessionctl.core.plan import Totals
from sessionctl.core.selector import Query, Selector
from sessionctl.core.tokens import tokens_of
from sessionctl.operations.selecting import select
from sessionctl.stores.base import Store

READ_WHOLE = 20_000
"""A store with no more items than this is read whole to tell kinds and tools apart."""
SAMPLE = 5_000
"""Items read of a larger one: a kind that takes half of the space is met to within 1.5 %."""
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
    tokens: int = 0

    def add(self, size: int, tokens: int) -> None:
        self.items += 1
        self.bytes += size
        self.tokens += tokens


@dataclass(slots=True, kw_only=True)
class Stats:
    """Of one store, or summed over several (``store`` None then).

    ``by_age`` and ``by_items`` map every bucket's label to its totals, in order; their bytes are known where
    ``measured``. ``top`` are the largest sessions with their store, by bytes where those are known of all
    sessions, else by items. ``by_type`` and ``by_tool`` cover ``sampled`` items; ``sampled_all`` says that
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
    measured: bool = True
    orphans: int | None = None
    """Items whose session has no row; None where only a selection was looked at."""
    sampled: int = 0
    sampled_all: bool = True
    usage: Usage | None = None
    recorded: RecordedUsage | None = None
    """What the runs of all its sessions took; None where that is not recorded or only a selection was looked at."""


def measure(store: Store, selector: Selector, *, top: int, by_bytes: bool = False) -> Stats:
    """The stats of what ``selector`` selects in ``store``; memory does not grow with the store.

    ``by_bytes``: measure every session, for the largest by bytes rather than by items.
    """
    now, whole = store.now(), selector == Selector()
    measured = by_bytes or not whole
    stats = Stats(store=str(store.address), store_time=now, info=store.info(), usage=store.usage(), measured=measured)
    seen = _Sessions(now, top, measured=measured)
    for ref in select(store, selector, now=now, order=Order.PHYSICAL, want=Want.SIZE if measured else Want.COUNT):
        seen.add(ref)
    stats.by_age, stats.by_items = seen.ages.totals(), seen.sizes.totals()
    stats.totals = sum(stats.by_items.values(), Totals())
    stats.empty = stats.by_items[SIZES[0][1]].sessions
    stats.oldest, stats.newest = seen.oldest, seen.newest
    if whole:
        volume = store.volume()
        stats.recorded = store.recorded_usage()
        stats.orphans = max(0, volume.items - stats.totals.items)
        stats.totals = replace(stats.totals, bytes=volume.bytes)
        some = store.sample(READ_WHOLE if volume.items <= READ_WHOLE else SAMPLE)
    else:
        some = _items_of(store, seen.chosen.kept)
    stats.top = [(str(store.address), ref) for ref in _sized(store, seen.largest(), measured=measured)]
    _sort_items(stats, some)
    stats.sampled_all = stats.sampled >= stats.totals.items
    return stats


def _sized(store: Store, refs: Sequence[SessionRef], *, measured: bool) -> list[SessionRef]:
    """``refs`` with their bytes, in their order."""
    if measured:
        return list(refs)
    named = Query(named=frozenset(ref.id for ref in refs))
    sizes = {ref.id: ref for ref in store.sessions(named, want=Want.SIZE)} if refs else {}
    return [sizes.get(ref.id, ref) for ref in refs]


class _Sessions:
    """What one pass over the sessions leaves: histograms, the largest, a sample of ids."""

    def __init__(self, now: datetime, top: int, *, measured: bool) -> None:
        self.ages, self.sizes = _Histogram(_age_labels()), _Histogram(_size_labels())
        self.oldest: datetime | None = None
        self.newest: datetime | None = None
        self.chosen = _Reservoir(_SAMPLED_SESSIONS)
        self._now, self._top, self._measured = now, top, measured
        self._largest: list[tuple[int, str, SessionRef]] = []
        # Ascending: the place of a time among them tells its bucket.
        self._since = [*(now - age + _TICK for _, age in reversed(AGES)), now + _TICK]

    def add(self, ref: SessionRef) -> None:
        """This runs for every session of a store: ages are compared as times, not computed."""
        items, size, at = ref.items or 0, ref.bytes or 0, ref.updated_at
        if at is None:
            self.ages.add(_UNKNOWN, items, size)
        else:
            self.ages.add(_BUCKETS[bisect_right(self._since, at)], items, size)
            self.oldest = at if self.oldest is None or at < self.oldest else self.oldest
            self.newest = at if self.newest is None or at > self.newest else self.newest
        self.sizes.add(bisect_right(_SIZE_BOUNDS, items), items, size)
        weight = size if self._measured else items
        if len(self._largest) < self._top:
            heapq.heappush(self._largest, (weight, ref.id, ref))
        elif self._largest and weight > self._largest[0][0]:
            heapq.heapreplace(self._largest, (weight, ref.id, ref))
        if self._measured:
            self.chosen.offer(ref.id)

    def largest(self) -> list[SessionRef]:
        return [ref for _, _, ref in sorted(self._largest, reverse=True)]


def combine(parts: Sequence[Stats], *, top: int) -> Stats:
    """Several stores as one; kinds and tools are scaled from each store's own sample."""
    total = Stats(sampled_all=all(part.sampled_all for part in parts), measured=all(part.measured for part in parts))
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
                into.tokens += share.tokens
    total.oldest = min((p.oldest for p in parts if p.oldest), default=None)
    total.newest = max((p.newest for p in parts if p.newest), default=None)
    everyone = [largest for part in parts for largest in part.top]
    total.top = sorted(everyone, key=lambda t: -((t[1].bytes if total.measured else t[1].items) or 0))[:top]
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
        tokens = 0 if item.hidden else tokens_of(payload)
        stats.sampled += 1
        stats.by_type.setdefault(payload.type or "unreadable", Share()).add(size, tokens)
        name = payload.name
        if name and payload.call_id:
            tools[payload.call_id] = name
        tool = name or (tools.get(payload.call_id) if payload.call_id else None)
        if tool:
            stats.by_tool.setdefault(tool, Share()).add(size, tokens)


_TICK = timedelta.resolution
_UNKNOWN = len(AGES) + 2
_BUCKETS = (*range(len(AGES), -1, -1), len(AGES) + 1)
"""Buckets from the oldest times to the newest, and then the future."""
_SIZE_BOUNDS = [below for below, _ in SIZES]


def _age_labels() -> list[str]:
    return [*(label for label, _ in AGES), OLDER, FUTURE, UNKNOWN]


def _size_labels() -> list[str]:
    return [*(label for _, label in SIZES), LARGEST]
