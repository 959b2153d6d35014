"""Items as servers tell them together: told apart as they are, or not at all."""

from __future__ import annotations

import pytest

from sessionctl.core.joined import NO_ITEMS, in_order, joined
from sessionctl.core.record import rfc3339

STAMP = b"2026-01-01 10:00:00"


def rows(keys: bytes, stamps: bytes, texts: bytes) -> list[tuple[object, str | None, str]] | None:
    items = joined(keys, stamps, texts)
    return None if items is None else [(key, rfc3339(stored, at), text) for key, stored, at, text in items]


def test_items_are_told_apart() -> None:
    assert rows(b"7,9", STAMP + b"\n" + STAMP, '{"é":1}\n'.encode()) == [
        (7, "2026-01-01T10:00:00Z", '{"é":1}'), (9, "2026-01-01T10:00:00Z", ""),
    ]  # fmt: skip
    assert list(NO_ITEMS) == []


def test_they_come_by_time_and_then_by_key() -> None:
    stamps = b"\n".join((b"2026-01-01 10:00:00.5", STAMP, STAMP, b"2026-01-01 09:59:59.123456", STAMP + b".1"))
    assert rows(b"1,10,9,12,2", stamps, b"e\nc\nb\na\nd") == [
        (12, "2026-01-01T09:59:59.123456Z", "a"),
        (9, "2026-01-01T10:00:00Z", "b"),
        (10, "2026-01-01T10:00:00Z", "c"),
        (2, "2026-01-01T10:00:00.100000Z", "d"),
        (1, "2026-01-01T10:00:00.500000Z", "e"),
    ]


@pytest.mark.parametrize(
    ("keys", "stamps", "texts"),
    [
        (b"1,2", STAMP + b"\n" + STAMP, b"{}"),
        (b"1", STAMP, b"{\n}"),
        (b"1,2", STAMP, b"{}\n{}"),
        (b"1", STAMP, b"\xff"),
        (b"1", b"infinity", b"{}"),
        (b"1", STAMP + b" BC", b"{}"),
        (b"1", b"01/01/2026 10:00:00", b"{}"),
        (b"1", b"12026-01-01 10:00:00", b"{}"),
        (b"1", STAMP + b".", b"{}"),
    ],
)
def test_what_cannot_be_told_apart_for_certain_is_not(keys: bytes, stamps: bytes, texts: bytes) -> None:
    assert rows(keys, stamps, texts) is None


@pytest.mark.parametrize(
    ("key", "stamp", "text"),
    [
        (b"1", STAMP, b"{}"),
        (1.0, STAMP, b"{}"),
        (True, STAMP, b"{}"),
        (1, STAMP, b"{\n}"),
        (1, STAMP, b"\xff"),
        (1, STAMP + b".5", b"{}"),
        (1, STAMP + b"Z", b"{}"),
        (1, b"2026-02-30 10:00:00", b"{}"),
        (1, b"", b"{}"),
    ],
)
def test_what_is_in_order_is_taken_only_as_it_mostly_is(key: object, stamp: bytes, text: bytes) -> None:
    assert in_order([key, 2], [stamp, STAMP], [text, b"{}"]) is None
    items = in_order([1, -2], [STAMP, b"2025-01-01 00:00:00"], [b"{}", "é".encode()])
    assert items is not None
    assert list(items) == [(1, None, "2026-01-01T10:00:00Z", "{}"), (-2, None, "2025-01-01T00:00:00Z", "é")]
