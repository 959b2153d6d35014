"""Summaries know themselves again, and nothing else is taken for one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.payload import read_item
from sessionctl.core.summary import Summary, read_summary, stands_for_others
from sessionctl.testing.case import assistant, user

AT = datetime(2026, 11, 30, 10, 9, 58, tzinfo=UTC)
SECONDS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)).map(lambda at: at.replace(microsecond=0, tzinfo=UTC))  # noqa: DTZ001 - the zone is added


@given(
    text=st.text(), turns=st.integers(0, 10_000), items=st.integers(0, 10_000_000), since=SECONDS | st.none(),
    by=st.sampled_from(["gpt-5.4-mini", "ft:gpt-4.1:org::x", "a model through sessionctl at home"]),
)  # fmt: skip
def test_what_was_written_is_read(text: str, turns: int, items: int, since: datetime | None, by: str) -> None:
    until = since + timedelta(hours=1) if since else None
    summary = Summary(text=text, turns=turns, items=items, since=since, until=until, by=by, at=AT)
    payload = read_item(json.dumps(summary.item))
    assert read_summary(payload) == summary
    assert (payload.type, payload.role, payload.is_user) == ("message", "assistant", False)


def test_it_says_what_it_is() -> None:
    summary = Summary(
        text="All is well.", turns=1, items=4, since=AT, until=AT + timedelta(minutes=5), by="gpt-5.4-mini", at=AT
    )
    assert summary.item["content"] == (
        "For context, a summary of 1 earlier turn (4 items, from 2026-11-30T10:09:58Z to 2026-11-30T10:14:58Z) "
        "of this conversation, written in their place by gpt-5.4-mini through sessionctl at 2026-11-30T10:09:58Z:\n"
        "<SUMMARY>\nAll is well.\n</SUMMARY>"
    )


def test_nothing_else_is_one() -> None:
    content = Summary(text="x", turns=1, items=4, since=None, until=None, by="m", at=AT).item["content"]
    others = [
        user(content), assistant(content), {"role": "assistant", "content": content + " And more."},
        {"role": "assistant", "content": "Well. " + content}, {"role": "developer", "content": content},
        {"role": "assistant", "content": content.replace("2026-11-30T", "2026-31-30T")},
    ]  # fmt: skip
    assert [read_summary(read_item(json.dumps(item))) for item in others] == [None] * len(others)
    assert stands_for_others(read_item(json.dumps({"type": "compaction", "encrypted_content": "x"})))
    assert not stands_for_others(read_item(json.dumps(user("hello"))))
