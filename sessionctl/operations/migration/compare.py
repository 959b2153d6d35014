"""Tell the differences between stores and the one that they were copied into; nothing is written.

Items are compared as their JSON says, whatever the spaces of the class that wrote it; what is no JSON to the letter.
Times are compared to the second, the coarsest that a store keeps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sessionctl.core.model import Order, Want
from sessionctl.core.plan import Totals
from sessionctl.core.record import StoredItem, WholeSession, instant
from sessionctl.core.selector import Query
from sessionctl.core.serialising import Style, styled
from sessionctl.operations.migration.routes import Route
from sessionctl.operations.restore import on_main_branch
from sessionctl.stores import open_store
from sessionctl.stores.base import Store

_TOGETHER, _ITEMS = 500, 10_000
_SLACK = timedelta(seconds=1)


class Difference(StrEnum):
    """How a session differs."""

    MISSING = "missing"
    """The target has none of this id."""
    EXTRA = "extra"
    """No source has it."""
    ITEMS = "items"
    """It has other items."""
    TIMES = "times"
    """It has the same items, at other times."""


@dataclass(slots=True)
class Comparison:
    """Counts on both sides, and what differs: (id in the target, how), all of it."""

    source: Totals = field(default_factory=Totals)
    target: Totals = field(default_factory=Totals)
    differing: list[tuple[str, Difference]] = field(default_factory=list)

    @property
    def is_same(self) -> bool:
        return not self.differing


def compare(ways: Sequence[Route], observe: Callable[[Comparison], None] = lambda _: None) -> Comparison:
    """Compare each session of the sources with the one that it became.

    Sessions of the target that none of the sources has count as extra where their ids begin with one of the
    prefixes: others are of other migrations.
    """
    found, listed = Comparison(), set[int]()
    with open_store(ways[0].target) as target:
        for route in ways:
            with open_store(route.source) as source:
                for ids in _portions(source):
                    listed.update(hash(route.id_there(each)) for each in ids)
                    found.source += _compare_some(route, source, target, ids, found)
                    observe(found)
        prefixes = tuple(route.prefix for route in ways)
        for ref in target.sessions(Query(), order=Order.PHYSICAL, want=Want.COUNT):
            if ref.id.startswith(prefixes):
                found.target = found.target.plus(ref.items or 0, 0)
                if hash(ref.id) not in listed:
                    found.differing.append((ref.id, Difference.EXTRA))
    return found


def _portions(source: Store) -> Iterator[list[str]]:
    some: list[str] = []
    items = 0
    for ref in source.sessions(Query(), order=Order.PHYSICAL, want=Want.COUNT):
        some.append(ref.id)
        items += ref.items or 0
        if len(some) == _TOGETHER or items >= _ITEMS:
            yield some
            some, items = [], 0
    if some:
        yield some


def _compare_some(route: Route, source: Store, target: Store, ids: Sequence[str], found: Comparison) -> Totals:
    mine = {route.id_there(whole.session.id): _told(whole) for whole in source.whole(ids)}
    theirs = {whole.session.id: _told(whole) for whole in target.whole(list(mine))}
    totals = Totals()
    for session_id, one in mine.items():
        totals = totals.plus(one.items, 0)
        other = theirs.get(session_id)
        if other is None:
            found.differing.append((session_id, Difference.MISSING))
        elif (one.items, one.texts) != (other.items, other.texts):
            found.differing.append((session_id, Difference.ITEMS))
        elif not _are_same(one.times, other.times):
            found.differing.append((session_id, Difference.TIMES))
    return totals


@dataclass(frozen=True, slots=True)
class _Told:
    """What a session says: the number of its items, the SHA-256 of their texts, and its times."""

    items: int
    texts: bytes
    times: tuple[datetime | None, datetime | None]


def _told(whole: WholeSession) -> _Told:
    stamps = whole.session.stamps
    items = on_main_branch(whole.session, tuple(whole.items))
    times = instant(stamps.created, stamps.created_at), instant(stamps.updated, stamps.updated_at)
    return _Told(len(items), _digest(items), times)


def _digest(items: Iterable[StoredItem]) -> bytes:
    """Over the texts in one style."""
    written = hashlib.sha256()
    for item in items:
        octets = styled(item.text, Style.COMPACT).encode("utf-8", "surrogateescape")
        written.update(b"%d:" % len(octets))
        written.update(octets)
    return written.digest()


def _are_same(mine: Sequence[datetime | None], theirs: Sequence[datetime | None]) -> bool:
    """A time that the source does not know says nothing."""
    return all(a is None or (b is not None and abs(a - b) <= _SLACK) for a, b in zip(mine, theirs, strict=True))
