"""What tables are to be like, how live ones differ from that, and the indexes that maintenance wants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sessionctl.core.finding import OF_SCHEMA, Finding, gravest_first
from sessionctl.core.selector import Query
from sessionctl.errors import Unsupported
from sessionctl.operations.doctor import of_any_store
from sessionctl.stores.base import Store
from sessionctl.stores.holds_table import DDL, TABLE
from sessionctl.stores.schema import schema_of

MANY_SESSIONS = 100_000
"""From so many on, a pass over the sessions takes longer than the index costs appends."""
_NO_ROWS = Query(named=frozenset())


def printed(dialect: str, options: Mapping[str, str], *, notes: bool) -> tuple[str, ...]:
    """The statements that make a store: the SDK's two tables, and sessionctl's own where ``notes`` are wanted."""
    statements = schema_of(dialect, options).statements
    return (*statements, DDL[dialect].format(table=TABLE)) if notes else statements


def check(store: Store) -> tuple[Finding, ...]:
    """How the tables differ from what the SDK expects, gravest first; no row is looked at."""
    found = [*store.findings(_NO_ROWS), *of_any_store(store)]
    return tuple(sorted((each for each in found if each.kind in OF_SCHEMA), key=gravest_first))


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index that a store lacks: what it is for, the statement, and whether this store is better with it."""

    serves: str
    statement: str
    needed: bool


def indexes(store: Store) -> Iterator[Index]:
    """The indexes that ``store`` lacks."""
    for finding in store.findings(_NO_ROWS):
        if finding.kind in ("missing_index", "legacy_index") and finding.fix:
            yield Index(serves=finding.says, statement=finding.fix, needed=True)
    try:
        statement = store.activity_index()
    except Unsupported:
        return
    if statement:
        sessions = store.census(store.now()).sessions
        serves = f"listing and purging by age without a pass over all {sessions:,} sessions; each append writes to it"
        yield Index(serves=serves, statement=statement, needed=sessions >= MANY_SESSIONS)
