"""What the tables of a SQLite file are: which SDK session class wrote them, and what of others hangs on them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sessionctl.core.address import StoreAddress
from sessionctl.core.model import Effect, Hazard
from sessionctl.errors import StoreNotUnderstood
from sessionctl.stores.layout import MESSAGES, MESSAGES_COLUMNS, SESSIONS, SESSIONS_COLUMNS, describe_missing
from sessionctl.stores.schema import schema_of
from sessionctl.stores.sqlite.file import SqliteFile

ADVANCED = {
    "message_structure": {
        "id", "session_id", "message_id", "branch_id", "message_type", "sequence_number", "user_turn_number",
        "branch_turn_number", "tool_name", "created_at",
    },
    "turn_usage": {
        "id", "session_id", "branch_id", "user_turn_number", "requests", "input_tokens", "output_tokens",
        "total_tokens", "input_tokens_details", "output_tokens_details", "created_at",
    },
    "branch_reservations": {"session_id", "branch_id"},
    "session_clear_generations": {"session_id", "generation"},
}  # fmt: skip
"""AdvancedSQLiteSession's own tables; the last two came with 0.19.4 and 0.20.0 (sdk: advanced_sqlite_session.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteLayout:
    """The tables and their meaning. ``order`` is the SDK's read order of items."""

    sessions: str
    messages: str
    flavour: str
    advanced: frozenset[str] = frozenset()
    hazards: tuple[Hazard, ...] = ()
    warnings: tuple[str, ...] = ()
    frozen: str | None = None
    tables: tuple[str, ...] = field(default=())

    @property
    def order(self) -> str:
        return "created_at, id" if self.flavour == "SQLAlchemySession" else "id"

    @property
    def reversed_order(self) -> str:
        return ", ".join(f"{column} DESC" for column in self.order.split(", "))


def quoted(name: str) -> str:
    """A SQL identifier of exactly this name."""
    return '"' + name.replace('"', '""') + '"'


def index_ddl(layout: SqliteLayout, table: str) -> str:
    """The statement for the index that the SDK would have made with ``table``."""
    if layout.flavour != "SQLAlchemySession":
        return schema_of("sqlite", {"messages_table": table}).index
    return f"CREATE INDEX {quoted(f'idx_{table}_session_time')} ON {quoted(table)} (session_id, created_at)"


def index_columns(file: SqliteFile, table: str) -> dict[str, tuple[str, ...]]:
    """The columns of each index of ``table`` that covers all of its rows."""
    sql = (
        "SELECT l.name, i.name FROM pragma_index_list(?) l JOIN pragma_index_info(l.name) i "
        "WHERE NOT l.partial ORDER BY l.name, i.seqno"
    )
    found: dict[str, tuple[str, ...]] = {}
    for index, column in file.rows(sql, (table,)):
        found[index] = (*found.get(index, ()), column)
    return found


def read_layout(file: SqliteFile, address: StoreAddress) -> SqliteLayout:
    """Look at the file's schema. Raises StoreNotUnderstood saying what was found."""
    tables = {
        str(name): {str(row[1]): str(row[2]) for row in file.rows(f"PRAGMA table_info({quoted(name)})")}
        for (name,) in file.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    }
    by_lower = {name.lower(): name for name in tables}
    sessions = by_lower.get(address.options.get("sessions_table", SESSIONS).lower())
    messages = by_lower.get(address.options.get("messages_table", MESSAGES).lower())
    problem = describe_missing(tables, sessions, messages, address)
    if problem or sessions is None or messages is None:
        raise problem or StoreNotUnderstood
    extra = _unknown_columns(tables, sessions, messages)
    advanced = frozenset(name for name in ADVANCED if name in tables)
    own = {sessions, messages, *advanced}
    frozen = None
    if extra:
        frozen = "its tables have columns that no SDK release known here writes: " + ", ".join(extra)
    return SqliteLayout(
        sessions=sessions,
        messages=messages,
        flavour=_flavour(tables[sessions], advanced),
        advanced=advanced,
        hazards=_hazards(file, tables, own),
        warnings=(f"{frozen}; it is read but not changed",) if frozen else (),
        frozen=frozen,
        tables=tuple(sorted(own)),
    )


def _flavour(sessions: Mapping[str, str], advanced: frozenset[str]) -> str:
    if "message_structure" in advanced:
        return "AdvancedSQLiteSession"
    return "SQLAlchemySession" if sessions["session_id"].upper().startswith("VARCHAR") else "SQLiteSession"


def _unknown_columns(tables: Mapping[str, Mapping[str, str]], sessions: str, messages: str) -> list[str]:
    known = {sessions: SESSIONS_COLUMNS, messages: MESSAGES_COLUMNS, **ADVANCED}
    return [
        f"{table}.{column}"
        for table, columns in known.items()
        for column in sorted(set(tables.get(table, ())) - set(columns))
    ]


def _hazards(file: SqliteFile, tables: Mapping[str, object], own: set[str]) -> tuple[Hazard, ...]:
    """Foreign keys of others (SQLite does not enforce them on this connection) and triggers.

    The schema keeps the names of their tables as they were written, in any case.
    """
    found = []
    ours = {name.lower() for name in own}
    for table in sorted(set(tables) - own):
        targets = {str(row[2]).lower() for row in file.rows(f"PRAGMA foreign_key_list({quoted(table)})")}
        found += [
            Hazard(what=f"table {table} refers to {target}", effect=Effect.LEFT_BEHIND)
            for target in sorted(own)
            if target.lower() in targets
        ]
    triggers = file.rows("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name")
    for name, table, sql in triggers:
        if str(table).lower() in ours:
            effect = Effect.TAKES_ALONG if _fires_on_delete(str(sql)) else Effect.UNTOUCHED
            found.append(Hazard(what=f"trigger {name} on {table}", effect=effect))
    return tuple(found)


def _fires_on_delete(trigger: str) -> bool:
    """Unless its event can be seen to be another one; the trigger's own name may be any word."""
    words = re.sub(r"--[^\n]*|/\*.*?\*/", " ", trigger, flags=re.DOTALL)
    event = re.search(r"\b(DELETE|INSERT|UPDATE(?:\s+OF\s+.+?)?)\s+ON\s", words, re.IGNORECASE | re.DOTALL)
    return event is None or event[1].upper() == "DELETE"
