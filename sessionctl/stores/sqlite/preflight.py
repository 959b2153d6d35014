"""What a deletion in SQLite will cost, told before it is done.

The engine is asked which indexes it will use. How much it writes follows from the pages that deletions
change: every transaction writes each page it changed once, so what counts besides the texts is how many
sessions with their random ids spread over how many pages of the indexes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from sessionctl.core.model import Preflight
from sessionctl.core.plan import Totals
from sessionctl.stores.preflight import Rates, Scan, found_by
from sessionctl.stores.sqlite.file import SqliteFile
from sessionctl.stores.sqlite.layout import SqliteLayout, index_ddl, quoted

_RATES = Rates(rows=140_000, log_bytes=300e6, scanned=1.5e6)
"""Rows and octets of one DELETE by sorted rowid of a million items of 950 octets, on two cores with a fast disk;
scans as they came out in tables of 8,000 and 16,000 rows on a busy machine."""
_BATCH_ROWS, _ADVANCED_BATCH_ROWS = 3000, 600
"""Rows of a usual batch: sessions and items."""
_ROW = 65
"""Octets of an item's row besides its text: ids of 36 characters, a stamp, lengths."""
_ENTRY = 48
"""Octets of an index entry."""
_FULL = 0.69
"""How full the pages of an index are whose keys came in random order."""
_OF_SOME = "WHERE session_id IN (SELECT value FROM json_each('[]'))"
_STRUCTURE, _STRUCTURE_INDEXES = 130, 4
"""Octets of a row of AdvancedSQLiteSession's message_structure, and its indexes that begin with the session's id."""
_FRAME = 24
"""Octets that the log adds to a page (https://sqlite.org/fileformat2.html#walformat)."""
_MIXED = 25
"""Sessions whose items lie mixed with those of the batch before, as fifty are held at a time."""


def preflight(
    file: SqliteFile, layout: SqliteLayout, looking: tuple[str, Sequence[Any]], planned: Totals, *, named: bool
) -> Preflight:
    """How the statement that plans (``looking``, with its parameters) and the deletion will be carried out.

    ``log_bytes`` was 0.85 to 1.3 times of what was written for stores of 16,000 to 800,000 items of 150 to
    12,000 octets, 4 to 100 a session, fifty conversations held at a time, of which the older half was
    purged, and 0.7 to 0.9 times for AdvancedSQLiteSession; 0.4 times where a thousand were held at a time.
    """
    index = {table: _index_of(file, f"DELETE FROM {quoted(table)} {_OF_SOME}", table) for table in _tables(layout)}
    unserved = [table for table, served_by in index.items() if served_by is None] if planned.sessions else []
    scans = [_scan(file, layout, table, planned) for table in unserved]
    log_bytes = _log_bytes(file, layout, planned)
    messages, read_by = layout.messages, _index_of(file, looking[0], "m", looking[1])
    sessions = "named ids by the primary key" if named else f"one pass over {layout.sessions}"
    return Preflight(
        selection=f"{sessions}; items {found_by(read_by, messages)}",
        deletion=f"sessions by the primary key; items {found_by(index[messages], messages)}",
        slow=tuple(scan.warning for scan in scans),
        rows_per_s=_RATES.rows_per_s(planned, log_bytes, scans),
        log="write-ahead log, moved into the file as it grows" if file.has_log else "rollback journal",
        log_bytes=log_bytes,
    )


def _tables(layout: SqliteLayout) -> list[str]:
    """Those with rows that go with their session."""
    return [layout.messages, *sorted(layout.advanced - {"session_clear_generations"})]


def _index_of(file: SqliteFile, statement: str, table: str, params: Sequence[Any] = ()) -> str | None:
    """The index by which this statement finds its rows of ``table`` (or alias); None where it reads them all."""
    for *_, step in file.rows(f"EXPLAIN QUERY PLAN {statement}", params):
        used = re.fullmatch(rf"SEARCH (?:TABLE \S+ AS |TABLE )?{re.escape(table)} USING (.*) \(.*\)", step)
        if used is not None:
            return re.sub(r"^(COVERING )?INDEX ", "", used[1])
    return None


def _span(file: SqliteFile, table: str) -> int:
    """About how many rows a table has, from its first and last key: at once, and at least as many as there are."""
    first, last = file.row(f"SELECT (SELECT min(rowid) FROM {quoted(table)}), (SELECT max(rowid) FROM {quoted(table)})")
    return 0 if first is None else int(last) - int(first) + 1


def _scan(file: SqliteFile, layout: SqliteLayout, table: str, planned: Totals) -> Scan:
    """``table`` has no index; to mend it, the one that the SDK would have made with the table."""
    return Scan(
        table=table,
        column="session_id",
        rows=_span(file, table),
        times=planned.sessions,
        remedy=index_ddl(layout, table),
        blocks=True,
    )


def _log_bytes(file: SqliteFile, layout: SqliteLayout, planned: Totals) -> int:
    """Octets through the log: the pages of every batch, each once."""
    if not planned.sessions:
        return 0
    page, zeroes = file.row("SELECT page_size, secure_delete FROM pragma_page_size, pragma_secure_delete")
    # A table with a row for each item, and indexes of its own, makes batches shorter and more pages change.
    is_advanced = "message_structure" in layout.advanced
    batches = math.ceil((planned.items + planned.sessions) / (_ADVANCED_BATCH_ROWS if is_advanced else _BATCH_ROWS))
    size = planned.bytes / max(1, planned.items) + _ROW
    row = _pages_of_row(size, page, zeroes=bool(zeroes)) + is_advanced * _STRUCTURE / page
    items, sessions = planned.items / planned.sessions, planned.sessions / batches
    fit = _FULL * page / _ENTRY
    pages = row * items * (planned.sessions + batches * min(_MIXED, sessions))
    pages += (
        batches
        * (1 + _STRUCTURE_INDEXES * is_advanced)
        * _spread(sessions * (1 + items / fit), _span(file, layout.messages) / fit)
    )
    pages += batches * _spread(sessions, _span(file, layout.sessions) / fit)
    return int((pages + 2 * batches) * (page + _FRAME))


def _pages_of_row(size: float, page: int, *, zeroes: bool) -> float:
    """Pages that deleting a row of so many octets writes: its share of one, or as many as it runs over.

    What it runs over is written only where deleted texts are overwritten with zeroes (``secure_delete``).
    """
    per_page = page // size
    if per_page >= 1:
        return 1 / per_page
    return 1 + (size // page if zeroes else 0)


def _spread(draws: float, pages: float) -> float:
    """How many of so many pages are hit by so many draws at random."""
    return pages * (1 - math.exp(-draws / pages)) if pages else 0.0
