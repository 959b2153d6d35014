"""What a SQLite file knows to be wrong with itself. A check is a function, or a line of ``_OF_ROWS``."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sessionctl.core.finding import Finding
from sessionctl.core.units import format_size
from sessionctl.stores.drift import LiveColumn, drift
from sessionctl.stores.findings import of_rows, rows_given_back, young
from sessionctl.stores.schema import schema_of
from sessionctl.stores.sqlite.file import SqliteFile
from sessionctl.stores.sqlite.layout import SqliteLayout, index_columns, index_ddl, quoted
from sessionctl.stores.sqlite.side import made_at, uncheckpointed
from sessionctl.stores.sqlite.structure import STRUCTURE, STRUCTURED
from sessionctl.stores.sqlite.values import parse, stamp, text

_LARGE_LOG = 64 * 2**20
_MANY_PAGES = 4000
_DETAILS = {
    "unstructured_items": "opened as plain rows before; told to it where a session has no structure at all: others are "
    "left over from branches, or written by another class",
    "stale_generations": "kept so that open agents notice the deletion: to be deleted while none is",
}
_MUCH_FREE, _FREE_SHARE = 16 * 2**20, 0.25
_WITHOUT_SESSION = "FROM {} o WHERE NOT EXISTS (SELECT 1 FROM {{sessions}} s WHERE s.session_id = o.session_id)"
_WITHOUT_ITEMS = "FROM {sessions} o WHERE NOT EXISTS (SELECT 1 FROM {messages} m WHERE m.session_id = o.session_id)"
_OF_ROWS = (
    ("orphan_items", None, _WITHOUT_SESSION.format("{messages}"), rows_given_back("{sessions}", "{messages}")),
    ("empty_session", None, _WITHOUT_ITEMS, None),
    (
        "unstructured_items",
        "message_structure",
        "FROM {messages} o WHERE id NOT IN (SELECT message_id FROM {structure})",
        STRUCTURED,
    ),
    (
        "dangling_structure",
        "message_structure",
        "FROM {structure} o WHERE NOT EXISTS (SELECT 1 FROM {messages} m WHERE m.id = o.message_id)",
        "DELETE FROM {structure} WHERE message_id NOT IN (SELECT id FROM {messages})",
    ),
    (
        "dangling_usage",
        "turn_usage",
        _WITHOUT_SESSION.format("turn_usage"),
        "DELETE FROM turn_usage WHERE session_id NOT IN (SELECT session_id FROM {sessions})",
    ),
    (
        "stale_generations",
        "session_clear_generations",
        _WITHOUT_SESSION.format("session_clear_generations"),
        "DELETE FROM session_clear_generations WHERE session_id NOT IN (SELECT session_id FROM {sessions})",
    ),
)
"""Class, the table it needs beyond the SDK's two, the rows, each a session's, and the statement that mends them."""


def findings(file: SqliteFile, layout: SqliteLayout, *, whole: bool) -> Iterator[Finding]:
    """``whole``: those too that cost a pass over the rows."""
    yield from _indexes(file, layout)
    sessions, messages = layout.sessions, layout.messages
    yield from drift(_columns(file, sessions), _columns(file, messages), (sessions, messages))
    yield from _space(file)
    yield from _permissions(file.path)
    yield from _releases(file, layout)
    if whole:
        yield from _rows(file, layout)
        yield from _age(file, layout)


def _rows(file: SqliteFile, layout: SqliteLayout) -> Iterator[Finding]:
    tables = {"sessions": layout.sessions, "messages": layout.messages, "structure": "message_structure"}
    names = {role: quoted(table) for role, table in tables.items()}
    for kind, needs, rows, fix in _OF_ROWS:
        if needs is None or needs in layout.advanced:
            found = file.rows(f"SELECT o.session_id, count(*) {rows.format(**names)} GROUP BY o.session_id")
            mending = fix.format(**names) if fix else None
            for finding in of_rows(kind, ((text(session_id), number) for session_id, number in found), mending):
                yield replace(finding, detail=_DETAILS.get(kind, ""))


def _age(file: SqliteFile, layout: SqliteLayout) -> Iterator[Finding]:
    made = made_at(file.path)
    if made is not None:
        older = f"SELECT max(updated_at), count(*) FROM {quoted(layout.sessions)} WHERE updated_at < ?"
        newest, count = file.row(older, (stamp(made),))
        yield from young(made, parse(newest), count)


def _releases(file: SqliteFile, layout: SqliteLayout) -> Iterator[Finding]:
    """What tells of the release that made the file."""
    path = shlex.quote(str(file.path))
    if not file.has_log:
        detail = "a rollback journal, as SDK 0.13.5 and before leave it: writers wait for readers"
        fix = f"sqlite3 {path} 'PRAGMA journal_mode = WAL'"
        yield Finding(kind="older_release", detail=detail, fix=fix)
    for table, release in (("branch_reservations", "0.19.4"), ("session_clear_generations", "0.20.0")):
        if STRUCTURE in layout.advanced and table not in layout.advanced:
            yield Finding(kind="older_release", detail=f"no table {table}, which SDK {release} and later make")
            break


def _indexes(file: SqliteFile, layout: SqliteLayout) -> Iterator[Finding]:
    table, columns = layout.messages, index_columns(file, layout.messages)
    if not any(index[:1] == ("session_id",) for index in columns.values()):
        detail = f"table {table}; writers wait while it is made"
        yield Finding(kind="missing_index", detail=detail, fix=index_ddl(layout, table))
    by_id, by_time = f"idx_{table}_session_id", f"idx_{table}_session_time"
    if columns.get(by_id) == ("session_id", "created_at"):
        made_anew = schema_of("sqlite", {"messages_table": table}).index
        fix = f"BEGIN IMMEDIATE; DROP INDEX {quoted(by_id)}; {made_anew}; COMMIT"
        yield Finding(kind="legacy_index", detail=f"{by_id}; writers wait while it is made anew", fix=fix)
    if by_id in columns and by_time in columns:
        yield Finding(kind="mixed_layouts", detail=f"SQLiteSession made {by_id}, SQLAlchemySession {by_time}")


def activity_index(file: SqliteFile, layout: SqliteLayout) -> str | None:
    """The statement for an index on the time of last activity, None where there is one."""
    table = layout.sessions
    if any(columns[:1] == ("updated_at",) for columns in index_columns(file, table).values()):
        return None
    return f"CREATE INDEX {quoted(f'idx_{table}_updated')} ON {quoted(table)} (updated_at)"


def _columns(file: SqliteFile, table: str) -> list[LiveColumn]:
    """SQLite heeds no lengths, and a key of type INTEGER is given by itself."""
    return [
        LiveColumn(name=name, nullable=not required, filled=default is not None or (key and kind.upper() == "INTEGER"))
        for _, name, kind, required, default, key in file.rows(f"PRAGMA table_info({quoted(table)})")
    ]


def _space(file: SqliteFile) -> Iterator[Finding]:
    path = shlex.quote(str(file.path))
    size, log = file.sizes()
    if log > _LARGE_LOG:
        fix = f"sqlite3 {path} 'PRAGMA wal_checkpoint(TRUNCATE)'"
        yield Finding(kind="large_log", detail=f"{format_size(log)} beside a file of {format_size(size)}", fix=fix)
    waiting, logged = uncheckpointed(file.path)
    if waiting > _MANY_PAGES:
        fix = f"sqlite3 {path} 'PRAGMA wal_checkpoint(TRUNCATE)'"
        detail = f"of {logged:,} pages in the log, where SQLite moves them every 1,000; an open reader, mostly"
        yield Finding(kind="uncheckpointed_pages", count=waiting, detail=detail, fix=fix)
    free, pages, page = file.row(
        "SELECT freelist_count, page_count, page_size FROM pragma_freelist_count, pragma_page_count, pragma_page_size"
    )
    if free * page > _MUCH_FREE and free > _FREE_SHARE * pages:
        detail = f"{format_size(free * page)} of {format_size(pages * page)}; all writers wait for a vacuum"
        yield Finding(kind="free_pages", count=free, detail=detail, fix=f"sessionctl vacuum --full -s {path}")


def _permissions(path: Path) -> Iterator[Finding]:
    there = [each for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm")) if each.exists()]
    if any(each.stat().st_mode & stat.S_IROTH for each in there):
        names = " ".join(shlex.quote(str(each)) for each in there)
        detail = f"mode {stat.S_IMODE(path.stat().st_mode):04o}"
        yield Finding(kind="open_permissions", detail=detail, fix=f"chmod o-rwx {names}")
