"""The judge of the races is judged: each way to lose or mangle a session is a fault to it, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from sdk_process import Append
from soak.judging import Found, faults
from soak.race import ORIGINAL

from sessionctl.testing.case import user


def append(text: str, at: float, *, error: str | None = None) -> Append:
    return Append(session="s", items=[user(text)], at=at, latency=0.1, error=error)


FIRST, SECOND, BESIDE = append("first", 1.0), append("second", 2.0), append("beside", 2.05)
FAILED = append("failed", 3.0, error="IntegrityError")


def told(items: list[Any], appends: list[Append], *, row: bool = True, was_deleted: bool = False) -> list[str]:
    found = Found(rows={"s"} if row else set(), items={"s": items} if items else {})
    return list(faults("s", appends, found, was_deleted=was_deleted))


@pytest.mark.parametrize(
    ("items", "appends", "was_deleted"),
    [
        ([*ORIGINAL, user("first"), user("second")], [FIRST, SECOND], False),
        ([user("first"), user("second")], [FIRST, SECOND], True),
        ([user("first"), user("beside"), user("second")], [FIRST, SECOND, BESIDE], True),
        ([*ORIGINAL, user("first")], [FIRST, FAILED], False),
        (ORIGINAL, [FAILED], False),
    ],
    ids=["survived", "begun anew", "two at the same time", "one failed", "none was acknowledged"],
)
def test_whole_sessions_have_no_fault(items: list[Any], appends: list[Append], *, was_deleted: bool) -> None:
    assert told(items, appends, was_deleted=was_deleted) == []


def test_a_deleted_session_that_nobody_resumed_has_no_fault() -> None:
    assert told([], [], row=False, was_deleted=True) == []


@pytest.mark.parametrize(
    ("items", "appends", "was_deleted"),
    [
        ([*ORIGINAL[1:], user("first")], [FIRST], False),
        ([user("first")], [FIRST], False),
        ([*ORIGINAL, user("first")], [FIRST], True),
        ([ORIGINAL[-1], user("first")], [FIRST], True),
        ([*ORIGINAL, user("second")], [FIRST, SECOND], False),
        ([user("first"), user("first")], [FIRST], True),
        ([user("second"), user("first")], [FIRST, SECOND], True),
        ([*ORIGINAL, user("failed")], [FAILED], False),
        ([user("stranger"), user("first")], [FIRST], True),
        (ORIGINAL, [], False),
        ([], [], True),
    ],
    ids=[
        "half a past", "no past", "undeleted past", "rest of a past", "lost append", "doubled append", "wrong order",
        "a failed append is there", "an item of nobody", "resumed by nobody", "an empty row",
    ],
)  # fmt: skip
def test_every_breach_is_a_fault(items: list[Any], appends: list[Append], *, was_deleted: bool) -> None:
    assert len(told(items, appends, was_deleted=was_deleted)) == 1


def test_items_without_their_row_are_a_fault() -> None:
    assert "no row" in told([user("first")], [FIRST], row=False, was_deleted=True)[0]
