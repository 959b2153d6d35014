"""The item that stands for turns which went: what it says of itself, so that people, models and later trims know it.

It has the shape in which the SDK keeps a nested history, an assistant's message: what users once wrote must not come
back with the voice of the developer. Its first line tells who made it, of what and when; the text is between two marks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sessionctl.core.payload import Payload
from sessionctl.core.units import count, format_second, parse_time

_BEGIN, _END = "<SUMMARY>", "</SUMMARY>"
_FORM = re.compile(
    r"For context, a summary of ([\d,]+) earlier turns? \(([\d,]+) items?(?:, from (\S+) to (\S+))?\) "
    r"of this conversation, written in their place by (.+) through sessionctl at (\S+):\n"
    rf"{_BEGIN}\n(.*)\n{_END}",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What ``by`` (a model) wrote ``at`` a time of turns that went; ``since`` and ``until`` are None without times."""

    text: str
    turns: int
    items: int
    since: datetime | None
    until: datetime | None
    by: str
    at: datetime

    @property
    def item(self) -> dict[str, Any]:
        """The item to be stored."""
        span = f", from {format_second(self.since)} to {format_second(self.until)}" if self.since and self.until else ""
        said = (
            f"For context, a summary of {count(self.turns, 'earlier turn')} ({count(self.items, 'item')}{span}) "
            f"of this conversation, written in their place by {' '.join(self.by.split())} through sessionctl "
            f"at {format_second(self.at)}:"
        )
        return {"role": "assistant", "content": f"{said}\n{_BEGIN}\n{self.text}\n{_END}"}


def read_summary(payload: Payload) -> Summary | None:
    """The summary that an item is; None for any other."""
    if payload.role != "assistant" or payload.type != "message":
        return None
    content = payload.fields.get("content")
    found = _FORM.fullmatch(content) if isinstance(content, str) else None
    if found is None:
        return None
    turns, items, since, until, by, at, text = found.groups()
    try:
        return Summary(
            text=text, turns=int(turns.replace(",", "")), items=int(items.replace(",", "")), by=by, at=parse_time(at),
            since=parse_time(since) if since else None, until=parse_time(until) if until else None,
        )  # fmt: skip
    except ValueError:
        return None


def stands_for_others(payload: Payload) -> bool:
    """Is it a summary, or the compaction by the API: something without which what went is missing?"""
    return payload.type == "compaction" or read_summary(payload) is not None
