"""From a selector to the sessions it selects, where that takes more than one question to the store."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

from sessionctl.core.model import Cursor, Order, SessionRef, Want
from sessionctl.core.selector import Selector
from sessionctl.stores.base import Store


def select(
    store: Store,
    selector: Selector,
    *,
    now: datetime,
    order: Order = Order.ACTIVITY,
    limit: int | None = None,
    after: Cursor | None = None,
    want: Want = Want.NOTHING,
) -> Iterator[SessionRef]:
    """The sessions that ``selector`` selects at ``now``, as ``Store.sessions`` yields them."""
    query = selector.resolve(now)
    if selector.keep_last is None:
        return store.sessions(query, order=order, limit=limit, after=after, want=want)
    group = group_of(selector)
    kept = most_recent(
        store.sessions(query.only_ids(), limit=None if group else selector.keep_last), selector.keep_last, group
    )
    found = store.sessions(query, order=order, after=after, want=want)
    eligible = (ref for ref in found if ref.id not in kept and (group is None or group.search(ref.id)))
    return islice(eligible, limit)


def group_of(selector: Selector) -> re.Pattern[str] | None:
    """What tells the groups apart of which each keeps its own; ids that it does not match are never selected."""
    return re.compile(selector.group_by) if selector.group_by else None


def most_recent(refs: Iterable[SessionRef], keep_last: int, group: re.Pattern[str] | None) -> frozenset[str]:
    """The ``keep_last`` most recently active, of each group: the first ones met of ``refs`` in order of activity."""
    if group is None:
        return frozenset(ref.id for ref in islice(refs, keep_last))
    met: dict[str | None, int] = {}
    kept = set()
    for ref in refs:
        match = group.search(ref.id)
        if match is None:
            continue
        name = match[1]
        met[name] = met.get(name, 0) + 1
        if met[name] <= keep_last:
            kept.add(ref.id)
    return frozenset(kept)
