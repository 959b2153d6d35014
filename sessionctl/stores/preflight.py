"""What the preflights of all engines share: their words, and how long a deletion takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sessionctl.core.plan import Totals
from sessionctl.core.selector import Query


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A table without an index on ``column``, read from end to end for each of so many rows deleted.

    ``rows``: about how many it has. ``remedy`` is the statement that makes the index; ``blocks``: writers
    have to wait for it.
    """

    table: str
    column: str
    rows: int
    times: int
    remedy: str
    blocks: bool = False

    @property
    def warning(self) -> str:
        return (
            f"{self.table} has no usable index that begins with {self.column}: looking up one there reads all of its "
            f"about {self.rows:,} rows, up to {self.rows * self.times:,} for this plan; "
            f"to mend it{' while writers wait' if self.blocks else ''}: {self.remedy}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What an engine usually gets done in a second: rows deleted, octets of log written, rows read in a scan."""

    rows: float
    log_bytes: float
    scanned: float

    def rows_per_s(self, planned: Totals, log_bytes: int, scans: Iterable[Scan]) -> float:
        """Rows deleted in a second, sessions and items alike, with all that has to be read and written for it."""
        rows = planned.items + planned.sessions
        seconds = max(rows / self.rows, log_bytes / self.log_bytes)
        seconds += sum(scan.rows * scan.times for scan in scans) / self.scanned
        return rows / seconds if rows else self.rows


def found_by(index: str | None, table: str) -> str:
    """How rows of ``table`` are found; ``index`` None: without any."""
    return f"by {index}" if index else f"by reading all of {table}"


def passing(sessions: str, query: Query, *, time_index: str | None) -> str:
    """One pass over all sessions, and whether there was an index on the activity asked for to choose instead."""
    if all(bound.column != "updated_at" for bound in query.bounds):
        return f"one pass over {sessions}"
    return f"one pass over {sessions} ({f'cheaper than {time_index}' if time_index else 'no index on updated_at'})"
