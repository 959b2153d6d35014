"""The contract on the store in memory, which other tests take for a real one.

No SDK class writes it: the case does what the SDK's SQLiteSession does.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from sessionctl.core.address import StoreAddress, parse_address
from sessionctl.core.model import Item, SessionRef, Want
from sessionctl.core.selector import Query
from sessionctl.stores.memory import MemoryStore
from sessionctl.testing import (
    TestDeleting,
    TestForeseeing,
    TestHolding,
    TestListing,
    TestPaging,
    TestQuerying,
    TestReading,
    TestRechecking,
    TestReturning,
    TestReturningParts,
    TestRewriting,
    TestRewritingRecheck,
    TestSearching,
    TestSizing,
)
from sessionctl.testing.case import Appender

__all__ = [
    "TestDeleting",
    "TestForeseeing",
    "TestHolding",
    "TestListing",
    "TestPaging",
    "TestQuerying",
    "TestReading",
    "TestRechecking",
    "TestReturning",
    "TestReturningParts",
    "TestRewriting",
    "TestRewritingRecheck",
    "TestSearching",
    "TestSizing",
]


class MemoryCase:
    """One store, which stays the same however often it is opened; its clock follows the real one."""

    flavour = "MemoryStore"
    longest_id = 1000
    distinct = ("case", "space")
    residue: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.store = MemoryStore()
        self._tick()

    def _tick(self) -> None:
        self.store.clock = datetime.now(UTC)

    def _ref(self, session_id: str) -> SessionRef | None:
        return self.store.session(session_id, Want.VERSION)

    def open(self) -> MemoryStore:
        self._tick()
        return self.store

    def write(self, session_id: str, *batches: Sequence[Mapping[str, Any]]) -> None:
        for batch in batches:
            self._tick()
            self.store.append(session_id, *map(json.dumps, batch))

    def read(self, session_id: str) -> list[Any]:
        found = []
        for text in self.texts(session_id):
            with contextlib.suppress(ValueError):
                found.append(json.loads(text))
        return found

    def pop(self, session_id: str) -> Any:
        return json.loads(self.store.pop(session_id).text)

    @contextlib.contextmanager
    def live(self, session_id: str) -> Iterator[Appender]:
        yield lambda batch: self.write(session_id, batch)

    def stamp(
        self,
        session_id: str,
        *,
        updated_at: datetime | None = None,
        created_at: datetime | None = None,
        items_at: datetime | None = None,
    ) -> None:
        ref = self._ref(session_id)
        assert ref is not None
        items_at = items_at or updated_at or ref.newest_item_at
        self.store.stamp(
            session_id,
            updated_at=updated_at or ref.updated_at,
            created_at=created_at or ref.created_at,
            items_at=items_at,
        )

    def unstamp(self, session_id: str) -> bool:
        ref = self._ref(session_id)
        assert ref is not None
        self.store.stamp(session_id, updated_at=None, created_at=None, items_at=ref.newest_item_at)
        return True

    def put_raw(self, session_id: str, text: str) -> None:
        self.store.append(session_id, text)

    def _items(self, session_id: str) -> list[Item]:
        return list(self.store.items(session_id))

    def texts(self, session_id: str) -> list[str]:
        return [item.text for item in self._items(session_id)]

    def remains(self, session_id: str) -> set[str]:
        return {"sessions"} if self._ref(session_id) or self._items(session_id) else set()

    def fingerprint(self) -> object:
        refs = self.store.sessions(Query(), want=Want.SIZE | Want.VERSION)
        return [(ref, tuple(self._items(ref.id))) for ref in refs]

    def connections(self) -> int:
        return 0

    def absent(self) -> StoreAddress:
        return parse_address("memory://absent")

    def foreign(self) -> StoreAddress:
        return parse_address("memory://foreign")


@pytest.fixture
def case() -> MemoryCase:
    """An empty store."""
    return MemoryCase()
