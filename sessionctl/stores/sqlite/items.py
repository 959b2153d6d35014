"""How items are asked for in a SQLite file, by the class that wrote it, and how sessions are measured by theirs."""

from __future__ import annotations

from sessionctl.core.model import Want
from sessionctl.core.payload import COMPACTION
from sessionctl.stores.sqlite.layout import SqliteLayout, quoted

_FORTH, _BACK = "ORDER BY place, id", "ORDER BY place DESC, id DESC"


def items_sql(layout: SqliteLayout) -> str:
    """Rows (id, text, stamp, why hidden, place) of ``:session``, not yet ordered by (place, id)."""
    messages = quoted(layout.messages)
    return _advanced(messages) if layout.flavour == "AdvancedSQLiteSession" else _plain(layout, messages)


def ordered(sql: str, *, first: int | None = None, last: int | None = None) -> str:
    """The rows of ``items_sql`` in the order of reading: all, so many of the first, or so many of the newest."""
    if last is not None:
        return f"SELECT * FROM ({sql} {_BACK} LIMIT {int(last)}) {_FORTH}"
    return f"{sql} {_FORTH}" + ("" if first is None else f" LIMIT {int(first)}")


def octets_sql(layout: SqliteLayout) -> str:
    """Rows (id, text, stamp) of ``:session`` in the order of reading; as BLOBs, which the driver makes at less cost."""
    octets = "SELECT id, CAST(message_data AS BLOB), CAST(created_at AS BLOB)"
    return f"{octets} FROM ({items_sql(layout)}) {_FORTH}"


def plain_sql(layout: SqliteLayout) -> str:
    """Rows of ``PlainItem`` of ``:session`` in the order of reading, which need nothing done to them."""
    texts = "SELECT id, CAST(created_at AS TEXT), NULL, coalesce(CAST(message_data AS TEXT), 'None')"
    return f"{texts} FROM ({items_sql(layout)}) {_FORTH}"


def small_sql(layout: SqliteLayout, most: int) -> str:
    """Rows (id, text, stamp) of ``:session`` in the order of reading; NULL for a text of more octets than ``most``."""
    small = f"CASE WHEN length(CAST(message_data AS BLOB)) <= {most} THEN CAST(message_data AS TEXT) END"
    return f"SELECT id, {small}, CAST(created_at AS TEXT) FROM ({items_sql(layout)}) {_FORTH}"


def _plain(layout: SqliteLayout, messages: str) -> str:
    place = "created_at" if layout.flavour == "SQLAlchemySession" else "id"
    return (
        f"SELECT id, message_data, created_at, NULL AS hidden, {place} AS place "
        f"FROM {messages} WHERE session_id = CAST(:session AS TEXT)"
    )


def _advanced(messages: str) -> str:
    """The main branch in its sequence; rows the SDK does not show stand behind the row before them."""
    return (
        "SELECT id, message_data, created_at, hidden, "
        "coalesce(seq, max(seq) OVER (ORDER BY id), 0) AS place FROM ("
        "SELECT m.id, m.message_data, m.created_at, seq, "
        "CASE WHEN message_id IS NULL THEN 'it has no structure row' "
        "WHEN NOT on_main THEN 'it is on branch ' || branch || ' only' END AS hidden "
        f"FROM {messages} m LEFT JOIN ("  # put together first: the SDK's tables have no index by the item
        "SELECT message_id, max(CASE WHEN branch_id = 'main' THEN sequence_number END) AS seq, "
        "sum(branch_id = 'main') AS on_main, min(branch_id) AS branch "
        "FROM message_structure WHERE session_id = CAST(:session AS TEXT) GROUP BY message_id"
        ") ON message_id = m.id WHERE m.session_id = CAST(:session AS TEXT))"
    )


def measures_sql(messages: str, want: Want) -> str:
    """Columns (sums, newest time) of the items of a session ``s``; ``values.reader_of_refs`` reads them.

    The sums are one text (items, bytes, newest key, compacted; empty for what is not wanted), so that each
    row is looked at once: as columns of their own each would go through the items anew.
    """
    mine = f"FROM {messages} m WHERE m.session_id = s.session_id"
    sums = {
        "count(*)": want,
        "sum(length(CAST(message_data AS BLOB)))": Want.SIZE,
        "max(id)": Want.VERSION,
        f"sum(message_data GLOB '*{COMPACTION}*')": Want.COMPACTED,
    }
    told = " || ',' || ".join(f"coalesce({each}, '')" if bit & want else "''" for each, bit in sums.items())
    newest = f"(SELECT created_at {mine} ORDER BY id DESC LIMIT 1)" if Want.VERSION in want else "NULL"
    return f"(SELECT {told} {mine}), {newest}"
