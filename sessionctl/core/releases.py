"""Releases of the SDK, where it matters which one writes to a store."""

from __future__ import annotations

import re

LOCKS_SESSIONS = (0, 23, 1)
"""From here on SQLAlchemySession locks a session's row before it changes anything (sqlalchemy_session.py)."""
_RELEASE = re.compile(r"\d+(\.\d+){0,3}", re.ASCII)


def parse_release(text: str) -> tuple[int, ...]:
    """``"0.19.4"`` -> (0, 19, 4). Raises ValueError with a sentence for the user."""
    if not _RELEASE.fullmatch(text):
        raise ValueError(f"{text!r} is no release of the SDK: write it like 0.23.1")
    return tuple(int(part) for part in text.split("."))
