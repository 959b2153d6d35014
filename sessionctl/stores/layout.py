"""The SDK's own table and column names, and what to say of a database that does not have them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sessionctl.core.address import StoreAddress
from sessionctl.errors import StoreNotUnderstood

SESSIONS = "agent_sessions"
MESSAGES = "agent_messages"
SESSIONS_COLUMNS = frozenset({"session_id", "created_at", "updated_at"})
MESSAGES_COLUMNS = frozenset({"id", "session_id", "message_data", "created_at"})
_NAMED = 8


def describe_missing(
    tables: Mapping[str, Collection[str]], sessions: str | None, messages: str | None, address: StoreAddress
) -> StoreNotUnderstood | None:
    """The error for ``tables`` (name -> columns) that are no SDK store, None where they are one."""
    for table, needed in ((sessions, SESSIONS_COLUMNS), (messages, MESSAGES_COLUMNS)):
        if table is not None and needed - set(tables[table]):
            lacking = ", ".join(sorted(needed - set(tables[table])))
            return StoreNotUnderstood(f"{address} has a table {table}, but it is not the SDK's: it has no {lacking}")
    if sessions is not None and messages is not None:
        return None
    wanted = [address.options.get("sessions_table", SESSIONS), address.options.get("messages_table", MESSAGES)]
    absent = [name for name, found in zip(wanted, (sessions, messages), strict=True) if found is None]
    names = sorted(tables)
    found = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    return StoreNotUnderstood(
        f"{address} is not a session store of the SDK: it has no table {' and no table '.join(absent)} "
        f"(found: {found or 'no tables at all'})",
        hint=_renamed_pair(tables),
    )


def _renamed_pair(tables: Mapping[str, Collection[str]]) -> str | None:
    """A hint where exactly one pair of tables looks like the SDK's under other names."""
    sessions = [name for name, columns in tables.items() if set(columns) == SESSIONS_COLUMNS]
    messages = [name for name, columns in tables.items() if set(columns) == MESSAGES_COLUMNS]
    if len(sessions) != 1 or len(messages) != 1:
        return None
    return (
        f"{sessions[0]} and {messages[0]} look like an SDK store of other names: "
        f"add ?sessions_table={sessions[0]}&messages_table={messages[0]} to the URL"
    )
