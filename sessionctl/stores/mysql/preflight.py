"""What a deletion in MySQL or MariaDB will cost, told before it is done.

The catalog tells which indexes there are, the optimizer how it will find the sessions. InnoDB follows
foreign keys past the optimizer, by an index that it does not let go while the key is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, text

from sessionctl.core.model import Preflight
from sessionctl.core.plan import Totals
from sessionctl.core.selector import Query
from sessionctl.core.units import format_size
from sessionctl.stores.mysql.layout import is_mariadb
from sessionctl.stores.preflight import Rates, Scan, found_by, passing
from sessionctl.stores.sql.explain import explain
from sessionctl.stores.sql.layout import Layout, TableFacts

_RATES = Rates(rows=110_000, log_bytes=150e6, scanned=1.5e6)
"""Seven tenths of the rows of one DELETE with its cascade of a million items of 950 octets, and the octets that
it wrote, on two cores with a fast disk; scans as they came out in tables of 30,000 rows on a busy machine."""
_MARKED = 280
"""Octets of redo and undo for each row: marked as deleted, then taken out of the table and its index."""
_EVENT = 165
"""Octets of binary log for each session: its row, or its id in the statement."""
_IMAGE, _KEY = 60, 12
"""Octets of binary log for each item that is deleted on its own, besides its text; and for its key alone."""
_PREFIXED = frozenset({"tinytext", "text", "mediumtext", "longtext"})

_INDEXES = text("""
    SELECT * FROM information_schema.statistics
    WHERE table_schema = coalesce(:schema, database()) AND table_name = :name AND seq_in_index = 1 ORDER BY index_name
""")
_ROWS = text("""
    SELECT table_rows FROM information_schema.tables
    WHERE table_schema = coalesce(:schema, database()) AND table_name = :name
""")
_SETTINGS = text("""
    SHOW VARIABLES WHERE variable_name IN
        ('log_bin', 'sql_log_bin', 'binlog_format', 'binlog_row_image', 'innodb_page_size')
""")


def preflight(connection: Connection, layout: Layout, query: Query, looking: Select[Any], planned: Totals) -> Preflight:
    """How the sessions of ``query`` will be found, by the statement ``looking``, and those of ``planned`` deleted.

    Items are looked up session by session where an index serves that. ``log_bytes`` is redo log, the server's
    cleaning up afterwards included, and binary log where there is one. It was 0.9 to 1.1 times of what MariaDB
    10.11 wrote for stores of 16,000 to 300,000 items of 150 to 12,000 octets, of which the older half was purged.
    """
    indexes = _indexes(connection, layout.messages)
    by, messages = _serving(indexes, "session_id"), layout.messages.shown
    items = max(_rows(connection, layout.messages), planned.items)  # it may not have counted them yet
    is_slow = by is None and planned.sessions > 0 and layout.messages.obstacle is None
    remedy = _remedy(layout.messages, indexes, mariadb=is_mariadb(connection))
    scan = Scan(table=messages, column="session_id", rows=items, times=planned.sessions, remedy=remedy)
    scans = (scan,) if is_slow else ()
    settings = {name.lower(): str(value).upper() for name, value in connection.execute(_SETTINGS)}
    redo, binlog = _redo(planned, int(settings.get("innodb_page_size", 16384))), _binlog(layout, planned, settings)
    return Preflight(
        selection=f"{_selection(connection, layout, query, looking)}; items "
        + (found_by(by, messages) if by else f"by one pass over {messages}"),
        deletion=_deletion(layout, indexes, by),
        slow=tuple(scan.warning for scan in scans),
        rows_per_s=_RATES.rows_per_s(planned, redo + binlog, scans),
        log="redo log" + (f" and binary log ({format_size(binlog)})" if binlog else ""),
        log_bytes=redo + binlog,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """``serves``: it finds equal values of its first column. ``hidden`` from the optimizer, but kept up."""

    name: str
    column: str | None
    serves: bool
    hidden: bool


def _indexes(connection: Connection, table: TableFacts) -> list[_Index]:
    found = connection.execute(_INDEXES, {"schema": table.schema, "name": table.name})
    return [_index({name.lower(): value for name, value in row.items()}, table) for row in found.mappings()]


def _index(row: Mapping[str, Any], table: TableFacts) -> _Index:
    """One over an expression has no column. One over a column's beginning serves where its type allows no other."""
    column = table.columns.get(row["column_name"])
    is_whole = row["sub_part"] is None or (column is not None and column.type in _PREFIXED)
    return _Index(
        name=row["index_name"],
        column=row["column_name"],
        serves=is_whole and row["index_type"] in ("BTREE", "HASH"),
        # IGNORED came with MariaDB 10.6, INVISIBLE with MySQL 8.0; each server has the column of its own word.
        hidden=row.get("ignored") == "YES" or row.get("is_visible") == "NO",
    )


def _serving(indexes: Sequence[_Index], column: str, *, hidden: bool = False) -> str | None:
    usable = (index.name for index in indexes if index.serves and index.column == column and index.hidden == hidden)
    return next(usable, None)


def _rows(connection: Connection, table: TableFacts) -> int:
    """By the server's statistics."""
    return int(connection.execute(_ROWS, {"schema": table.schema, "name": table.name}).scalar() or 0)


def _selection(connection: Connection, layout: Layout, query: Query, looking: Select[Any]) -> str:
    sessions = layout.sessions.shown
    told = explain(connection, "EXPLAIN FORMAT=TRADITIONAL", looking)
    if not told:
        return f"from {sessions}"
    if told[0].type in ("ALL", "index"):
        time_index = _serving(_indexes(connection, layout.sessions), "updated_at")
        return passing(sessions, query, time_index=time_index)
    return "by the primary key" if told[0].key in ("PRIMARY", None) else f"by {told[0].key}"


def _deletion(layout: Layout, indexes: Sequence[_Index], by: str | None) -> str:
    if not layout.cascades:
        return f"items {found_by(by, layout.messages.shown)}, then sessions (no cascade)"
    # The foreign key does not mind that its index is hidden from the optimizer.
    followed = by or _serving(indexes, "session_id", hidden=True)
    return f"foreign key cascade, items {found_by(followed, layout.messages.shown)}"


def remedy(connection: Connection, layout: Layout) -> str:
    """The statement that makes the index by which a session's items are found."""
    return _remedy(layout.messages, _indexes(connection, layout.messages), mariadb=is_mariadb(connection))


def quoted_table(table: TableFacts) -> str:
    """The table as statements name it."""
    return ".".join(quoted_name(part) for part in (table.schema, table.name) if part)


def _remedy(messages: TableFacts, indexes: Sequence[_Index], *, mariadb: bool) -> str:
    """The SDK's own index, made beside writers; one that is hidden is shown again."""
    table = quoted_table(messages)
    hidden = _serving(indexes, "session_id", hidden=True)
    if hidden:
        return f"ALTER TABLE {table} ALTER INDEX {quoted_name(hidden)} {'NOT IGNORED' if mariadb else 'VISIBLE'}"
    name = f"idx_{messages.name}_session_time"
    called = "" if any(index.name == name for index in indexes) else f"{quoted_name(name)} "
    prefix = "(190)" if messages.columns["session_id"].type in _PREFIXED else ""
    columns = f"session_id{prefix}, created_at"
    return f"ALTER TABLE {table} ADD INDEX {called}({columns}), ALGORITHM=INPLACE, LOCK=NONE"


def quoted_name(name: str) -> str:
    """A SQL identifier of exactly this name."""
    return "`" + name.replace("`", "``") + "`"


def _redo(planned: Totals, page: int) -> int:
    """What marks and takes out the rows, and the rows that are written again.

    Half-empty pages are merged, and that writes what is left on them; the larger the rows, the seldomer they
    fit. What is larger than half a page lies outside, and is merely freed.
    """
    size = planned.bytes / max(1, planned.items)
    moved = planned.bytes * max(0.0, 1 - size / (page / 2))
    return int(_MARKED * (planned.items + planned.sessions) + moved)


def _binlog(layout: Layout, planned: Totals, settings: dict[str, str]) -> int:
    """Sessions alone where the foreign key takes their items along: InnoDB does so below the binary log."""
    if settings.get("log_bin") not in ("ON", "1") or settings.get("sql_log_bin") in ("OFF", "0"):
        return 0
    octets = _EVENT * planned.sessions
    if layout.cascades:
        return octets
    if settings.get("binlog_format") == "STATEMENT" or settings.get("binlog_row_image") == "MINIMAL":
        return octets + _KEY * planned.items
    return octets + _IMAGE * planned.items + (0 if settings.get("binlog_row_image") == "NOBLOB" else planned.bytes)
