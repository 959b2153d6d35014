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


def version_of(updated: int | None, edition: int | None, newest_key: int | None, newest: int | None, items: int) -> str:
    """Every append or rewrite moves the stamp (in microseconds), every pop the number of items.

    A session begun anew has another edition of its row, and keys that are newer: either is enough. With the
    edition goes when the newest item came, so that nobody has to ask for that again.
    """
    row = "" if updated is None else str(updated)
    return f"{row}.{newest_key or 0}.{items}" if edition is None else f"{row}.{edition}.{newest or 0}.{items}"


def taken_apart(version: str) -> tuple[str, int, int]:
    """With an edition: what ``version_of`` says of the session's row, the newest item, and how many there are.

    ("", 0, -1) for a text that is no such version.
    """
    row, *numbers = version.rsplit(".", 2)
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
        return "", 0, -1
    return row, int(numbers[0]), int(numbers[1])
