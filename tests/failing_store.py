"""A store that does what it is told to do wrong, around one that works."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sessionctl.core.model import Change, Guard, Item, Outcome, SessionRef
from sessionctl.errors import SessionctlError
from sessionctl.stores.base import Store

Before = Callable[[int, Sequence[Change]], None]


class FailingStore(Store):
    """Passes everything on. ``before_batch`` is called with the number of each batch (from 0) and its changes.

    It may raise, as a store whose connection breaks does, or change the store beneath, as its application
    does. ``after_batch`` comes behind the change: an error there is a COMMIT whose answer was lost.
    """

    def __init__(self, inner: Store, *, before_batch: Before | None = None, after_batch: Before | None = None) -> None:
        self.inner, self.address = inner, inner.address
        self.capabilities = inner.capabilities  # type: ignore[misc]  # the port has it per class
        self.before_batch, self.after_batch = before_batch, after_batch
        self.batches: list[list[str]] = []

    def apply(self, changes: Sequence[Change], guard: Guard) -> Sequence[Outcome]:
        number = len(self.batches)
        self.batches.append([change.session_id for change in changes])
        if self.before_batch:
            self.before_batch(number, changes)
        outcomes = self.inner.apply(changes, guard)
        if self.after_batch:
            self.after_batch(number, changes)
        return outcomes

    def settle(self) -> int:
        return self.inner.settle()

    def holds(self) -> Any:
        return self.inner.holds()

    def lag(self) -> Any:
        return self.inner.lag()

    def now(self) -> Any:
        return self.inner.now()

    def info(self) -> Any:
        return self.inner.info()

    def census(self, ahead_of: Any) -> Any:
        return self.inner.census(ahead_of)

    def sessions(self, query: Any, **how: Any) -> Iterator[SessionRef]:
        return self.inner.sessions(query, **how)

    def items(self, session_id: str, *, last: int | None = None) -> Iterator[Item]:
        return self.inner.items(session_id, last=last)

    def find(self, session_ids: Sequence[str], needle: str) -> Iterator[tuple[str, Item]]:
        return self.inner.find(session_ids, needle)

    def sample(self, count: int) -> Iterator[Item]:
        return self.inner.sample(count)

    @property
    def spent(self) -> Any:  # type: ignore[override]
        return self.inner.spent

    def volume(self) -> Any:
        return self.inner.volume()

    def usage(self) -> Any:
        return self.inner.usage()

    def preflight(self, query: Any, planned: Any) -> Any:
        return self.inner.preflight(query, planned)

    def close(self) -> None:
        self.inner.close()


def breaks_at(batch: int) -> Before:
    """A connection that is lost when this batch is sent."""

    def before(number: int, _changes: Sequence[Change]) -> None:
        if number == batch:
            raise SessionctlError("the connection was lost")

    return before
