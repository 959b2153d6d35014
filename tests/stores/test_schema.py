"""The SDK's tables as sessionctl makes them: the SDK's own classes find them as if they had made them."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sessionctl.core.address import StoreAddress, parse_address
from sessionctl.errors import StoreMissing, Unsupported
from sessionctl.stores import complete_store, create_store


def test_a_sqlite_file_is_made_as_sqlitesession_makes_it(tmp_path: Path) -> None:
    from agents import SQLiteSession

    SQLiteSession("x", tmp_path / "sdk.db").close()
    with create_store(parse_address(str(tmp_path / "ours.db"))) as store:
        assert store.info().flavour == "SQLiteSession"
    assert _catalog(tmp_path / "ours.db") == _catalog(tmp_path / "sdk.db")
    assert (tmp_path / "ours.db").stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"ours.db", "sdk.db"}


def test_bare_tables_get_their_index_when_they_are_completed(tmp_path: Path) -> None:
    address = parse_address(f"sqlite:///{tmp_path}/ours.db?sessions_table=Chats&messages_table=it%22ems")
    create_store(address, bare=True).close()
    assert not _indexes(tmp_path / "ours.db")
    for _ in range(2):
        complete_store(address).close()
        assert _indexes(tmp_path / "ours.db") == ['idx_it"ems_session_id']


def test_tables_that_are_there_are_left_as_they_are(tmp_path: Path) -> None:
    from agents import SQLiteSession

    session = SQLiteSession("x", tmp_path / "sdk.db")
    asyncio.run(session.add_items([{"role": "user", "content": "hello"}]))
    session.close()
    before = _catalog(tmp_path / "sdk.db")
    with create_store(parse_address(str(tmp_path / "sdk.db"))) as store:
        assert [item.text for item in store.items("x")] == ['{"role": "user", "content": "hello"}']
    assert _catalog(tmp_path / "sdk.db") == before


def test_a_directory_that_is_missing_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing):
        create_store(parse_address(str(tmp_path / "absent" / "ours.db")))


def test_stores_that_only_others_can_make_refuse() -> None:
    from sessionctl.stores.memory import MemoryStore

    with pytest.raises(Unsupported):
        MemoryStore.create(StoreAddress(scheme="memory"))


@pytest.mark.parametrize("kind", ["postgres_url", "mysql_url"])
def test_server_tables_are_made_bare_and_completed(kind: str, request: pytest.FixtureRequest) -> None:
    address = parse_address(request.getfixturevalue(kind))
    with create_store(address, bare=True) as store:
        assert any("no index" in warning for warning in store.info().warnings)
    for _ in range(2):
        with complete_store(address) as store:
            assert not store.info().warnings
            assert store.info().frozen is None
            assert store.info().hazards == ()


def _catalog(path: Path) -> tuple[list[tuple[str, ...]], str]:
    with closing(sqlite3.connect(path)) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite%'")
        ]
        found = [
            row
            for name in sorted(tables)
            for pragma in ("table_info", "index_xinfo", "foreign_key_list")
            for row in connection.execute(f"PRAGMA {pragma}({name})")
        ]
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        return found, mode


def _indexes(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE INDEX%'")]
