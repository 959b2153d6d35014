"""What the findings of all backends share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sessionctl.core.finding import Finding

EXAMPLES = 5
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


def rows_given_back(sessions: str, messages: str) -> str:
    """The statement that gives items without a session their row back; the tables as statements name them."""
    return (
        f"INSERT INTO {sessions} (session_id, created_at, updated_at) "
        f"SELECT session_id, min(created_at), max(created_at) FROM {messages} "
        f"WHERE session_id NOT IN (SELECT session_id FROM {sessions}) GROUP BY session_id"
    )
