"""List sessions of one or several stores, and find them by what was said."""

from __future__ import annotations

import base64
import binascii
import heapq
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice

from sessionctl.core.model import Cursor, SessionRef, Want
from sessionctl.core.selector import Selector
from sessionctl.errors import UsageError
from sessionctl.operations.held import in_force
from sessionctl.operations.selecting import select
from sessionctl.operations.visiting import Visit
from sessionctl.stores.base import Store

_SEARCH_CHUNK = 100
_SNIPPET = 40
_FAR = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A session in a list: its store (masked address), the store's clock, and where a search hit it.

    ``held`` None: that may not be known.
    """

    store: str
    store_time: datetime
    ref: SessionRef
    held: bool | None
    hit: str | None = None

    def place(self) -> tuple[float, str, str]:
        """Newest activity first, then by store and id; unknown times last."""
        at = self.ref.last_activity
        return (-at.timestamp() if at else _FAR, self.store, self.ref.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What to list. ``after`` continues behind a session of an earlier page, as ``cursor_of`` gave it."""

    selector: Selector
    limit: int | None
    want: Want
    search: str | None = None
    after: str | None = None


def list_sessions(trip: Visit, listing: Listing) -> Iterator[Listed]:
    """The sessions, newest activity first.

    Of several stores, a limited list is in one order over all of them; an unlimited one goes store by
    store, so that it streams.
    """
    after = _parsed(listing.after) if listing.after is not None else None
    found = trip.each(lambda store: _of_store(store, listing, after))
    if listing.limit is None or not trip.several:
        return islice(found, listing.limit)
    return iter(heapq.nsmallest(listing.limit, found, key=Listed.place))


def cursor_of(last: Listed) -> str:
    """An opaque token for ``after``: the place behind ``last``."""
    at = last.ref.last_activity
    place = [at.isoformat() if at else None, last.store, last.ref.id]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _of_store(store: Store, listing: Listing, after: tuple[datetime | None, str, str] | None) -> Iterator[Listed]:
    name, now = str(store.address), store.now()
    refs = select(
        store,
        listing.selector,
        now=now,
        limit=listing.limit if listing.search is None else None,
        after=_cursor_in(name, after) if after else None,
        want=listing.want,
    )
    holds = in_force(store, now)
    hits = _search(store, refs, listing.search) if listing.search is not None else ((ref, None) for ref in refs)
    for ref, hit in islice(hits, listing.limit):
        held = None if holds is None else bool(holds.over(ref.id))
        yield Listed(store=name, store_time=now, ref=ref, held=held, hit=hit)


def _parsed(token: str) -> tuple[datetime | None, str, str]:
    try:
        at, store, session_id = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return (datetime.fromisoformat(at) if at else None), str(store), str(session_id)
    except (binascii.Error, ValueError, TypeError) as error:
        raise UsageError("--cursor is not one that list printed") from error


def _cursor_in(store: str, after: tuple[datetime | None, str, str]) -> Cursor:
    """The same place seen from ``store``: stores are ordered by name where times are equal."""
    at, of_store, session_id = after
    if store == of_store:
        return Cursor(activity=at, id=session_id)
    return Cursor(activity=at, id=None if store < of_store else "")


def _search(store: Store, refs: Iterator[SessionRef], text: str) -> Iterator[tuple[SessionRef, str]]:
    """The sessions in which ``text`` was said, in the order of ``refs``, each with where it was found first."""
    from sessionctl.core.payload import searchable_text

    wanted, needle = text.lower(), needle_in(text)
    while chunk := list(islice(refs, _SEARCH_CHUNK)):
        hits: dict[str, str] = {}
        for session_id, item in store.find([ref.id for ref in chunk], needle):
            if session_id not in hits:
                said = searchable_text(item.text)
                at = said.lower().find(wanted)
                if at >= 0:
                    hits[session_id] = snippet(said, at, len(text))
        yield from ((ref, hits[ref.id]) for ref in chunk if ref.id in hits)


def needle_in(text: str) -> str:
    """The longest run of ``text`` that JSON never escapes: what stores can look for in stored text."""
    runs = re.findall(r"[ !#-\[\]-~]+", text)
    return max(runs, key=len, default="")


def snippet(text: str, at: int, length: int) -> str:
    """One line around a hit."""
    start, end = max(0, at - _SNIPPET), at + length + _SNIPPET
    shown = " ".join(text[start:end].split())
    return "".join(chain("…" * (start > 0), shown, "…" * (end < len(text))))
