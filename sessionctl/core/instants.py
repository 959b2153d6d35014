"""What instant a stored stamp means: for everything that reads whole sessions of any store alike."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

from sessionctl.core.units import format_time

_PLAIN = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{1,9})?", re.ASCII)


@lru_cache(maxsize=4096)
def instant(stored: str | None, at: str | None) -> datetime | None:
    """The instant of a stamp as ``core.record`` keeps it; None where there is none or it is no time."""
    if at is None and (stored is None or not _PLAIN.fullmatch(stored)):
        return None
    try:
        found = datetime.fromisoformat(at or stored or "")
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=4096)
def rfc3339(stored: str | None, at: str | None) -> str | None:
    """The same as RFC 3339 with ``Z``. The items of one second share a stamp, so answers are remembered."""
    return format_time(instant(stored, at))
