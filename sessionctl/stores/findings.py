"""What the findings of all backends share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from sessionctl.core.finding import EXAMPLES, Finding
from sessionctl.core.units import format_second

_BETWEEN = timedelta(hours=1)
"""Without any activity before a store was made: longer than it takes to move it."""
LAST_INT4 = 2**31 - 1
_NEAR = 0.8


def of_rows(kind: str, rows: Iterable[Any], fix: str | None = None) -> list[Finding]:
    """The finding over rows (session id, how many); none for no rows. Memory does not grow with them."""
    count, examples = 0, list[str]()
    for session_id, number in rows:
        count += int(number)
        if len(examples) < EXAMPLES:
            examples.append(str(session_id))
    return [Finding(kind=kind, count=count, examples=tuple(examples), fix=fix)] if count else []


def near_the_end(newest_key: int | None) -> bool:
    """Are four fifths of the keys of four octets used up?"""
    return newest_key is not None and newest_key > _NEAR * LAST_INT4


def young(made: datetime | None, newest_before: datetime | None, older: int) -> Iterator[Finding]:
    """Was a store made later than so many of its sessions, the newest of which was active at ``newest_before``?"""
    if made is not None and newest_before is not None and made - newest_before > _BETWEEN:
        detail = f"made {format_second(made)}; nothing is here of the time from {format_second(newest_before)} to then"
        yield Finding(kind="young_store", count=older, detail=detail)


def rows_given_back(sessions: str, messages: str) -> str:
    """The statement that gives items without a session their row back; the tables as statements name them."""
    return (
        f"INSERT INTO {sessions} (session_id, created_at, updated_at) "
        f"SELECT session_id, min(created_at), max(created_at) FROM {messages} "
        f"WHERE session_id NOT IN (SELECT session_id FROM {sessions}) GROUP BY session_id"
    )
