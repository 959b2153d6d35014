"""How live tables differ from what the SDK expects, found from their columns: the same rules on every engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sessionctl.core.finding import Finding
from sessionctl.stores.layout import MESSAGES_COLUMNS, SESSIONS_COLUMNS

_FILLED_BY_THE_SDK = frozenset({"session_id", "message_data"})
_STAMPS = frozenset({"created_at", "updated_at"})
_SHORT_IDS = 190
"""Ids of applications are prefixes and UUIDs; the SDK itself knows no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveColumn:
    """One column as the catalog has it. ``filled``: it has a default, or the server gives keys.

    ``length`` in characters, None without a limit; ``moves``: the server sets it anew when the row changes.
    """

    name: str
    nullable: bool
    filled: bool
    length: int | None = None
    moves: bool = False


def drift(sessions: Sequence[LiveColumn], messages: Sequence[LiveColumn], names: tuple[str, str]) -> Iterator[Finding]:
    """What the columns of the two tables, called ``names``, do that the SDK's own would not."""
    tables = ((names[0], sessions, SESSIONS_COLUMNS), (names[1], messages, MESSAGES_COLUMNS))
    for table, columns, known in tables:
        for column in columns:
            for kind in _kinds(column, known):
                yield Finding(kind=kind, detail=_where(table, column, kind))


def _kinds(column: LiveColumn, known: frozenset[str]) -> Iterator[str]:
    if column.name not in known:
        if not column.nullable and not column.filled:
            yield "required_column"
        return
    if not column.filled and column.name in _STAMPS:
        yield "missing_default"
    if not column.filled and column.name == "id":
        yield "keys_not_given"
    if column.moves and column.name in _STAMPS:
        yield "moving_stamp"
    if column.name == "session_id" and column.length is not None and column.length < _SHORT_IDS:
        yield "narrow_ids"
    if column.name == "message_data" and column.length is not None:
        yield "text_cap"


def _where(table: str, column: LiveColumn, kind: str) -> str:
    place = f"{table}.{column.name}"
    return f"{place} takes {column.length:,} characters" if kind in ("narrow_ids", "text_cap") else place
