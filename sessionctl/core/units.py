"""Durations, sizes and times as people write them, and back.

The grammar is the contract's: DUR ``90s 15m 12h 30d 2w 6mo 1y``, combinable, where ``m`` is minutes,
``mo`` 30 days and ``y`` 365; SIZE ``500``, ``64KiB``, ``1.5GB``; TIME RFC 3339 or a date, UTC where no
zone is given. Parsers raise ``ValueError`` with a sentence fit for the user.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "mo": 30 * 86400, "y": 365 * 86400}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(mo|[smhdwy])", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGTP])(i)?)?B?", re.IGNORECASE | re.ASCII)
_DECIMAL = "KMGTP"
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?", re.IGNORECASE | re.ASCII
)


def parse_duration(text: str) -> timedelta:
    """``"1d12h"`` -> 36 hours. A bare number is refused, except ``0``."""
    parts = _DURATION_PART.findall(text)
    if text == "0":
        return timedelta(0)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise ValueError(f"{text!r} is not a duration: write it like 90s, 15m, 12h, 30d, 2w, 6mo, 1y or 1d12h")
    try:
        return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))
    except OverflowError:
        raise ValueError(f"{text!r} is longer than time is counted here") from None


def format_duration(value: timedelta) -> str:
    """The two largest units: ``"3d 4h"``, ``"12s"``, ``"0.4s"``; ages in tables."""
    seconds = value.total_seconds()
    if seconds < 0:
        return "-" + format_duration(-value)
    if 0 < seconds < 10:
        return f"{seconds:.1f}s" if seconds >= 0.05 else f"{seconds * 1000:.0f}ms"
    rest, out = int(seconds), []
    for unit, size in (("y", 365 * 86400), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            out.append(f"{count}{unit}")
        elif out:
            break
        if len(out) == 2:
            break
    return " ".join(out) or "0s"


def format_age(value: timedelta) -> str:
    """The largest unit alone, for columns: ``"3d"``, ``"12s"``."""
    return format_duration(value).split(" ")[0]


def exact_duration(value: timedelta) -> str:
    """The shortest text that ``parse_duration`` reads back as ``value`` (whole seconds)."""
    rest, out = int(value.total_seconds()), ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        out += f"{count}{unit}" if count else ""
    return out or "0s"


def parse_size(text: str) -> int:
    """``"64KiB"`` -> 65536, ``"1.5GB"`` -> 1500000000, ``"500"`` -> 500 bytes."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a size: write it like 500, 64KiB or 1.5GB")
    number, prefix, binary = match.groups()
    power = _DECIMAL.index(prefix.upper()) + 1 if prefix else 0
    return int(float(number) * (1024 if binary else 1000) ** power)


def format_size(count: int) -> str:
    """Binary units with three digits: ``"1.31 MiB"``, ``"812 B"``."""
    if abs(count) < 1024:
        return f"{count} B"
    value, unit = count / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if abs(value) < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.3g} {unit}" if abs(value) < 1000 else f"{value:.0f} {unit}"


def parse_time(text: str) -> datetime:
    """RFC 3339 or a date -> aware UTC; no zone means UTC."""
    if not _RFC3339.fullmatch(text):
        raise ValueError(f"{text!r} is not a time: write it like 2026-03-01 or 2026-03-01T12:30:00Z")
    try:
        value = datetime.fromisoformat(text.upper())
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a time: {error}") from None


def format_time(value: datetime | None) -> str | None:
    """RFC 3339 in UTC with ``Z``; fractions only where there are any. None stays None (JSON null)."""
    return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def format_minute(value: datetime | None) -> str | None:
    """A time to the minute, for columns: ``"2026-11-23 16:06Z"``."""
    return None if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%MZ}"


def format_second(value: datetime) -> str:
    """RFC 3339 without a fraction, for sentences."""
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def format_stamp(at: datetime | None) -> str:
    """A time to the second for headings: ``"2026-11-23 16:06:12Z"``, ``"unknown"``."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if at else "unknown"


def format_offset(start: datetime | None, at: datetime | None) -> str:
    """How long after ``start``: ``"+8.0s"``; nothing where both are the same, the clock where there is no start."""
    if at is None:
        return ""
    if start is None:
        return f"{at:%H:%M:%S}Z"
    return f"+{format_duration(at - start)}" if at > start else "" if at == start else f"-{format_duration(start - at)}"


def count(number: int, noun: str) -> str:
    """``"1 item"``, ``"2,000 items"``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
