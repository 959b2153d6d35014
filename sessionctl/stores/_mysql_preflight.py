"""What a deletion in MySQL will cost, told before it is done."""

from __future__ import annotations

from sessionctl.core.model import Preflight
from sessionctl.core.plan import Totals
from sessionctl.core.selector import Query

_ROWS_PER_S = 80000.0


def preflight(query: Query, planned: Totals) -> Preflight:  # noqa: ARG001
    """Which indexes serve it, how fast such stores usually are, and how much log it writes."""
    return Preflight(
        selection="one pass over all sessions",
        deletion="by session id",
        rows_per_s=_ROWS_PER_S,
        log="log",
        log_bytes=planned.bytes,
    )
