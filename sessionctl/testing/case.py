"""What the contract suite needs to know of a kind of store, and the texts it torments stores with."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from sessionctl.core.address import StoreAddress
from sessionctl.stores.base import Store

JsonObject = Mapping[str, Any]
"""One item as the SDK takes it."""

Appender = Callable[[Sequence[JsonObject]], None]
"""Appends one batch through a session object that stays open."""


class StoreCase(Protocol):
    """One empty store, which the SDK's own session class fills; made anew for each test.

    Nothing here goes through the adapter under test except ``open``. What is *raw* is done past the SDK
    too, with the backend's own means.
    """

    flavour: str
    """The SDK session class that ``StoreInfo.flavour`` must name."""

    longest_id: int
    """Characters a session id may have at most."""

    distinct: Collection[str]
    """Of ``case`` and ``space``: what tells ids apart here (``u1``/``U1``, ``u1``/``u1 ``)."""

    residue: frozenset[str]
    """Tables in which a deleted session rightly leaves a row."""

    def open(self) -> Store:
        """The adapter's store, opened anew."""

    def write(self, session_id: str, *batches: Sequence[JsonObject]) -> None:
        """Append each batch by one ``add_items`` of the SDK, then let go of everything."""

    def read(self, session_id: str) -> list[Any]:
        """What the SDK reads back."""

    def pop(self, session_id: str) -> Any:
        """The SDK's ``pop_item``."""

    def live(self, session_id: str) -> AbstractContextManager[Appender]:
        """An application that holds the session open for the time of the block."""

    def stamp(
        self,
        session_id: str,
        *,
        updated_at: datetime | None = None,
        created_at: datetime | None = None,
        items_at: datetime | None = None,
    ) -> None:
        """Raw: set the session's times and those of all its items; None leaves them. Whole seconds, aware."""

    def unstamp(self, session_id: str) -> bool:
        """Raw: make the session's times unknown. False where the store cannot lack them."""

    def put_raw(self, session_id: str, text: str) -> None:
        """Raw: append one item of any text, as no SDK would write it."""

    def texts(self, session_id: str) -> list[str]:
        """Raw: the stored texts, in the order in which the SDK reads them."""

    def remains(self, session_id: str) -> set[str]:
        """Raw: the tables that hold any row of the session, or a row hanging on one of its items."""

    def fingerprint(self) -> object:
        """Raw: all that a read must not change: rows, tables, files and their bytes."""

    def connections(self) -> int:
        """Connections or open files that an adapter has on the store at this moment."""

    def absent(self) -> StoreAddress:
        """An address of this kind where there is nothing."""

    def foreign(self) -> StoreAddress:
        """The address of something of this kind that is no session store: it has a table ``customers``."""


def user(text: str) -> dict[str, Any]:
    """A user's item."""
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    """An answer as the SDK stores it."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}


def turn(number: int) -> list[dict[str, Any]]:
    """A turn with a tool call: four items of different sizes."""
    call = {"call_id": f"call_{number}", "type": "function_call", "name": "look_up", "arguments": f'{{"n": {number}}}'}
    return [
        user(f"question {number}"),
        call,
        {"call_id": f"call_{number}", "type": "function_call_output", "output": "rain " * (number % 7)},
        assistant(f"answer {number}"),
    ]


HOSTILE_IDS = {
    "quotes": """it's "quoted" `back` \\ slash""",
    "percent": "100%_sure%s%(x)s",
    "colon": "tenant:7:user:9 :name :1",
    "slash": "../../etc/passwd?x=1&y=2#z",
    "newline": "line one\nline two\ttab",
    "emoji": "👩‍👩‍👧 done ✅",
    "rtl": "مرحبا שלום",
    "bidi": "safe\u202egnp.exe",
    "sql": "'; DROP TABLE agent_messages; --",
    "glob": "[a-z]*?{x}",
    "nul-like": "a\\u0000b",
    "one": "x",
}
"""Session ids that a store must carry unharmed."""

HOSTILE_ITEMS: dict[str, dict[str, Any]] = {
    "nul": user("before\x00after"),
    "surrogate": user("half \ud83d of a pair"),
    "escape": user("\x1b[31mred\x1b[0m \x07 \x9b2J"),
    "nan": {"role": "user", "content": "n", "score": math.nan, "limit": math.inf},
    "large": user("0123456789abcdef" * 65536),
    "unicode": user("naïve 日本語 العربية 👩‍👩‍👧 \u202e"),
    "separators": user("a\u2028b\u2029c\r\n\ttab"),
    "backslashes": user('\\ \\\\ \\" \\u0041 %s %% {} '),
    "empty": {"role": "user", "content": ""},
    "nested": user("[" * 400 + "]" * 400),
}
"""Items that the SDK writes as they are. The large one is a megabyte."""

BROKEN_TEXTS = {"broken": '{"role": "user", "content": "cut of', "number": "42", "array": "[1, 2]", "empty": ""}
"""Stored texts that no SDK writes: some it skips when it reads, some it returns as they are."""
