"""Durations, sizes and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.units import (
    exact_duration,
    format_duration,
    format_size,
    format_time,
    parse_duration,
    parse_size,
    parse_time,
)

whole_seconds = st.integers(0, 200 * 365 * 86400).map(lambda seconds: timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90), ("15m", 900), ("12h", 43200), ("30d", 30 * 86400), ("2w", 14 * 86400), ("6mo", 180 * 86400),
        ("1y", 365 * 86400), ("1d12h", 129600), ("1mo1m", 30 * 86400 + 60), ("0", 0), ("0s", 0), ("1.5h", 5400),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "d", "1 d", "-1d", "1d-2h", "1D", "1M", "1e3s", "1d,2h", "١d", "9" * 400 + "y"]
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|longer than time"):
        parse_duration(text)


@given(whole_seconds)
def test_an_exact_duration_reads_back(value: timedelta) -> None:
    assert parse_duration(exact_duration(value)) == value


@given(whole_seconds)
def test_a_shown_duration_is_never_more_than_the_value(value: timedelta) -> None:
    shown = parse_duration(format_duration(value).replace(" ", ""))
    assert shown <= value
    assert value - shown <= value * 0.05 + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("500", 500), ("0", 0), ("64KiB", 65536), ("1.5GB", 1_500_000_000), ("1k", 1000), ("2 MiB", 2 << 20),
        ("10B", 10), ("1TiB", 1 << 40),
    ],
)  # fmt: skip
def test_sizes(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "K", "-1", "1X", "1KK", "1 2", "0x10", "1e6", "iB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@given(st.integers(0, 1 << 60))
def test_a_shown_size_is_within_half_a_percent(count: int) -> None:
    assert parse_size(format_size(count)) == pytest.approx(count, rel=0.006)


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5, minutes=-30))])))
def test_times_read_back(at: datetime) -> None:
    try:
        utc = at.astimezone(UTC)
    except OverflowError:
        return
    shown = format_time(at)
    assert shown is not None
    assert shown.endswith("Z")
    assert parse_time(shown) == utc


def test_no_zone_means_utc() -> None:
    assert parse_time("2026-03-01") == parse_time("2026-03-01T00:00") == parse_time("2026-03-01T01:00+01:00")
    assert parse_time("2026-03-01 12:30:00z") == datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "today", "2026", "2026-13-01", "2026-02-30", "20260301", "2026-03-01T25:00Z", "0001-01-01T00:00+09:00"]
)
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_time(text)
