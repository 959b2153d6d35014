"""The real transcripts: found through ``$SESSIONCTL_TEST_TRANSCRIPTS``, written by the SDK, spread over the past.

A line of the file is one session: ``session_id``, ``items`` as the SDK stores them, and ``offsets``, the
seconds of each item from the session's start. ``load`` writes sessions as a run does, one ``add_items``
a turn, and then sets their times to ages over the last 120 days, none of them near 30 days.

The engine's own SQL in here is what sessionctl is measured against.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from absent import absent
from sdk_cases import MariadbCase, PostgresCase, SdkCase, SqliteCase
from servers import fresh_mysql, fresh_postgres

DAY_S = 86400
SPREAD_S = 120 * DAY_S
BOUNDARY_S = 30 * DAY_S
_AT_ONCE = 8
_VARIABLE = "SESSIONCTL_TEST_TRANSCRIPTS"


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """A real session; ``age_s`` is how long ago its last item came."""

    session_id: str
    items: list[dict[str, Any]]
    offsets: list[float]

    @property
    def age_s(self) -> int:
        """The same for the same id, from an hour to 120 days, and an hour off the boundary at least."""
        age = int(3600 + random.Random(self.session_id).random() * SPREAD_S)
        return age + 2 * 3600 if abs(age - BOUNDARY_S) < 3600 else age

    def turns(self) -> Iterator[list[dict[str, Any]]]:
        """What a run appends at once: a user item and all up to the next."""
        turn: list[dict[str, Any]] = []
        for item in self.items:
            if turn and item.get("role") == "user":
                yield turn
                turn = []
            turn.append(item)
        yield turn


def read_transcripts() -> list[Transcript]:
    """All of them. Without the file it skips, under CI=true it fails."""
    path = Path(os.environ.get(_VARIABLE, ""))
    if not path.is_file():
        absent(f"the real transcripts are needed: set ${_VARIABLE} to the path of transcripts.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        read = [json.loads(line) for line in lines]
    return [Transcript(session_id=line["session_id"], items=line["items"], offsets=line["offsets"]) for line in read]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """An engine's way of saying what the tests ask; times are seconds of the Unix epoch."""

    epoch: str
    now: str
    octets: str
    set_time: str
    """Epoch seconds in ``{}`` as a value for a stamp."""

    def seconds(self, column: str) -> str:
        return self.epoch.format(column)


SQLITE = Dialect(
    epoch="CAST(strftime('%s', {}) AS INTEGER)",
    now="CAST(strftime('%s', 'now') AS INTEGER)",
    octets="length(CAST(message_data AS BLOB))",
    set_time="datetime({}, 'unixepoch')",
)
POSTGRESQL = Dialect(
    epoch="CAST(extract(epoch FROM {} AT TIME ZONE current_setting('TimeZone')) AS double precision)",
    now="CAST(extract(epoch FROM now()) AS double precision)",
    octets="octet_length(message_data)",
    set_time="to_timestamp({}) AT TIME ZONE current_setting('TimeZone')",
)
MYSQL = Dialect(
    epoch="unix_timestamp({})",
    now="unix_timestamp()",
    octets="octet_length(message_data)",
    set_time="from_unixtime({})",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A session as plain SQL says it."""

    items: int
    octets: int
    created: float
    updated: float


@dataclass(frozen=True, kw_only=True)
class LoadedStore:
    """A store that holds ``transcripts``, and its engine's SQL."""

    case: SdkCase
    url: str
    dialect: Dialect
    transcripts: dict[str, Transcript]

    def rows(self) -> dict[str, Row]:
        """Every session by its id."""
        said, d = self.case.execute, self.dialect
        sizes = {
            session_id: (int(items), int(octets))
            for session_id, items, octets in said(
                f"SELECT session_id, count(*), sum({d.octets}) FROM agent_messages GROUP BY session_id"
            )
        }
        times = said(f"SELECT session_id, {d.seconds('created_at')}, {d.seconds('updated_at')} FROM agent_sessions")
        return {
            session_id: Row(
                items=sizes.get(session_id, (0, 0))[0],
                octets=sizes.get(session_id, (0, 0))[1],
                created=float(created),
                updated=float(updated),
            )
            for session_id, created, updated in times
        }

    def messages(self, session_ids: Iterable[str]) -> dict[str, list[tuple[Any, ...]]]:
        """(key, text, octets, seconds) of each item of these sessions, in the order in which the SDK reads them."""
        d = self.dialect
        wanted = set(session_ids)
        found: dict[str, list[tuple[Any, ...]]] = {session_id: [] for session_id in wanted}
        columns = f"session_id, id, message_data, {d.octets}, {d.seconds('created_at')}"
        for session_id, *rest in self.case.execute(f"SELECT {columns} FROM agent_messages ORDER BY id"):
            if session_id in wanted:
                found[session_id].append(tuple(rest))
        return found

    def idle_for(self, seconds: float) -> set[str]:
        """Sessions whose stamp is at least so many seconds behind the store's own clock."""
        d = self.dialect
        return {
            session_id
            for (session_id,) in self.case.execute(
                f"SELECT session_id FROM agent_sessions WHERE {d.seconds('updated_at')} <= {d.now} - {seconds}"
            )
        }

    def count(self, sql: str) -> int:
        return int(self.case.execute(f"SELECT count(*) FROM {sql}")[0][0])


def load(case: SdkCase, url: str, dialect: Dialect, transcripts: Sequence[Transcript]) -> LoadedStore:
    """Write ``transcripts`` into the empty store of ``case`` and back-date them by its own clock."""
    case.write("the tables are made", [{"role": "user", "content": "by the first append"}])
    for table in case._tables:
        case.execute(f"DELETE FROM {table}")
    case._runner.run(_append_all(case, transcripts))
    _back_date(case, dialect, transcripts)
    return LoadedStore(case=case, url=url, dialect=dialect, transcripts={t.session_id: t for t in transcripts})


async def _append_all(case: SdkCase, transcripts: Sequence[Transcript]) -> None:
    left = iter(transcripts)

    async def work() -> None:
        for transcript in left:
            session = await case._session(transcript.session_id)
            for turn in transcript.turns():
                await session.add_items(turn)
            await case._let_go(session)

    async with asyncio.TaskGroup() as group:
        for _ in range(1 if isinstance(case, SqliteCase) else _AT_ONCE):  # a file has one writer; others would sleep
            group.create_task(work())


def _back_date(case: SdkCase, dialect: Dialect, transcripts: Sequence[Transcript]) -> None:
    """Set all times; items of one session keep their order."""
    now = int(case.execute(f"SELECT {dialect.now}")[0][0])
    keys = {
        session_id: [key for _, key in group]
        for session_id, group in groupby(
            case.execute("SELECT session_id, id FROM agent_messages ORDER BY session_id, id"), lambda row: row[0]
        )
    }
    items: list[tuple[int, float]] = []
    sessions: list[tuple[str, float, float]] = []
    for transcript in transcripts:
        assert len(keys[transcript.session_id]) == len(transcript.items)
        start = now - transcript.age_s - transcript.offsets[-1]
        items += [(key, start + at) for key, at in zip(keys[transcript.session_id], transcript.offsets, strict=True)]
        sessions.append((transcript.session_id, start, start + transcript.offsets[-1]))
    for rows in _chunks(items):
        values = ", ".join(f"({key}, {at:.3f})" for key, at in rows)
        case.execute(_update(dialect, values))
    for session_id, created, updated in sessions:
        created_at, updated_at = (dialect.set_time.format(f"{at:.3f}") for at in (created, updated))
        case.execute(
            f"UPDATE agent_sessions SET created_at = {created_at}, updated_at = {updated_at} WHERE session_id = ?",
            session_id,
        )


def _update(dialect: Dialect, values: str) -> str:
    """One statement that sets the times of many items."""
    if dialect is MYSQL:
        source = f"(SELECT 0 AS id, 0.0 AS at WHERE FALSE UNION ALL VALUES {values})"
        return f"UPDATE agent_messages m JOIN {source} v ON m.id = v.id SET m.created_at = from_unixtime(v.at)"
    at = dialect.set_time.format("v.at")
    names = f"(VALUES {values}) AS v(id, at)" if dialect is POSTGRESQL else "v"
    cte = "" if dialect is POSTGRESQL else f"WITH v(id, at) AS (VALUES {values}) "
    return f"{cte}UPDATE agent_messages SET created_at = {at} FROM {names} WHERE agent_messages.id = v.id"


def _chunks(rows: Sequence[tuple[int, float]], size: int = 4000) -> Iterator[Sequence[tuple[int, float]]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


@contextmanager
def loaded(
    name: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoadedStore]:
    """A store of the kind ``name`` with all transcripts, or some where writing them takes long."""
    transcripts = read_transcripts()
    if name == "postgresql":
        with fresh_postgres(request.getfixturevalue("postgres_server")) as url, closing(PostgresCase(url)) as case:
            yield load(case, url, POSTGRESQL, transcripts[::4])
    elif name == "mariadb":
        with (
            fresh_mysql(request.getfixturevalue("mysql_server")) as url,
            closing(MariadbCase(url, ("case",), collation="utf8mb4_bin")) as maria,
        ):
            yield load(maria, url, MYSQL, transcripts[::4])
    else:
        few = transcripts if name == "SQLiteSession" else transcripts[::10]
        with closing(SqliteCase(tmp_path_factory.mktemp("loaded") / "store", name)) as sqlite:
            yield load(sqlite, str(sqlite.path), SQLITE, few)
