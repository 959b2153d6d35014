"""A server's connection that goes away while an export reads by it: one sentence, and no half of a file."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from operating import running, wait_for
from servers import mysql_connect, mysql_execute, postgres_connect, postgres_execute

from sessionctl.core.address import parse_address
from sessionctl.errors import StoreUnavailable
from sessionctl.stores import create_store, open_store

WAITING_POSTGRES = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
OTHERS_POSTGRES = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
OTHERS_MYSQL = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
WAITING_MYSQL = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND state LIKE '%Waiting for%'"


class Server(NamedTuple):
    url: str
    execute: Callable[..., list[tuple[Any, ...]]]
    connect: Callable[..., Any]
    lock: str
    waiting: str
    kill: str
    others: str

    def kill_who_waits(self) -> None:
        wait_for(lambda: self.execute(self.url, self.waiting), "somebody who waits for the items")
        for (connection,) in self.execute(self.url, self.waiting):
            self.execute(self.url, self.kill, (connection,))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody reads an item."""
        with contextlib.closing(self.connect(self.url)) as connection:
            cursor = connection.cursor()
            cursor.execute("BEGIN")
            cursor.execute(self.lock)
            yield


@pytest.fixture(params=["postgresql", "mysql"])
def server(request: pytest.FixtureRequest) -> Server:
    found = _server(request)
    create_store(parse_address(found.url)).close()
    return found


def _server(request: pytest.FixtureRequest) -> Server:
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
        lock, kill = "LOCK TABLE agent_messages IN ACCESS EXCLUSIVE MODE", "SELECT pg_terminate_backend(%s)"
        return Server(url, postgres_execute, postgres_connect, lock, WAITING_POSTGRES, kill, OTHERS_POSTGRES)
    url = request.getfixturevalue("mysql_url")
    lock, kill = "LOCK TABLES agent_messages WRITE", "KILL %s"
    return Server(url, mysql_execute, mysql_connect, lock, WAITING_MYSQL, kill, OTHERS_MYSQL)


def test_it_is_lost_on_opening(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with server.locked(), running("export", "-s", server.url, "--out", out / "all.jsonl") as process:
        server.kill_who_waits()
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 10, errors.decode()
    first, *more = errors.decode().splitlines()
    assert first.startswith(f"error: {server.url} ")
    assert more == []
    assert said == b""
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize("read", ["whole", "contents"])
def test_it_is_lost_within_a_portion(server: Server, read: str) -> None:
    """The store is open, and what it has to know of it is read: what is lost is a connection that reads items."""
    server.execute(server.url, "INSERT INTO agent_sessions (session_id) VALUES ('a'), ('b')")
    with open_store(parse_address(server.url)) as store, ThreadPoolExecutor() as beside:
        sessions = getattr(store, read)
        assert [found[0] for found in sessions(["a"])] != []
        with server.locked():
            found = beside.submit(lambda: list(sessions(["a", "b"])))
            server.kill_who_waits()
            with pytest.raises(StoreUnavailable):
                found.result(timeout=60)
        assert len(list(sessions(["a", "b"]))) == 2


# psycopg's cursor cannot be closed without its connection, and warns when it is collected.
@pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
@pytest.mark.parametrize("read", ["whole", "contents"])
def test_it_is_lost_within_a_large_session(server: Server, read: str) -> None:
    """Its items are fetched while they are asked for, when the store is long back from being asked."""
    text = json.dumps({"role": "user", "content": "x" * 20_000})
    server.execute(server.url, "INSERT INTO agent_sessions (session_id) VALUES ('a')")
    rows = ", ".join(["('a', %s)"] * 500)
    server.execute(server.url, f"INSERT INTO agent_messages (session_id, message_data) VALUES {rows}", [text] * 500)
    with open_store(parse_address(server.url)) as store:
        sessions = getattr(store, read)(["a"])
        _, items = next(sessions)
        coming = iter(items)
        next(coming)
        for (connection,) in server.execute(server.url, server.others):
            server.execute(server.url, server.kill, (connection,))
        with pytest.raises(StoreUnavailable):
            list(coming)
    gc.collect()  # what is collected now must not complain
