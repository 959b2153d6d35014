"""Times, versions and patterns as stores behind SQLAlchemy Core hold and compare them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TypeVar

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

T = TypeVar("T")


def chunked(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """``values`` in lists of ``size``, the last one shorter; none for no values."""
    remaining = iter(values)
    while chunk := list(islice(remaining, size)):
        yield chunk


def like_pattern(glob: str) -> str:
    """A contract glob for LIKE with ``!`` as the escape character."""
    return "".join({"*": "%", "?": "_", "%": "!%", "_": "!_", "!": "!!"}.get(c, c) for c in glob)


def microseconds(at: datetime | None) -> int | None:
    """``at`` as whole microseconds of the Unix epoch, as ``_microseconds`` has the server give it."""
    return None if at is None else (at - EPOCH) // _MICROSECOND


def version_of(updated: int | None, edition: int | None, newest_key: int | None, items: int) -> str:
    """Every append or rewrite moves the stamp (in microseconds), every pop the number of items.

    A session begun anew has another edition of its row, and keys that are newer: either is enough.
    """
    return f"{'' if updated is None else updated}.{newest_key or 0 if edition is None else edition}.{items}"


def taken_apart(version: str) -> tuple[str, int]:
    """What ``version_of`` says of the session's row, and how many items; -1 for a text that is no version."""
    of_row, _, items = version.rpartition(".")
    return of_row, int(items) if items.isdecimal() else -1
