"""What keeps a ledger: a database with two tables, its own clock, and transactions.

Statements are SQL that every one of them takes, with ``:name`` for values and names in double quotes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from sessionctl.errors import LedgerUnavailable

LAYOUT = 3
"""Of the tables below; one that is newer is left alone."""
TABLES = (
    """
    CREATE TABLE IF NOT EXISTS {runs} (
        run_id {key} NOT NULL PRIMARY KEY,
        command {text} NOT NULL,
        store {text} NOT NULL,
        actor {text} NOT NULL,
        "user" {text} NOT NULL,
        host {text} NOT NULL,
        pid BIGINT NOT NULL,
        pid_space {text},
        reason {text},
        criteria {text} NOT NULL,
        digest {text},
        started_at {text} NOT NULL,
        heartbeat_at {text} NOT NULL,
        ended_at {text},
        stopped {text},
        counts {text} NOT NULL,
        error {text},
        archive {text},
        undoes {key}
    ){options}
    """,
    """
    CREATE TABLE IF NOT EXISTS {segments} (
        run_id {key} NOT NULL,
        number BIGINT NOT NULL,
        name {text} NOT NULL,
        sessions BIGINT NOT NULL,
        items BIGINT NOT NULL,
        bytes BIGINT NOT NULL,
        sha256 {text} NOT NULL,
        sealed_at {text} NOT NULL,
        committed_at {text},
        kept {text} NOT NULL,
        returned {text} NOT NULL,
        PRIMARY KEY (run_id, number)
    ){options}
    """,
)
"""Times are RFC 3339 in UTC, lists and counts JSON."""


class Rows(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Transaction(Protocol):
    """Statements that take effect together."""

    def execute(self, statement: str, values: Mapping[str, Any], /) -> Rows: ...


class Database(ABC):
    """Safe from several threads.

    ``name`` is for the user, secrets masked; ``runs`` and ``segments`` are the tables. Every method raises
    LedgerUnavailable, with a sentence, where the database cannot be used, and so do transactions.
    """

    name: str
    runs: str
    segments: str

    @abstractmethod
    def make(self) -> None:
        """Make the tables where they are missing, or take them to this layout. It was written to when this returns."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Transaction]:
        """One snapshot."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[Transaction]:
        """Committed and on disk at the end of the block, undone by an exception."""

    @abstractmethod
    def layout(self, db: Transaction) -> int:
        """Of the tables; 0 where there are none yet. LedgerUnavailable where this release does not know it."""

    @abstractmethod
    def now(self, db: Transaction) -> datetime:
        """By the clock that all who use this ledger share."""

    def refuse_newer(self, layout: int) -> None:
        """LedgerUnavailable for a layout of later releases."""
        if layout > LAYOUT:
            raise unavailable(f"it is of a newer sessionctl (layout {layout}): {self.name}", hint="update sessionctl")


def unavailable(why: str, *, hint: str | None = None, transient: bool = False) -> LedgerUnavailable:
    """The error for the user."""
    return LedgerUnavailable(f"the ledger of runs cannot be used: {why}", hint=hint, transient=transient)
