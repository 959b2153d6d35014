"""The table in which SQL stores keep their holds: its name, its columns, and the statement that makes it.

It lies in the schema of the SDK's own tables, whatever these are called, and is made on the first hold. Times
are UTC as text of one length, so that every engine keeps and compares them alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sessionctl.core.hold import Hold, HoldKind, HoldOrigin
from sessionctl.core.model import Outcome, Put
from sessionctl.errors import StoreNotUnderstood

TABLE = "sessionctl_holds"
COLUMNS = ("hold_id", "kind", "value", "reason", "who", "since", "until", "origin", "yields")
DDL: Mapping[str, str] = {
    "sqlite": """\
CREATE TABLE IF NOT EXISTS {table} (
    hold_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    reason TEXT NOT NULL,
    who TEXT NOT NULL,
    since TEXT NOT NULL,
    until TEXT,
    origin TEXT NOT NULL,
    yields INTEGER NOT NULL,
    PRIMARY KEY (value, kind, hold_id)
) WITHOUT ROWID""",
    "postgresql": """\
CREATE TABLE IF NOT EXISTS {table} (
    hold_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    reason TEXT NOT NULL,
    who TEXT NOT NULL,
    since TEXT NOT NULL,
    until TEXT,
    origin TEXT NOT NULL,
    yields BOOLEAN NOT NULL,
    PRIMARY KEY (value, kind, hold_id)
)""",
    "mysql": """\
CREATE TABLE IF NOT EXISTS {table} (
    number BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    hold_id VARCHAR(32) NOT NULL,
    kind VARCHAR(8) NOT NULL,
    value VARCHAR(768) NOT NULL,
    reason TEXT NOT NULL,
    who VARCHAR(512) NOT NULL,
    since VARCHAR(32) NOT NULL,
    until VARCHAR(32),
    origin VARCHAR(16) NOT NULL,
    yields BOOLEAN NOT NULL,
    KEY (value(191))
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin""",
}
"""By dialect; ``{table}`` is the quoted name, with its schema where it needs one."""


def row_of(hold: Hold) -> tuple[Any, ...]:
    """The values of ``COLUMNS``."""
    since, until = stamp(hold.since), hold.until and stamp(hold.until)
    kind, origin = str(hold.kind), str(hold.origin)
    return hold.hold_id, kind, hold.value, hold.reason, hold.who, since, until, origin, hold.yields


def hold_of(row: Sequence[Any]) -> Hold:
    """The hold of a row of ``COLUMNS``. Raises StoreNotUnderstood for what this release does not write."""
    hold_id, kind, value, reason, who, since, until, origin, yields = row
    try:
        return Hold(
            hold_id=hold_id,
            kind=HoldKind(kind),
            value=value,
            reason=reason,
            who=who,
            since=datetime.fromisoformat(since),
            until=None if until is None else datetime.fromisoformat(until),
            origin=HoldOrigin(origin),
            yields=bool(yields),
        )
    except (ValueError, TypeError) as error:
        raise StoreNotUnderstood(
            f"the hold {hold_id} in {TABLE} is none that this release understands: nothing is changed beside it"
        ) from error


def holds_on(hold: Hold, puts: Sequence[Put], outcomes: Sequence[Outcome]) -> list[Hold]:
    """``hold`` under the id of each session that was put in."""
    done = (put for put, outcome in zip(puts, outcomes, strict=True) if outcome is Outcome.DONE)
    return [replace(hold, kind=HoldKind.ID, value=put.session_id) for put in done]


@lru_cache(maxsize=16)  # those placed together share theirs
def stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
