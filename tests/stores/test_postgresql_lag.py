"""How far PostgreSQL's replicas are behind, seen with real ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from beside_postgres import postgres_replica
from operating import wait_for
from sdk_process import SdkProcess
from servers import NotInstalled, fresh_postgres, own_postgres, postgres_execute, postgres_role

from sessionctl.core.address import parse_address
from sessionctl.core.model import Lag
from sessionctl.stores import open_store
from sessionctl.stores.base import Store


@pytest.fixture(scope="module")
def primary() -> Iterator[str]:
    """A server of our own: replication slots are the whole server's."""
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(own_postgres()).url
        except NotInstalled as error:
            pytest.skip(f"no PostgreSQL of our own: {error}")


@pytest.fixture
def url(primary: str, sdk: SdkProcess) -> Iterator[str]:
    with fresh_postgres(primary) as url:
        sdk.add(url, "a", [{"role": "user", "content": "hello"}])
        yield url
        sdk.release()


def opened(url: str) -> Store:
    return open_store(parse_address(url))


def seen(store: Store) -> Lag:
    lag = store.lag()
    assert lag is not None
    return lag


def write_log(url: str) -> None:
    postgres_execute(url, "CREATE TABLE IF NOT EXISTS filler AS SELECT n FROM generate_series(1, 1000) n")
    postgres_execute(url, "UPDATE filler SET n = n + 1")


def test_without_replicas_nothing_is_behind(url: str) -> None:
    with opened(url) as store:
        assert store.lag() == Lag()


def test_log_that_a_slot_holds_back(url: str) -> None:
    postgres_execute(url, "SELECT pg_create_physical_replication_slot('younger', true)")
    postgres_execute(url, "SELECT pg_create_physical_replication_slot('unused')")
    try:
        with opened(url) as store:
            before = seen(store)
            write_log(url)
            after = seen(store)
        assert (after.slot, after.slot_active, after.seconds) == ("younger", False, None)
        assert after.retained > before.retained + 10_000
    finally:
        for slot in ("younger", "unused"):
            postgres_execute(url, "SELECT pg_drop_replication_slot(%s)", (slot,))


@pytest.fixture
def replica(url: str) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(postgres_replica(url, "replica")).url
        except NotInstalled as error:
            pytest.skip(f"no replica: {error}")
    postgres_execute(url, "SELECT pg_drop_replication_slot('replica')")


def test_a_replica_that_stands_still_falls_behind_and_catches_up(url: str, replica: str) -> None:
    with opened(url) as store, postgres_role(url) as role:
        wait_for(lambda: seen(store).seconds is not None, "the replica streams")
        assert (seen(store).slot, seen(store).slot_active) == ("replica", True)
        postgres_execute(replica, "SELECT pg_wal_replay_pause()")

        def falls_behind() -> bool:
            write_log(url)
            return (seen(store).seconds or 0) > 0.5

        wait_for(falls_behind, "the delay grows")
        postgres_execute(url, f"GRANT SELECT ON agent_sessions, agent_messages TO {role}")
        with opened(url.replace("://postgres@", f"://{role}@")) as unprivileged:
            assert (seen(unprivileged).seconds, seen(unprivileged).slot) == (None, "replica")
        with opened(replica) as standby:
            assert standby.lag() is None
        postgres_execute(replica, "SELECT pg_wal_replay_resume()")
        wait_for(lambda: seen(store).seconds == 0, "it caught up")
