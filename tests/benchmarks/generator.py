"""Sessions as a busy agent service leaves them, the same for the same scale, as rows for any engine to load.

Items are real SDK shapes (user message, function call, its output, answer) of 300 to 1,600 octets. Fifty
conversations are held at a time and append in turn, so that the rows of one lie scattered between those of
others. Ids are random UUIDs. Last activities are spread evenly over 120 days and end an hour ago, so that
no session counts as active.
"""

from __future__ import annotations

import json
import random
import re
import uuid
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

SPAN = timedelta(days=120)
IDLE = timedelta(hours=1)
AT_A_TIME = 50
SMALLEST, LARGEST = 300, 1600
_POOL = 200
_WORDS = re.findall(
    r"\w+",
    """
    the your order was shipped on Monday and arrives tomorrow please confirm address refund amount account flight
    from Zürich to São Paulo seat change fee policy customer asked again because invoice shows wrong total we
    checked warehouse status pending carrier said delay of two days would you like replacement
    """,
)
_QUESTION, _CALL, _OUTPUT, _ANSWER = range(4)
_BATCHES = ((_QUESTION, 1), (_CALL, 2), (_ANSWER, 1))
"""What each ``add_items`` of a turn appends: the item it begins with, and how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large a store is: ``items`` is the number of items of each session."""

    sessions: int
    items: int
    seed: int = 20


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A row of the sessions table."""

    id: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ItemRow:
    """A row of the messages table, without its key: they come in the order of their keys."""

    session_id: str
    text: str
    created_at: datetime


class Generated:
    """The rows of one store. Both streams may be read as often as needed and never differ.

    ``middle``: sessions stamped before it are the older half, ``older`` of them.
    """

    def __init__(self, scale: Scale, now: datetime, *, compact: bool) -> None:
        """``compact``: JSON as SQLAlchemySession writes it, else as SQLiteSession does."""
        self.scale = scale
        self._last = now.astimezone(UTC).replace(microsecond=0) - IDLE
        self._pieces = _pieces(scale.seed, (",", ":") if compact else (", ", ": "))
        pick = random.Random(scale.seed)
        self._ids = [str(uuid.UUID(int=pick.getrandbits(128), version=4)) for _ in range(scale.sessions)]
        self._appends = scale.sessions * _appends_of(scale.items)
        self._first, self._final = array("Q", [0] * scale.sessions), array("Q", [0] * scale.sessions)
        for number, (session, begins_at, _) in enumerate(self._schedule()):
            if not begins_at:
                self._first[session] = number
            self._final[session] = number
        stamps = sorted(self._at(number) for number in self._final)
        self.middle = stamps[len(stamps) // 2]
        self.older = sum(stamp < self.middle for stamp in stamps)

    def sessions(self) -> Iterator[SessionRow]:
        """In the order of their first append."""
        for session in sorted(range(self.scale.sessions), key=self._first.__getitem__):
            yield SessionRow(self._ids[session], self._at(self._first[session]), self._at(self._final[session]))

    def items(self) -> Iterator[ItemRow]:
        """In the order in which they were appended."""
        for number, (session, begins_at, count) in enumerate(self._schedule()):
            at, session_id = self._at(number), self._ids[session]
            for place in range(begins_at, begins_at + count):
                yield ItemRow(session_id, self._text(session, place), at)

    def newest(self, count: int) -> list[str]:
        """Ids of the most recently active sessions, in no particular order."""
        last = sorted(range(self.scale.sessions), key=self._final.__getitem__, reverse=True)[:count]
        return [self._ids[session] for session in last]

    def spread(self, count: int) -> list[str]:
        """Ids of so many sessions of the older half, evenly spread over it; all of it if there are no more."""
        older = [s for s in range(self.scale.sessions) if self._at(self._final[s]) < self.middle]
        return [self._ids[s] for s in older[:: max(1, len(older) // count)][:count]]

    def _at(self, number: int) -> datetime:
        """When the append of this number was made, by whole seconds."""
        share = (number + 1) / self._appends
        return self._last - timedelta(seconds=int(SPAN.total_seconds() * (1 - share)))

    def _schedule(self) -> Iterator[tuple[int, int, int]]:
        """Every append as (session, its first item's place, number of items)."""
        steps = list(_steps(self.scale.items))
        pick = random.Random(self.scale.seed + 1).random
        waiting = iter(range(self.scale.sessions))
        held = [[session, 0] for _, session in zip(range(AT_A_TIME), waiting, strict=False)]
        while held:
            at = int(pick() * len(held))
            session, step = held[at]
            yield session, *steps[step]
            held[at][1] = step + 1
            if step + 1 == len(steps):
                follower = next(waiting, None)
                held[at] = held[-1] if follower is None else [follower, 0]
                if follower is None:
                    held.pop()

    def _text(self, session: int, place: int) -> str:
        head, tail = self._pieces[place % 4][(session * 31 + place * 7) % _POOL]
        return f"{head}{session:08x}{place // 4:08x}{tail}"


def _appends_of(items: int) -> int:
    return sum(1 for _ in _steps(items))


def _steps(items: int) -> Iterator[tuple[int, int]]:
    """The appends of a session of so many items; the last turn may be cut short."""
    for turn in range(0, items, 4):
        for first, count in _BATCHES:
            if turn + first < items:
                yield turn + first, min(count, items - turn - first)


def _pieces(seed: int, separators: tuple[str, str]) -> list[list[tuple[str, str]]]:
    """For each kind of item a pool of stored texts, cut in two where the number of the session and turn goes."""
    pick = random.Random(seed)
    return [[_piece(kind, pick, separators) for _ in range(_POOL)] for kind in range(4)]


def _piece(kind: int, pick: random.Random, separators: tuple[str, str]) -> tuple[str, str]:
    wanted = pick.randint(SMALLEST, LARGEST)
    words = " ".join(pick.choices(_WORDS, k=LARGEST // 3))

    def stored(length: int) -> str:
        return json.dumps(_item(kind, words[:length]), separators=separators)

    length = max(0, wanted - len(stored(0)) - 15)  # the mark is one character, the number that replaces it 16
    text = stored(length)
    while len(text) + 15 > wanted and length:
        length = max(0, length - max(1, (len(text) + 15 - wanted) // 6))  # six octets may stand for one character
        text = stored(length)
    head, _, tail = text.partition("#")
    return head, tail


def _item(kind: int, words: str) -> dict[str, object]:
    """An item as the SDK stores it; ``#`` marks the place of the number."""
    if kind == _QUESTION:
        return {"content": f"(case #) {words}", "role": "user"}
    if kind == _CALL:
        arguments = json.dumps({"order_id": "W4776164", "reason": words})
        call = {"arguments": arguments, "call_id": "call_#", "name": "modify_pending_order", "type": "function_call"}
        return call | {"id": "__fake_id__", "status": "completed"}
    if kind == _OUTPUT:
        output = json.dumps({"status": "pending", "items": [{"name": "keyboard", "price": 119.5}], "note": words})
        return {"call_id": "call_#", "output": output, "type": "function_call_output"}
    content = [{"annotations": [], "text": words, "type": "output_text", "logprobs": []}]
    return {"id": "msg_#", "content": content, "role": "assistant", "status": "completed", "type": "message"}
