"""What the preflights of all engines share: their words, and how long a deletion takes."""

from __future__ import annotations

from dataclasses import dataclass

from sessionctl.core.plan import Totals
from sessionctl.core.selector import Query


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What an engine usually gets done in a second: rows deleted, octets of log written, rows read in a scan."""

    rows: float
    log_bytes: float
    scanned: float

    def rows_per_s(self, planned: Totals, log_bytes: int, scanned: int) -> float:
        """Rows that a deletion gets done in a second; ``scanned`` rows are read in vain on the way."""
        rows = planned.items + planned.sessions
        seconds = max(rows / self.rows, log_bytes / self.log_bytes) + scanned / self.scanned
        return rows / seconds if rows else self.rows


def found_by(index: str | None, table: str) -> str:
    """How rows of ``table`` are found; ``index`` None: without any."""
    return f"by {index}" if index else f"by reading all of {table}"


def passing(sessions: str, query: Query, *, time_index: str | None) -> str:
    """One pass over all sessions, and whether there was an index on the activity asked for to choose instead."""
    if all(bound.column != "updated_at" for bound in query.bounds):
        return f"one pass over {sessions}"
    return f"one pass over {sessions} ({f'cheaper than {time_index}' if time_index else 'no index on updated_at'})"


def scans(table: str, column: str, rows: int, times: int, remedy: str, *, blocks: bool = False) -> str:
    """A warning: without an index, finding what hangs on one row deleted (of ``times``) reads all of ``table``.

    ``blocks``: writers have to wait for the remedy.
    """
    return (
        f"{table} has no usable index that begins with {column}: looking up one there reads all of its "
        f"about {rows:,} rows, up to {rows * times:,} for this plan; "
        f"to mend it{' while writers wait' if blocks else ''}: {remedy}"
    )
