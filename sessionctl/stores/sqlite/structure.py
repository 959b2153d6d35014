"""What AdvancedSQLiteSession keeps beside the items: structure, usage, branches (sdk: advanced_sqlite_session.py).

An item without a structure row is not shown by the SDK and deleted by its next pop, so whatever puts items
into such a file writes their structure too.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sessionctl.core.model import RecordedUsage, Rewrite, Span
from sessionctl.core.record import StoredItem
from sessionctl.stores.sqlite.file import SqliteFile
from sessionctl.stores.sqlite.layout import quoted
from sessionctl.stores.sqlite.values import bound

STRUCTURE = "message_structure"
GENERATIONS = "session_clear_generations"
_MAIN = "main"
_MINE = "WHERE session_id = CAST(? AS TEXT)"
_EMPTY_TURNS = (
    f"{_MINE} AND branch_id = '{_MAIN}' AND user_turn_number BETWEEN ? AND ? AND NOT EXISTS ("
    "SELECT 1 FROM message_structure v WHERE v.session_id = turn_usage.session_id "
    "AND v.branch_id = turn_usage.branch_id AND v.user_turn_number = turn_usage.user_turn_number)"
)
STRUCTURED = (
    "INSERT INTO {structure} (session_id, message_id, branch_id, message_type, sequence_number, "
    "user_turn_number, branch_turn_number, tool_name) SELECT session_id, id, 'main', kind, row_number() OVER "
    "w, sum(kind = 'user') OVER w, sum(kind = 'user') OVER w, tool FROM (SELECT session_id, id, CASE WHEN "
    "item ->> 'role' IN ('user', 'assistant') THEN item ->> 'role' ELSE coalesce(nullif(item ->> 'type', ''), "
    "'other') END AS kind, coalesce(item ->> 'server_label' || '.', item ->> 'namespace' || '.', '') || (item "
    "->> 'name') AS tool FROM (SELECT session_id, id, iif(json_valid(message_data), message_data, '{{}}') AS "
    "item FROM {messages} WHERE session_id NOT IN (SELECT session_id FROM {structure}))) WINDOW w AS "
    "(PARTITION BY session_id ORDER BY id)"
)
"""The statement that gives sessions without any structure that of a single branch, as ``write_anew`` does."""
_NAMED_BY_TYPE = frozenset(
    {
        "apply_patch_call",
        "code_interpreter_call",
        "computer_call",
        "file_search_call",
        "shell_call",
        "web_search_call",
    }
)


def put_back(
    connection: sqlite3.Connection, tables: frozenset[str], session_id: str, extras: Mapping[str, Sequence[Any]]
) -> None:
    """Write the rows of ``extras`` as they were; what is there already keeps its place behind them.

    A generation never goes back: live instances compare it.
    """
    if STRUCTURE in tables:
        _move_behind(connection, session_id, extras.get(STRUCTURE, ()))
    for table, rows in extras.items():
        if table in tables and table != GENERATIONS:
            _insert(connection, table, session_id, rows)


def copy(
    connection: sqlite3.Connection,
    tables: frozenset[str],
    session_id: str,
    extras: Mapping[str, Sequence[Any]],
    keys: Mapping[Any, int],
) -> None:
    """Write the rows of ``extras``, of another file, for items whose keys became others: ``keys`` from old to new."""
    for table, rows in extras.items():
        if table in tables and table != GENERATIONS:
            own = [{name: value for name, value in row.items() if name != "id"} for row in rows]
            if table == STRUCTURE:
                own = [row | {"message_id": keys[row["message_id"]]} for row in own if row["message_id"] in keys]
            _insert(connection, table, session_id, own)


def _insert(connection: sqlite3.Connection, table: str, session_id: str, rows: Iterable[Mapping[str, Any]]) -> None:
    for row in rows:
        names = ", ".join(map(quoted, ("session_id", *row)))
        places = ", ".join(["CAST(? AS TEXT)", *("?" * len(row))])
        verb = "INSERT OR IGNORE" if table == "branch_reservations" else "INSERT"
        connection.execute(
            f"{verb} INTO {quoted(table)} ({names}) VALUES ({places})", (bound(session_id), *row.values())
        )


def recorded_usage(file: SqliteFile, session_id: str | None) -> RecordedUsage | None:
    """What the SDK recorded of a session's runs, of all of them where ``session_id`` is None."""
    sums = "count(*), sum(requests), sum(input_tokens), sum(output_tokens), sum(total_tokens)"
    mine, params = (_MINE, (bound(session_id),)) if session_id is not None else ("", ())
    turns, *usage = file.row(f"SELECT {sums} FROM turn_usage {mine}", params)
    if not turns:
        return None
    requests, input_tokens, output_tokens, total_tokens = (int(number or 0) for number in usage)
    return RecordedUsage(
        requests=requests, input_tokens=input_tokens, output_tokens=output_tokens, total_tokens=total_tokens
    )


def _move_behind(connection: sqlite3.Connection, session_id: str, before: Sequence[Mapping[str, Any]]) -> None:
    """Sequence and turn numbers of what is there now go on behind those of ``before``."""
    me = bound(session_id)
    last = {
        name: max((row[name] or 0 for row in before), default=0)
        for name in ("sequence_number", "user_turn_number", "branch_turn_number")
    }
    connection.execute(
        "UPDATE message_structure SET sequence_number = sequence_number + ?, "
        f"user_turn_number = user_turn_number + ?, branch_turn_number = branch_turn_number + ? {_MINE}",
        (*last.values(), me),
    )
    # Through negative numbers: (session, branch, turn) is unique at every moment.
    turns = last["user_turn_number"]
    connection.execute(f"UPDATE turn_usage SET user_turn_number = -(user_turn_number + ?) {_MINE}", (turns, me))
    connection.execute(f"UPDATE turn_usage SET user_turn_number = -user_turn_number {_MINE}", (me,))


def write_anew(connection: sqlite3.Connection, session_id: str, keyed: Iterable[tuple[int, StoredItem]]) -> None:
    """The structure that the SDK itself would write for these items, all on the main branch."""
    turn, rows = 0, []
    for place, (key, item) in enumerate(keyed, start=1):
        kind, tool = _classified(item.text)
        turn += kind == "user"
        rows.append((bound(session_id), key, _MAIN, kind, place, turn, turn, tool))
    connection.executemany(
        "INSERT INTO message_structure (session_id, message_id, branch_id, message_type, sequence_number, "
        "user_turn_number, branch_turn_number, tool_name) VALUES (CAST(? AS TEXT), ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def only_main(connection: sqlite3.Connection, session_id: str) -> bool:
    """Has the session no branch but the main one?"""
    other = f"SELECT 1 FROM message_structure {_MINE} AND branch_id <> ? LIMIT 1"
    return connection.execute(other, (bound(session_id), _MAIN)).fetchone() is None


def forget(connection: sqlite3.Connection, tables: frozenset[str], session_id: str, span: Span) -> int:
    """Take a span's items out of the main branch, as the SDK's pop does: with the usage of turns that are empty then.

    Returns how many of the items another branch still holds.
    """
    me = bound(session_id)
    on_main = f"{_MINE} AND branch_id = '{_MAIN}'"
    mine = f"{on_main} AND message_id BETWEEN ? AND ?"
    values = (me, span.first, span.last)
    turns = f"SELECT min(user_turn_number), max(user_turn_number) FROM message_structure {mine}"
    first, last = connection.execute(turns, values).fetchone()
    connection.execute(f"DELETE FROM message_structure {mine}", values)
    if "branch_reservations" in tables:  # the branch keeps its id when nothing is left of it
        connection.execute(
            "INSERT OR IGNORE INTO branch_reservations (session_id, branch_id) SELECT CAST(? AS TEXT), ? "
            f"WHERE NOT EXISTS (SELECT 1 FROM message_structure {on_main})",
            (me, _MAIN, me),
        )
    if "turn_usage" in tables:
        connection.execute(f"DELETE FROM turn_usage {_EMPTY_TURNS}", (me, first, last))
    held = f"SELECT count(DISTINCT message_id) FROM message_structure {_MINE} AND message_id BETWEEN ? AND ?"
    return int(connection.execute(held, values).fetchone()[0])


def taken(extras: Mapping[str, Sequence[Any]], rewrite: Rewrite) -> dict[str, Sequence[Any]]:
    """Of a session's rows: those that ``forget`` deletes and those that ``reclassify`` changes."""
    structure, replaced = extras.get(STRUCTURE, ()), {key for key, _ in rewrite.replace}
    gone = {
        row["id"]: row
        for row in structure
        if row["branch_id"] == _MAIN and any(span.first <= row["message_id"] <= span.last for span in rewrite.remove)
    }
    left = {row["user_turn_number"] for row in structure if row["branch_id"] == _MAIN and row["id"] not in gone}
    turns = {row["user_turn_number"] for row in gone.values() if row["user_turn_number"] is not None}
    usage = [
        row
        for row in extras.get("turn_usage", ())
        if turns and row["branch_id"] == _MAIN and min(turns) <= row["user_turn_number"] <= max(turns)
    ]
    return {
        STRUCTURE: [row for row in structure if row["id"] in gone or row["message_id"] in replaced],
        "turn_usage": [row for row in usage if row["user_turn_number"] not in left],
    }


def put_among(
    connection: sqlite3.Connection, session_id: str, extras: Mapping[str, Sequence[Any]], keys: Collection[Any]
) -> None:
    """Write the rows of ``extras`` that were ``taken``; of items that are there still, if they are among ``keys``."""
    there = f"SELECT id FROM message_structure {_MINE}"
    known = {row[0] for row in connection.execute(there, (bound(session_id),))}
    structure = extras.get(STRUCTURE, ())
    for row in structure:
        if row["id"] in known and row["message_id"] in keys:
            connection.execute(
                "UPDATE message_structure SET message_type = ?, tool_name = ? WHERE id = ?",
                (row["message_type"], row["tool_name"], row["id"]),
            )
    back = [row for row in structure if row["id"] not in known]
    if back:
        _make_room(connection, session_id, back)
    _insert(connection, STRUCTURE, session_id, back)
    _insert(connection, "turn_usage", session_id, extras.get("turn_usage", ()))


def _make_room(connection: sqlite3.Connection, session_id: str, back: Sequence[Mapping[str, Any]]) -> None:
    """Rows that were written after ``back`` was taken from the end have its numbers by now: they move behind it.

    Newer rows have larger ids. Turns taken out of the middle, or the head, gave no number to others.
    """
    me, newest = bound(session_id), max(row["id"] for row in back)
    on_main = f"{_MINE} AND branch_id = '{_MAIN}'"
    last_place, last_turn = (max(row[name] or 0 for row in back) for name in ("sequence_number", "user_turn_number"))
    asked = (
        "SELECT min(sequence_number), min(user_turn_number), "
        "min(CASE WHEN message_type = 'user' THEN user_turn_number END) "
        f"FROM message_structure {on_main} AND id > ?"
    )
    place, turn, begun = connection.execute(asked, (me, newest)).fetchone()
    if place is None:
        return
    before = f"SELECT coalesce(max(user_turn_number), 0) FROM message_structure {on_main} AND id < ?"
    turns = 0
    if (turn or 0) < last_turn or (begun is not None and begun <= last_turn):
        turns = last_turn - connection.execute(before, (me, min(row["id"] for row in back))).fetchone()[0]
    moving = (
        "UPDATE message_structure SET sequence_number = sequence_number + ?, user_turn_number = user_turn_number + ?, "
        f"branch_turn_number = branch_turn_number + ? {on_main} AND id > ?"
    )
    connection.execute(moving, (max(0, last_place - place + 1), turns, turns, me, newest))
    if turns:
        later = f"{on_main} AND user_turn_number > ?"
        # Through negative numbers, as in _move_behind.
        connection.execute(
            f"UPDATE turn_usage SET user_turn_number = -(user_turn_number + ?) {later}", (turns, me, last_turn - turns)
        )
        connection.execute(
            f"UPDATE turn_usage SET user_turn_number = -user_turn_number {on_main} AND user_turn_number < 0", (me,)
        )


def reclassify(connection: sqlite3.Connection, session_id: str, key: int, data: str) -> None:
    """The item has the text ``data`` now: its rows say what the SDK would say of it."""
    connection.execute(
        f"UPDATE message_structure SET message_type = ?, tool_name = ? {_MINE} AND message_id = ?",
        (*_classified(data), bound(session_id), key),
    )


def _classified(data: str) -> tuple[str, str | None]:
    """Message type and tool name as the SDK derives them (``_classify_message_type``, ``_extract_tool_name``)."""
    try:
        item = json.loads(data)
    except ValueError:
        item = None
    if not isinstance(item, dict):
        return "other", None
    kind = item.get("type")
    if item.get("role") in ("user", "assistant"):
        return item["role"], _tool_name(item)
    return (str(kind) if kind else "other"), _tool_name(item)


def _tool_name(item: Mapping[str, Any]) -> str | None:
    kind, name, server = item.get("type"), item.get("name"), item.get("server_label")
    if kind in ("mcp_call", "mcp_approval_request") and "server_label" in item:
        found = f"{server}.{name}" if name and server else server or name
    elif kind in _NAMED_BY_TYPE:
        found = kind
    elif kind in ("tool_search_call", "tool_search_output"):
        found = "tool_search"
    else:
        space = item.get("namespace")
        found = f"{space}.{name}" if name and space and space != name else name
    return str(found) if found else None
