"""Ids, times and texts as SQLite files hold them, and queries as SQL conditions over them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sessionctl.core.model import Order, SessionRef, Want
from sessionctl.core.selector import Bound, Query

_CHUNK = 500
_STAMP = "%Y-%m-%d %H:%M:%S"
_STAMP_LENGTH = 19
ORDERED_BY = {
    Order.ACTIVITY: "updated_at DESC, session_id",
    Order.OLDEST: "updated_at, session_id",
    Order.PHYSICAL: "rowid",
}
"""In SQL, of the texts as they are stored."""


def conditions(query: Query) -> tuple[list[str], list[Any]]:
    """SQL that lets through at least what the query matches."""
    clauses, params = [], []
    for limit in query.bounds:
        op, at = _widened(limit)
        clauses.append(f"{limit.column} {op} ?")
        params.append(at)
    if query.globs and query.named is None:
        clauses.append("(" + " OR ".join("session_id GLOB ?" for _ in query.globs) + ")")
        params += map(_glob, query.globs)
    for glob in query.excluded:
        clauses.append("session_id NOT GLOB ?")
        params.append(_glob(glob))
    return clauses, params


def _widened(limit: Bound) -> tuple[str, str]:
    """Whole seconds outward, so that stamps with a fraction (written by migrations) are not lost."""
    if limit.op.startswith("<"):
        return "<=", stamp(limit.at.replace(microsecond=0) + timedelta(seconds=1))
    return ">=", stamp(limit.at)


def newest_first(ref: SessionRef) -> tuple[float, str]:
    """A sort key of ``Order.ACTIVITY``."""
    return (-ref.updated_at.timestamp() if ref.updated_at else float("inf"), ref.id)


def oldest_first(ref: SessionRef) -> tuple[float, str]:
    """A sort key of ``Order.OLDEST``."""
    return (ref.updated_at.timestamp() if ref.updated_at else float("-inf"), ref.id)


def _glob(glob: str) -> str:
    """SQLite's GLOB knows brackets, the contract's globs do not."""
    return glob.replace("[", "[[]")


def stamp(at: datetime) -> str:
    """As the SDK writes times: UTC, whole seconds."""
    return at.astimezone(UTC).strftime(_STAMP)


def exact_stamp(at: datetime) -> str:
    """As migrations through SQLAlchemy write times."""
    return f"{stamp(at)}.{at.microsecond:06}"


def parse(stored: Any) -> datetime | None:
    """A stored stamp as aware UTC; None for what is no time."""
    try:
        if len(stored) == _STAMP_LENGTH:  # as the SDK writes them: one step instead of three
            return datetime.fromisoformat(stored + "+00:00")
        value = datetime.fromisoformat(stored)
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def known(stored: Any) -> datetime:
    """The same of SQLite's own clock."""
    value = parse(stored)
    if value is None:
        raise TypeError("SQLite's own clock gave no time")
    return value


def text(stored: Any) -> str:
    """The stored text; what was stored as a BLOB or a number by others is read as text."""
    return stored.decode("utf-8", "surrogateescape") if isinstance(stored, bytes) else str(stored)


def bound(session_id: str) -> bytes:
    """An id as bytes, for ``CAST(? AS TEXT)``: ids of invalid UTF-8 can be asked for too."""
    return session_id.encode("utf-8", "surrogateescape")


def is_possible(text: str) -> bool:
    """Can it be stored? Half a surrogate pair alone stands for no octets."""
    try:
        bound(text)
    except UnicodeEncodeError:
        return False
    return True


def among(ids: Sequence[str]) -> tuple[str, list[Any]]:
    """The inside of ``IN (…)`` for these ids, and its parameters.

    One parameter for all of them, so that the statement stays the same and is parsed once; one each
    where an id is such that JSON cannot carry it.
    """
    joined = "".join(ids)
    if "\0" not in joined and _is_utf8(joined):
        return "SELECT value FROM json_each(?)", [json.dumps(ids, ensure_ascii=False)]
    params: list[Any] = [bound(session_id) for session_id in ids if is_possible(session_id)]
    return ", ".join(["CAST(? AS TEXT)"] * len(params)), params


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """``ids`` in the portions that one statement asks for."""
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))


def version_of(updated_at: Any, newest_id: int | None, items: int) -> str:
    """A session's version, of what is stored."""
    return f"{updated_at}|{newest_id}|{items}"


def reader_of_refs(want: Want) -> Callable[[Sequence[Any]], SessionRef]:
    """What makes a SessionRef of a row of ``_rows_of``; it runs for every session of a store."""
    if want is Want.NOTHING:
        return lambda row: SessionRef(id=row[0], created_at=parse(row[1]), updated_at=parse(row[2]))
    sized, versioned, looked_into = Want.SIZE in want, Want.VERSION in want, Want.COMPACTED in want

    def as_ref(row: Sequence[Any]) -> SessionRef:
        items, size, newest_key, compacted = row[3].split(",")
        count = int(items)
        return SessionRef(
            id=row[0],
            created_at=parse(row[1]),
            updated_at=parse(row[2]),
            items=count,
            bytes=int(size or 0) if sized else None,
            newest_item_at=parse(row[4]) if versioned else None,
            version=version_of(row[2], int(newest_key) if newest_key else None, count) if versioned else None,
            compacted=int(compacted or 0) > 0 if looked_into else None,
        )

    return as_ref
