"""Holds where the store will not have it: no rights, no table, rows of a later release."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from operating import DAY, store_of
from sdk_cases import MariadbCase, PostgresCase, fill
from servers import mysql_execute, mysql_user, postgres_execute, postgres_role

from sessionctl.core.address import parse_address
from sessionctl.core.hold import Hold, HoldKind
from sessionctl.core.model import Delete, Guard, Outcome, Want
from sessionctl.core.plan import Allowances, refusals
from sessionctl.core.selector import Query, Selector
from sessionctl.errors import AccessRefused, StoreNotUnderstood
from sessionctl.operations.held import in_force
from sessionctl.operations.purge import plan_purge
from sessionctl.stores import open_store
from sessionctl.stores.base import Store
from sessionctl.testing.case import turn

HOLD = Hold(hold_id="h1", kind=HoldKind.ID, value="a", reason="r", who="w", since=datetime(2026, 1, 1, tzinfo=UTC))


def opened(url: str | Path) -> Store:
    return open_store(parse_address(str(url)))


def deletions(store: Store) -> list[Delete]:
    refs = sorted(store.sessions(Query(), want=Want.VERSION), key=lambda ref: ref.id)
    return [Delete(session_id=ref.id, version=ref.version or "") for ref in refs]


@pytest.fixture
def postgres(postgres_url: str) -> str:
    with contextlib.closing(PostgresCase(postgres_url)) as case:
        fill(case, ["a", "b"], turn(1), idle=timedelta(days=9))
    return postgres_url


@pytest.fixture
def purger(postgres: str) -> Iterator[str]:
    """The URL of a role that may purge, and no more."""
    with postgres_role(postgres) as name:
        postgres_execute(postgres, f"GRANT SELECT, UPDATE, DELETE ON agent_sessions, agent_messages TO {name}")
        yield postgres.replace("://postgres@", f"://{name}@", 1)


def test_where_holds_may_not_be_read_nothing_is_changed(postgres: str, purger: str) -> None:
    with opened(purger) as store, opened(postgres) as owner:
        owner.hold([HOLD])
        assert in_force(store, store.now()) is None
        with pytest.raises(AccessRefused, match="nothing is changed") as refused:
            store.apply(deletions(store), Guard())
        assert "sessionctl_holds" in str(refused.value.hint)
        assert len(deletions(owner)) == 2


def test_a_plan_is_made_all_the_same_and_says_that_it_must_not_be_applied(postgres: str, purger: str) -> None:
    with opened(purger) as store, opened(postgres) as owner:
        owner.hold([HOLD])
        with plan_purge(store, Selector(globs=("*",)), min_idle=timedelta(0)) as plan:
            assert plan.header.planned.sessions == 2
            assert any("may not read its holds" in reason for reason in refusals(plan.header, Allowances()))


def test_a_role_that_may_make_no_table_is_told_the_statement(postgres: str, purger: str) -> None:
    postgres_execute(postgres, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with opened(purger) as store, opened(postgres) as owner:
        with pytest.raises(AccessRefused, match="no table for holds yet") as refused:
            store.hold([HOLD])
        _, _, statement = str(refused.value.hint).partition(": ")
        postgres_execute(postgres, statement)
        name = parse_address(purger).url.split("://")[1].split("@")[0]
        postgres_execute(postgres, f"GRANT SELECT, INSERT ON sessionctl_holds TO {name}")
        store.hold([HOLD])
        assert list(owner.holds()) == [HOLD]
        assert list(store.apply(deletions(store), Guard())) == [Outcome.HELD, Outcome.DONE]


def test_holds_lie_in_the_schema_of_the_sdks_tables(postgres: str) -> None:
    postgres_execute(postgres, "CREATE SCHEMA apart")
    for table in ("agent_sessions", "agent_messages"):
        postgres_execute(postgres, f"ALTER TABLE {table} SET SCHEMA apart")
    tables = "sessions_table=apart.agent_sessions&messages_table=apart.agent_messages"
    with opened(f"{postgres}{'&' if '?' in postgres else '?'}{tables}") as store:
        store.hold([HOLD])
        assert list(store.apply(deletions(store), Guard())) == [Outcome.HELD, Outcome.DONE]
    assert postgres_execute(postgres, "SELECT value FROM apart.sessionctl_holds") == [("a",)]


def test_on_mysql_one_who_cannot_know_changes_nothing(mysql_url: str) -> None:
    with contextlib.closing(MariadbCase(mysql_url, ())) as case, mysql_user(mysql_url) as granted:
        fill(case, ["a", "b"], turn(1), idle=timedelta(days=9))
        url = granted(*(f"SELECT, UPDATE, DELETE ON agent_{table}" for table in ("sessions", "messages")))
        with opened(url) as store:
            with pytest.raises(AccessRefused, match="nothing is changed"):
                store.apply(deletions(store), Guard())
            with opened(mysql_url) as owner:
                owner.hold([HOLD])
            granted("SELECT ON sessionctl_holds")
            assert list(store.apply(deletions(store), Guard())) == [Outcome.HELD, Outcome.DONE]
        assert mysql_execute(mysql_url, "SELECT session_id FROM agent_sessions") == [("a",)]


def test_beside_a_hold_of_a_later_release_nothing_is_changed(tmp_path: Path) -> None:
    path = store_of(tmp_path / "store.db", {"a": DAY, "b": DAY})
    with opened(path) as store:
        store.hold([HOLD])
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE sessionctl_holds SET kind = 'regex'")
        with pytest.raises(StoreNotUnderstood, match="none that this release understands"):
            store.apply(deletions(store), Guard())
        assert len(deletions(store)) == 2
