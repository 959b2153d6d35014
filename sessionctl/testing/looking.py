"""Small steps that the clauses share."""

from __future__ import annotations

from collections.abc import Iterable

from sessionctl.core.model import Cursor, Delete, SessionRef, Want
from sessionctl.core.selector import Query
from sessionctl.stores.base import Store

EVERYTHING = Want.SIZE | Want.VERSION


def existing(store: Store, session_id: str, want: Want = EVERYTHING) -> SessionRef:
    """The session, which must be there."""
    ref = store.session(session_id, want)
    assert ref is not None, f"no session {session_id!r}"
    return ref


def deletion(ref: SessionRef) -> Delete:
    """The change that deletes the session as it was seen."""
    assert ref.version is not None
    return Delete(session_id=ref.id, version=ref.version)


def octets(texts: Iterable[str]) -> int:
    """Octets of stored texts."""
    return sum(len(text.encode("utf-8", "surrogateescape")) for text in texts)


def ids(refs: Iterable[SessionRef]) -> list[str]:
    """Their ids, in order."""
    return [ref.id for ref in refs]


def pages(store: Store, query: Query, size: int, want: Want = Want.NOTHING) -> list[list[SessionRef]]:
    """The listing of ``query`` by activity, in pages that each continue behind the one before."""
    found: list[list[SessionRef]] = []
    after: Cursor | None = None
    while page := list(store.sessions(query, limit=size, after=after, want=want)):
        assert len(page) <= size
        found.append(page)
        assert len(found) < 1000, "the pages do not end"
        after = Cursor(activity=page[-1].last_activity, id=page[-1].id)
    return found
