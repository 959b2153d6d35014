"""What stores foresee of a deletion: held against what the engines then do, with the indexes there and without."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from mysql_tables import create_mysql_tables
from servers import mysql_execute, postgres_execute

from sessionctl.core.address import parse_address
from sessionctl.core.model import Preflight
from sessionctl.core.plan import Totals
from sessionctl.core.selector import Bound, Query
from sessionctl.stores import open_store

SOME = Totals(sessions=3, items=12, bytes=3000)
LONG_AGO = Query(bounds=(Bound("updated_at", "<", datetime(2020, 1, 1, tzinfo=UTC)),))
NAMED = Query(named=frozenset({"s1"}))
MEND = "to mend it: "
SQLITE_INDEX, SERVER_INDEX = "idx_agent_messages_session_id", "idx_agent_messages_session_time"


def foresee(address: str | Path, query: Query = LONG_AGO, planned: Totals = SOME, **options: str) -> Preflight:
    with open_store(parse_address(str(address), options=options)) as store:
        return store.preflight(query, planned)


def remedy(found: Preflight) -> str:
    """The statement in the only warning."""
    (warning,) = found.slow
    return warning.rsplit(": ", 1)[1]


# --- SQLite -------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., list[Any]]]:
    """Statements on a file of SQLiteSession's layout."""
    from agents import SQLiteSession

    SQLiteSession("schema", tmp_path / "store.db").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as connection:
        yield lambda sql, *params: connection.execute(sql, params).fetchall()


def test_sqlite_names_the_indexes_it_uses(run: Callable[..., list[Any]], tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    found = foresee(path)
    assert found.selection == f"one pass over agent_sessions; items by {SQLITE_INDEX}"
    assert found.deletion == f"sessions by the primary key; items by {SQLITE_INDEX}"
    assert found.log.startswith("write-ahead log")
    assert foresee(path, NAMED).selection == f"named ids by the primary key; items by {SQLITE_INDEX}"
    run("PRAGMA journal_mode = DELETE")
    assert foresee(path).log == "rollback journal"


@pytest.mark.parametrize("partial", [False, True])
def test_sqlite_without_its_index(run: Callable[..., list[Any]], tmp_path: Path, *, partial: bool) -> None:
    path = tmp_path / "store.db"
    quick = foresee(path)
    for n in range(30):
        run("INSERT INTO agent_messages (session_id, message_data) VALUES (?, '{}')", f"s{n % 3}")
    run(f"DROP INDEX {SQLITE_INDEX}")
    if partial:
        run("CREATE INDEX some ON agent_messages (session_id) WHERE id > 10")
    slow = foresee(path)
    assert slow.selection.endswith("items by reading all of agent_messages")
    assert slow.deletion.endswith("items by reading all of agent_messages")
    assert "about 30 rows, up to 90 for this plan" in slow.slow[0]
    assert "while writers wait" in slow.slow[0]
    assert slow.rows_per_s < quick.rows_per_s
    assert foresee(path, planned=Totals()).slow == ()
    run(remedy(slow))
    assert foresee(path).slow == ()
    assert foresee(path).deletion == quick.deletion


def test_sqlite_quotes_odd_names(run: Callable[..., list[Any]], tmp_path: Path) -> None:
    run(f"DROP INDEX {SQLITE_INDEX}")
    run('ALTER TABLE agent_messages RENAME TO "my ""items"" (all)"')
    options = {"messages_table": 'my "items" (all)'}
    run(remedy(foresee(tmp_path / "store.db", **options)))
    found = foresee(tmp_path / "store.db", **options)
    assert found.slow == ()
    assert found.deletion.endswith('by idx_my "items" (all)_session_id')


def test_sqlite_looks_at_every_table_of_advanced_sessions(tmp_path: Path) -> None:
    from agents.extensions.memory import AdvancedSQLiteSession

    path = tmp_path / "store.db"
    AdvancedSQLiteSession(session_id="a", db_path=path, create_tables=True).close()
    assert foresee(path).slow == ()
    with contextlib.closing(sqlite3.connect(path)) as db:
        names = (
            "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'message_structure' AND sql NOT NULL"
        )
        for (name,) in db.execute(names).fetchall():
            db.execute(f"DROP INDEX {name}")
    slow = foresee(path)
    assert slow.slow[0].startswith("message_structure has no usable index")
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(remedy(slow))
    assert foresee(path).slow == ()


# --- PostgreSQL ---------------------------------------------------------------------------------

SESSIONS = """
    CREATE TABLE {} (session_id varchar PRIMARY KEY, created_at timestamp DEFAULT now(),
                     updated_at timestamp DEFAULT now())
"""
MESSAGES = """
    CREATE TABLE {} (id serial PRIMARY KEY, session_id varchar NOT NULL REFERENCES {} ON DELETE CASCADE,
                     message_data text NOT NULL, created_at timestamp DEFAULT now())
"""


SESSIONS_MADE = """
    INSERT INTO agent_sessions SELECT 's' || n, t, t FROM generate_series(1, 3000) n,
    LATERAL (SELECT timestamp '2019-12-31 23:30:00' + n * interval '1 minute') AS at(t)
"""
ITEMS_MADE = """
    INSERT INTO agent_messages (session_id, message_data)
    SELECT session_id, '{}' FROM agent_sessions, generate_series(1, 2)
"""


@pytest.fixture
def postgres(postgres_url: str) -> str:
    """Tables as the SDK makes them, with 3,000 sessions a minute apart, two items each, counted."""
    for statement in (
        SESSIONS.format("agent_sessions"),
        MESSAGES.format("agent_messages", "agent_sessions"),
        f"CREATE INDEX {SERVER_INDEX} ON agent_messages (session_id, created_at)",
        SESSIONS_MADE,
        ITEMS_MADE,
        "VACUUM (ANALYZE) agent_sessions, agent_messages",
    ):
        postgres_execute(postgres_url, statement)
    return postgres_url


def test_postgresql_names_the_indexes_it_uses(postgres: str) -> None:
    found = foresee(postgres)
    assert found.selection == f"one pass over agent_sessions (no index on updated_at); items by {SERVER_INDEX}"
    assert found.deletion == f"foreign key cascade, items by {SERVER_INDEX}"
    assert found.slow == ()
    assert foresee(postgres, NAMED).selection == f"by the primary key; items by {SERVER_INDEX}"
    everything = foresee(postgres, Query(), Totals(sessions=3000, items=6000, bytes=12000))
    assert everything.selection == "one pass over agent_sessions; items by one pass over agent_messages"
    postgres_execute(postgres, "CREATE INDEX by_time ON agent_sessions (updated_at)")
    assert foresee(postgres).selection == f"by by_time; items by {SERVER_INDEX}"


def test_postgresql_without_its_index(postgres: str) -> None:
    quick = foresee(postgres)
    postgres_execute(postgres, f"DROP INDEX {SERVER_INDEX}")
    for instead in (
        "ON agent_messages (session_id) WHERE id > 10",
        "ON agent_messages (created_at, session_id)",
        "ON agent_messages (lower(session_id), created_at)",
        "ON agent_messages USING brin (session_id)",
        'ON agent_messages (session_id COLLATE "C")',
        "ON agent_messages (created_at)",
    ):
        postgres_execute(postgres, f"CREATE INDEX {SERVER_INDEX} {instead}")
        slow = foresee(postgres)
        assert slow.deletion == "foreign key cascade, items by reading all of agent_messages", instead
        assert slow.selection.endswith("items by one pass over agent_messages"), instead
        assert "about 6,000 rows, up to 18,000 for this plan" in slow.slow[0], instead
        assert slow.rows_per_s < quick.rows_per_s, instead
        assert remedy(slow) == 'CREATE INDEX CONCURRENTLY ON "agent_messages" (session_id, created_at)', instead
        postgres_execute(postgres, f"DROP INDEX {SERVER_INDEX}")
    named = remedy(foresee(postgres))
    assert SERVER_INDEX in named
    postgres_execute(postgres, named)
    assert foresee(postgres) == quick


def test_postgresql_whose_rows_nobody_has_counted_yet(postgres_url: str) -> None:
    unwatched = "WITH (autovacuum_enabled = off)"
    for statement in (
        f"{SESSIONS.format('agent_sessions')} {unwatched}",
        f"{MESSAGES.format('agent_messages', 'agent_sessions')} {unwatched}",
        SESSIONS_MADE,
        ITEMS_MADE,
    ):
        postgres_execute(postgres_url, statement)
    found = foresee(postgres_url, planned=Totals(sessions=1500, items=3000, bytes=6000))
    said = re.search(r"about ([\d,]+) rows", found.slow[0])
    assert said is not None
    assert int(said[1].replace(",", "")) >= 3000
    assert found.log_bytes >= 3000 * 50


def test_postgresql_makes_an_unfinished_index_anew(postgres: str) -> None:
    postgres_execute(postgres, f"DROP INDEX {SERVER_INDEX}")
    with pytest.raises(psycopg.errors.UniqueViolation):
        postgres_execute(postgres, "CREATE UNIQUE INDEX CONCURRENTLY broken ON agent_messages (session_id)")
    slow = foresee(postgres)
    assert remedy(slow) == "REINDEX INDEX CONCURRENTLY broken"


def test_postgresql_without_a_foreign_key(postgres: str) -> None:
    postgres_execute(postgres, "ALTER TABLE agent_messages DROP CONSTRAINT agent_messages_session_id_fkey")
    assert foresee(postgres).deletion == f"items by {SERVER_INDEX}, then sessions (no cascade)"


def test_postgresql_tables_of_others_that_are_searched_for_each_session(postgres: str) -> None:
    postgres_execute(
        postgres, 'CREATE TABLE "My Notes" (n int, "Of" varchar REFERENCES agent_sessions ON DELETE CASCADE)'
    )
    slow = foresee(postgres)
    assert slow.slow[0].startswith('"My Notes" has no usable index that begins with Of')
    postgres_execute(postgres, remedy(slow))
    assert foresee(postgres).slow == ()


def test_postgresql_quotes_odd_names(postgres_url: str) -> None:
    postgres_execute(postgres_url, 'CREATE SCHEMA "x.y"')
    postgres_execute(postgres_url, SESSIONS.format('"x.y"."the ""sessions"""'))
    postgres_execute(postgres_url, MESSAGES.format('"x.y"."it\'s :m"', '"x.y"."the ""sessions"""'))
    postgres_execute(postgres_url, "ALTER DATABASE {} SET search_path = 'x.y'".format(postgres_url.rsplit("/", 1)[1]))
    options = {"sessions_table": 'the "sessions"', "messages_table": "it's :m"}
    slow = foresee(postgres_url, **options)
    postgres_execute(postgres_url, slow.slow[0].split(MEND, 1)[1])
    assert foresee(postgres_url, **options).slow == ()


def test_postgresql_tells_a_role_that_may_only_read(postgres: str) -> None:
    name = "role_" + postgres.rsplit("/", 1)[1]
    postgres_execute(postgres, f"CREATE ROLE {name} LOGIN")
    try:
        postgres_execute(postgres, f"GRANT SELECT ON agent_sessions, agent_messages TO {name}")
        assert foresee(postgres.replace("://postgres@", f"://{name}@")) == foresee(postgres)
    finally:
        postgres_execute(postgres, f"DROP OWNED BY {name}")
        postgres_execute(postgres, f"DROP ROLE {name}")


def test_postgresql_partitions(postgres_url: str) -> None:
    postgres_execute(postgres_url, SESSIONS.format("agent_sessions"))
    postgres_execute(
        postgres_url,
        "CREATE TABLE agent_messages (id bigint, session_id varchar REFERENCES agent_sessions ON DELETE CASCADE, "
        "message_data text NOT NULL, created_at timestamp DEFAULT now()) PARTITION BY RANGE (id)",
    )
    postgres_execute(postgres_url, "CREATE TABLE part PARTITION OF agent_messages FOR VALUES FROM (0) TO (100000)")
    postgres_execute(postgres_url, "INSERT INTO agent_sessions VALUES ('s1')")
    text = "x" * 500
    insert = f"INSERT INTO agent_messages SELECT n, 's1', '{text}' FROM generate_series(1, 1000) n"
    postgres_execute(postgres_url, insert)
    postgres_execute(postgres_url, "ANALYZE agent_messages")
    whole = Totals(sessions=1, items=1000, bytes=500_000)
    slow = foresee(postgres_url, Query(), whole)
    assert "about 1,000 rows" in slow.slow[0]
    assert slow.log_bytes > 0
    postgres_execute(postgres_url, remedy(slow).split(", after", 1)[0])
    assert foresee(postgres_url, Query(), whole).slow == ()


# --- MariaDB ------------------------------------------------------------------------------------


def mariadb(url: str, **variant: Any) -> str:
    """Tables of that kind with 3,000 sessions a minute apart, two items each, counted."""
    create_mysql_tables(url, **variant)
    mysql_execute(
        url,
        "INSERT INTO agent_sessions SELECT concat('s', seq), t, t FROM "
        "(SELECT seq, timestamp('2019-12-31 23:30:00') + INTERVAL seq MINUTE AS t FROM seq_1_to_3000) AS made",
    )
    items = "SELECT session_id, '{}' FROM agent_sessions, seq_1_to_2"
    mysql_execute(url, f"INSERT INTO agent_messages (session_id, message_data) {items}")
    mysql_execute(url, "ANALYZE TABLE agent_sessions, agent_messages")
    return url


def test_mariadb_names_the_indexes_it_uses(mysql_url: str) -> None:
    url = mariadb(mysql_url)
    found = foresee(url)
    assert found.selection == f"one pass over agent_sessions (no index on updated_at); items by {SERVER_INDEX}"
    assert found.deletion == f"foreign key cascade, items by {SERVER_INDEX}"
    assert found.slow == ()
    assert foresee(url, NAMED).selection == f"by the primary key; items by {SERVER_INDEX}"
    everything = foresee(url, Query(), Totals(sessions=3000, items=6000, bytes=12000))
    assert everything.selection == f"one pass over agent_sessions; items by {SERVER_INDEX}"
    mysql_execute(url, "CREATE INDEX by_time ON agent_sessions (updated_at)")
    assert foresee(url).selection == f"by by_time; items by {SERVER_INDEX}"


def test_mariadb_without_its_index(mysql_url: str) -> None:
    url = mariadb(mysql_url, foreign_key=None)
    quick = foresee(url)
    mysql_execute(url, f"DROP INDEX {SERVER_INDEX} ON agent_messages")
    for kind, columns in (
        ("INDEX", "session_id(2)"),
        ("INDEX", "created_at, session_id"),
        ("FULLTEXT INDEX", "session_id"),
        ("INDEX", "created_at"),
    ):
        mysql_execute(url, f"CREATE {kind} {SERVER_INDEX} ON agent_messages ({columns})")
        slow = foresee(url)
        assert slow.deletion == "items by reading all of agent_messages, then sessions (no cascade)", columns
        assert slow.selection.endswith("items by one pass over agent_messages"), columns
        assert "rows, up to" in slow.slow[0], columns
        assert slow.rows_per_s < quick.rows_per_s, columns
        assert "ADD INDEX (session_id, created_at)" in remedy(slow), columns
        mysql_execute(url, f"DROP INDEX {SERVER_INDEX} ON agent_messages")
    named = remedy(foresee(url))
    assert SERVER_INDEX in named
    mysql_execute(url, named)
    assert foresee(url) == quick


def test_mariadb_cascades_by_an_index_hidden_from_the_optimizer(mysql_url: str) -> None:
    url = mariadb(mysql_url)
    mysql_execute(url, f"ALTER TABLE agent_messages ALTER INDEX {SERVER_INDEX} IGNORED")
    slow = foresee(url)
    assert slow.deletion == f"foreign key cascade, items by {SERVER_INDEX}"
    mysql_execute(url, remedy(slow))
    assert foresee(url).slow == ()


def test_mariadb_ids_of_a_type_that_only_prefixes_can_index(mysql_url: str) -> None:
    url = mariadb(mysql_url, foreign_key=None, index=False)
    mysql_execute(url, "ALTER TABLE agent_messages MODIFY session_id TEXT NOT NULL")
    slow = foresee(url)
    mysql_execute(url, remedy(slow))
    assert foresee(url).slow == ()


def test_mariadb_quotes_odd_names(mysql_url: str) -> None:
    create_mysql_tables(mysql_url, index=False, foreign_key=None, tables=("the :sessions", "it's (%s)"))
    options = {"sessions_table": "the :sessions", "messages_table": "it's (%s)"}
    mysql_execute(mysql_url, foresee(mysql_url, **options).slow[0].split(MEND, 1)[1])
    assert foresee(mysql_url, **options).slow == ()


def test_mariadb_tells_less_to_who_may_see_less(mysql_url: str) -> None:
    """Who may read a view need not be told how the server reads what is below it."""
    url, name = mariadb(mysql_url), "u" + mysql_url[-16:]
    for table in ("agent_sessions", "agent_messages"):
        mysql_execute(url, f"CREATE VIEW my_{table} AS SELECT * FROM {table}")
    try:
        for host in ("%", "localhost"):
            mysql_execute(url, f"CREATE USER '{name}'@'{host}'")
            for table in ("agent_sessions", "agent_messages"):
                mysql_execute(url, f"GRANT SELECT ON my_{table} TO '{name}'@'{host}'")
        theirs = f"mysql://{name}@{url.rsplit('@', 1)[1]}"
        found = foresee(theirs, sessions_table="my_agent_sessions", messages_table="my_agent_messages")
        assert found.selection == "from my_agent_sessions; items by one pass over my_agent_messages"
        assert found.slow == ()
    finally:
        for host in ("%", "localhost"):
            mysql_execute(url, f"DROP USER IF EXISTS '{name}'@'{host}'")
