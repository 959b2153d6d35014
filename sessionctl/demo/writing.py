"""Conversations into a new SQLite store: appended by the SDK's own session class, then dated back."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sessionctl.demo.script import Conversation

if TYPE_CHECKING:
    from agents import SQLiteSession


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a new store holds."""

    path: Path
    sessions: int
    items: int


def write_store(path: Path, conversations: Sequence[Conversation], now: datetime) -> Written:
    """Write ``conversations`` into the new SQLite file ``path``, as old as they say at ``now`` (aware).

    Directories are made. The file appears when it is complete; raises FileExistsError rather than touch one
    that is there, and OSError where it cannot be written.
    """
    if path.exists():
        raise FileExistsError(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=path.parent) as place:
        unfinished = Path(place, path.name)
        asyncio.run(_write(unfinished, conversations, now))
        with closing(sqlite3.connect(unfinished)) as db:
            items = int(db.execute("SELECT count(*) FROM agent_messages").fetchone()[0])
        path.touch(exist_ok=False)  # moving the file there would silently replace what came meanwhile
        unfinished.replace(path)
    return Written(path=path, sessions=len(conversations), items=items)


async def _write(path: Path, conversations: Sequence[Conversation], now: datetime) -> None:
    from agents import SQLiteSession  # takes seconds: imported by nothing but this

    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")  # an unfinished file is thrown away
        for conversation in conversations:
            session = SQLiteSession(conversation.session_id, path)
            try:
                await _append(session, db, conversation, now)
            finally:
                session.close()


async def _append(session: SQLiteSession, db: sqlite3.Connection, conversation: Conversation, now: datetime) -> None:
    stamps = [_stamp(now - age) for age in conversation.ages()]
    for number, (batch, stamp) in enumerate(zip(conversation.batches, stamps, strict=True)):
        newest = db.execute("SELECT coalesce(max(id), 0) FROM agent_messages").fetchone()[0]
        items: list[Any] = [*batch]
        await session.add_items(items)
        if number in conversation.torn:
            row = (conversation.session_id, conversation.torn[number])
            db.execute("INSERT INTO agent_messages (session_id, message_data) VALUES (?, ?)", row)
        db.execute("UPDATE agent_messages SET created_at = ? WHERE id > ?", (stamp, newest))
    if conversation.withdrawn:
        await session.pop_item()
    times = (stamps[0], stamps[-1], conversation.session_id)
    db.execute("UPDATE agent_sessions SET created_at = ?, updated_at = ? WHERE session_id = ?", times)


def _stamp(at: datetime) -> str:
    """A time as SQLite's CURRENT_TIMESTAMP writes it."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
