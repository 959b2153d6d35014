"""Stamps of whole sessions: what instant they mean, however a store keeps them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.record import StoredItem, columns, instant, is_usual, octets_of, rfc3339
from sessionctl.core.units import format_time


@pytest.mark.parametrize(
    ("stored", "at", "meant"),
    [
        ("2026-01-01 10:00:00", None, "2026-01-01T10:00:00Z"),
        ("2026-01-01 10:00:00.000000", None, "2026-01-01T10:00:00Z"),
        ("2026-01-31 10:00:00.000120", None, "2026-01-31T10:00:00.000120Z"),
        ("2026-01-01 10:00:00", "2026-01-01T08:00:00Z", "2026-01-01T08:00:00Z"),
        ("2026-01-01T10:00:00+02:00", None, "2026-01-01T08:00:00Z"),
        ("2026-02-30 10:00:00", None, None),
        ("2026-02-03 24:00:01", None, None),
        ("0001-01-01T00:00:00+05:00", None, None),
        ("0000-01-01 00:00:00", None, None),
        ("2026-W05-1 10:00:00", None, "2026-01-26T10:00:00Z"),
        ("2026-01-01 100000.5", None, "2026-01-01T10:00:00.500000Z"),
        ("2026-01-01 10:00+01", None, "2026-01-01T09:00:00Z"),
        ("yesterday", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_instants(stored: str | None, at: str | None, meant: str | None) -> None:
    assert rfc3339(stored, at) == meant == format_time(instant(stored, at))


@given(st.datetimes(), st.booleans())
def test_the_quick_way_says_the_same(at: datetime, whole: bool) -> None:
    stored = str(at.replace(microsecond=0) if whole else at)
    assert rfc3339(stored, None) == format_time(at.replace(tzinfo=UTC, microsecond=0 if whole else at.microsecond))


@given(st.text("0123456789-: .T", min_size=19, max_size=26))
def test_what_is_usual_is_a_time(text: str) -> None:
    assert not is_usual(text) or instant(text, None) is not None


@given(st.text("0123456789-: .TW+Z", min_size=19, max_size=19))
def test_whatever_is_a_time_is_written_like_one(text: str) -> None:
    assert rfc3339(text, None) == format_time(instant(text, None))


def test_items_by_their_values_are_the_same_items() -> None:
    items = (StoredItem(1, "2026-01-01 10:00:00", None, "one"), StoredItem("b", None, "2026-01-01T10:00:00Z", "zwölf"))
    by_value = columns(items)
    assert columns(by_value) is by_value
    assert (len(by_value), tuple(by_value), list(by_value.texts)) == (2, items, ["one", "zwölf"])
    assert (by_value[0], by_value[-1], by_value[1:]) == (items[0], items[1], items[1:])
    assert octets_of(by_value) == octets_of(items) == 9
    assert not columns(())
    assert octets_of(columns(())) == 0
