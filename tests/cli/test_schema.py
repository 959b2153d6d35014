"""schema: what is printed works for the SDK, drift is told by what it does, indexes are made beside writers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from operating import in_process, write_sessions
from printed_schema import apply_printed
from sdk_cases import CASES, POSTGRES_PRINTED, made
from servers import mysql_execute, postgres_execute

from sessionctl.testing.case import turn

MAKERS = {maker.name: maker for maker in [*CASES, POSTGRES_PRINTED]}
AS_THE_SDK_MAKES_THEM = ["sqlite", "sqlite-async", "sqlite-sqlalchemy", "postgresql", "postgresql-printed", "mariadb"]


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSIONCTL_STATE_DIR", str(tmp_path / "state"))


def drift(store: str | Path) -> dict[str, dict[str, Any]]:
    done = in_process("schema", "check", "-s", store, "-o", "json")
    found = {each["class"]: each for each in done.json["findings"]}
    assert done.status == (6 if any(each["severity"] != "note" for each in found.values()) else 0), done.said
    return found


@pytest.mark.parametrize("name", AS_THE_SDK_MAKES_THEM)
def test_there_is_no_drift_in_what_the_sdk_or_the_printed_statements_make(
    name: str, request: pytest.FixtureRequest
) -> None:
    with made(MAKERS[name], request) as case:
        case.write("u1", turn(1))
        assert set(drift(str(case.address) if case.address.path else case.address.url)) <= {"local_times"}


def test_the_printed_columns_are_those_of_the_sdk(postgres_url: str) -> None:
    """Names, order, null or not: as in the SDK's own metadata, the oracle."""
    from agents.extensions.memory import SQLAlchemySession

    session = SQLAlchemySession.from_url("x", url=postgres_url.replace("postgresql:", "postgresql+asyncpg:"))
    apply_printed("postgresql", postgres_url)
    for table in session._metadata.tables.values():
        columns = postgres_execute(
            postgres_url,
            "SELECT column_name, is_nullable = 'YES', column_default IS NOT NULL FROM information_schema.columns "
            "WHERE table_name = %s ORDER BY ordinal_position",
            [table.name],
        )
        expected = [
            (c.name, c.nullable, c.server_default is not None or c.autoincrement is True) for c in table.columns
        ]
        assert columns == expected
        names = postgres_execute(postgres_url, "SELECT indexname FROM pg_indexes WHERE tablename = %s", [table.name])
        assert {index.name for index in table.indexes} <= {name for (name,) in names}


def test_tables_of_other_names_and_schemas_are_printed(postgres_url: str) -> None:
    postgres_execute(postgres_url, "CREATE SCHEMA chat")
    names = ("chat.the sessions", 'chat.it\'s "items"')
    apply_printed("postgresql", postgres_url, "--sessions-table", names[0], "--messages-table", names[1])
    store = f"{postgres_url}?sessions_table=chat.the%20sessions&messages_table=chat.it%27s%20%22items%22"
    assert set(drift(store)) <= {"local_times"}


def test_a_flyway_migration_says_its_name_and_notes_are_printed_for_every_dialect() -> None:
    for dialect in ("postgresql", "mysql", "sqlite"):
        printed = in_process("schema", "print", "--dialect", dialect, "--flyway", "--notes").text
        assert printed.startswith("-- Flyway: save this as V<next version>__agent_sessions.sql.")
        assert "sessionctl_holds" in printed
        assert printed.rstrip().endswith(";")
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(printed)


POSTGRES_DRIFT = {
    "required_column": "ALTER TABLE agent_messages ADD COLUMN tenant text NOT NULL",
    "missing_default": "ALTER TABLE agent_messages ALTER COLUMN created_at DROP DEFAULT",
    "keys_not_given": "ALTER TABLE agent_messages ALTER COLUMN id DROP DEFAULT",
    "narrow_ids": "ALTER TABLE agent_messages ALTER COLUMN session_id TYPE varchar(36)",
    "text_cap": "ALTER TABLE agent_messages ALTER COLUMN message_data TYPE varchar(4000)",
    "no_foreign_key": "ALTER TABLE agent_messages DROP CONSTRAINT agent_messages_session_id_fkey",
    "missing_index": "DROP INDEX idx_agent_messages_session_time",
}


def test_each_difference_on_postgresql_is_told(postgres_url: str) -> None:
    apply_printed("postgresql", postgres_url)
    for statement in POSTGRES_DRIFT.values():
        postgres_execute(postgres_url, statement)
    assert set(drift(postgres_url)) - {"local_times", "unknown_layout"} == set(POSTGRES_DRIFT)


MYSQL_DRIFT = {
    "required_column": "ALTER TABLE agent_messages ADD COLUMN tenant varchar(9) NOT NULL",
    "moving_stamp": "ALTER TABLE agent_messages MODIFY created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP "
    "ON UPDATE CURRENT_TIMESTAMP",
    "missing_default": "ALTER TABLE agent_sessions MODIFY created_at TIMESTAMP NULL",
    "text_cap": "ALTER TABLE agent_messages MODIFY message_data TEXT COLLATE utf8mb4_bin NOT NULL",
    "no_foreign_key": "ALTER TABLE agent_messages DROP CONSTRAINT agent_messages_session_id_fkey",
    "narrow_ids": "ALTER TABLE agent_messages MODIFY session_id VARCHAR(36) NOT NULL",
    "keys_not_given": "ALTER TABLE agent_messages MODIFY id BIGINT NOT NULL",
    "missing_index": "DROP INDEX idx_agent_messages_session_time ON agent_messages",
    "case_insensitive_ids": "ALTER TABLE agent_messages MODIFY session_id VARCHAR(36) COLLATE utf8mb4_general_ci",
}


def test_each_difference_on_mysql_is_told(mysql_url: str) -> None:
    apply_printed("mysql", mysql_url)
    for statement in MYSQL_DRIFT.values():
        mysql_execute(mysql_url, statement)
    assert set(drift(mysql_url)) - {"unknown_layout"} == set(MYSQL_DRIFT)


def test_indexes_are_printed_and_made_where_they_are_needed(request: pytest.FixtureRequest) -> None:
    lost = {
        "sqlite": "DROP INDEX idx_agent_messages_session_id",
        "postgresql": "DROP INDEX idx_agent_messages_session_time",
        "mariadb-no-fk": "DROP INDEX idx_agent_messages_session_time ON agent_messages",
    }
    for name, statement in lost.items():
        with made(MAKERS[name], request) as case:
            case.write("u1", turn(1))
            case.execute(statement)
            store = str(case.path) if hasattr(case, "path") else case.address.url
            told = in_process("schema", "index", "-s", store)
            assert "CREATE INDEX" in told.text or "ADD INDEX" in told.text
            assert "not needed yet" in told.text
            refused = in_process("schema", "index", "-s", store, "--apply")
            assert refused.status == 2
            with case.live("u1") as append:
                made_now = in_process("schema", "index", "-s", store, "--apply", "--all", "--yes", "-o", "json")
                done = [index["made"] for index in made_now.json["indexes"]]
                # SQLiteSession has made its own again by now.
                assert done == [True] * (1 if name == "sqlite" else 2), made_now.said
                append(turn(2))
            assert in_process("schema", "index", "-s", store, "-o", "json").json["indexes"] == []
            assert len(case.read("u1")) == 8


def test_an_index_that_writers_cannot_wait_for_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sessionctl.stores.sqlite import schema as _sqlite_schema

    store = tmp_path / "store.db"
    write_sessions(store, {f"s{number}": turn(1) for number in range(3)})
    with closing(sqlite3.connect(store)) as other:
        other.execute("DROP INDEX idx_agent_messages_session_id")
        other.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) "
            "INSERT INTO agent_messages (session_id, message_data) SELECT 's1', '{}' FROM n"
        )
        other.commit()
        monkeypatch.setattr(_sqlite_schema, "_BESIDE_WRITERS_S", 0.0)
        done = in_process("schema", "index", "-s", store, "--apply", "--yes")
        assert done.status == 1
        assert "longer than writers" in done.said
        assert not other.execute("SELECT 1 FROM sqlite_master WHERE sql LIKE 'CREATE INDEX%'").fetchall()
    assert in_process("schema", "index", "-s", store, "--apply", "--yes").status == 0
