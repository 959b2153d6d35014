"""Servers that crash, come back, stay down or become read-only under a purge in mid-run.

The servers are the tests' own: what is struck here must be nobody else's. They keep their promises of a
commit (nothing is lost by a crash), as a production server does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from absent import IN_CI
from operating import wait_for
from purged_servers import MIDDLE, STALE, Purged, PurgedMariadb, PurgedPostgres, report_of
from servers import (
    NotInstalled,
    OwnServer,
    fresh_mysql,
    fresh_postgres,
    mysql_execute,
    own_mariadb,
    own_postgres,
    postgres_execute,
)

DURABLE = {
    "postgresql": (own_postgres, ["-c", "synchronous_commit=on"]),
    "mariadb": (own_mariadb, ["--innodb-flush-log-at-trx-commit=2", "--log-bin"]),
}


@pytest.fixture(scope="module", params=DURABLE)
def server(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    own, flags = DURABLE[request.param]
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(own(flags))
        except NotInstalled as missing:
            if IN_CI:
                raise
            pytest.skip(f"no server to crash: {missing}")
        yield found


@pytest.fixture
def store(server: OwnServer) -> Iterator[Purged]:
    is_postgres = server.url.startswith("postgresql")
    with fresh_postgres(server.url) if is_postgres else fresh_mysql(server.url) as url:
        yield PurgedPostgres(url) if is_postgres else PurgedMariadb(url)


def test_a_crash_in_the_middle_of_a_deletion(server: OwnServer, store: Purged) -> None:
    with store.locked(), store.in_batches() as process:
        store.wait_held()
        store.is_in_mid_run()
        server.crash()
        server.start()  # the lock went down with the server
        report = report_of(process)
    assert report["removed"]["sessions"] == len(STALE)
    assert report["retries"] >= 1
    store.is_purged()


def test_a_crash_behind_a_commit_that_nobody_was_told_of(server: OwnServer, store: Purged) -> None:
    """What such a batch deleted is counted as removed, for it is, and as it was by this run."""
    with store.locked() as other, store.in_batches() as process:
        store.wait_held()
        store.is_in_mid_run()
        before = store.left()
        with _commits_without_an_answer(server) as waits:
            other.execute("ROLLBACK")
            wait_for(waits, "a commit that waits for a replica")
        server.crash()
        server.start()
        report = report_of(process)
    assert MIDDLE in before
    assert report["removed"]["sessions"] == len(STALE)
    assert report["skipped"]["missing"] == 0
    assert report["retries"] >= 1
    store.is_purged()


@contextlib.contextmanager
def _commits_without_an_answer(server: OwnServer) -> Iterator[Callable[[], object]]:
    """Commits reach the disk, and then wait for a replica that never comes. Not so after a restart."""
    if server.url.startswith("postgresql"):
        with _without_replica(server.url):
            yield lambda: postgres_execute(server.url, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        return
    for setting in ("wait_point = AFTER_COMMIT", "timeout = 600000", "enabled = 1"):
        mysql_execute(server.url, f"SET GLOBAL rpl_semi_sync_master_{setting}")
    yield lambda: mysql_execute(
        server.url, "SELECT 1 FROM information_schema.processlist WHERE state LIKE 'Waiting for semi-sync ACK%%'"
    )


@contextlib.contextmanager
def _without_replica(url: str) -> Iterator[None]:
    setting = "synchronous_standby_names"
    try:
        postgres_execute(url, f"ALTER SYSTEM SET {setting} = 'nobody'")
        postgres_execute(url, "SELECT pg_reload_conf()")
        wait_for(lambda: postgres_execute(url, f"SHOW {setting}") == [("nobody",)], "the setting")
        postgres_execute(url, "CHECKPOINT")  # the checkpointer is who puts it into effect
        yield
        postgres_execute(url, f"ALTER SYSTEM RESET {setting}")  # in effect from the restart on
    except BaseException:
        postgres_execute(url, f"ALTER SYSTEM RESET {setting}")
        postgres_execute(url, "SELECT pg_reload_conf()")  # or nothing could be cleaned up
        raise


@pytest.mark.parametrize(
    ("server", "held", "status"), [("postgresql", MIDDLE, 3), ("mariadb", STALE[0], 10)], indirect=["server"]
)
def test_a_server_that_stays_down(server: OwnServer, store: Purged, held: str, status: int) -> None:
    """The run ends at its limit and says what it waited for; once the server is back, a run completes the work."""
    with store.locked(held), store.in_batches("--max-runtime", "5s") as process:
        store.wait_held()
        left = store.left()
        assert held in left
        server.crash()
        report = report_of(process, status)
    server.start()
    assert store.left() == left
    assert report["removed"]["sessions"] == len(STALE) - len(left)
    assert report["remaining"]["sessions"] == len(left)
    assert (report["stopped"], report["why"]) == ("limit", "--max-runtime is over")
    assert "cannot be reached" in report["error"]
    with store.purge() as process:
        assert report_of(process)["removed"]["sessions"] == len(left)
    store.is_purged()


def test_a_server_that_becomes_read_only(store: Purged) -> None:
    """That does not pass by itself: the run ends at once, with what it did until then."""
    with store.locked() as other, store.read_only() as (url, flip):
        with store.in_batches(url=url) as process:
            connection, _ = store.wait_held()
            store.is_in_mid_run()
            flip(connection, other)
            report = report_of(process, 3)
        left = store.left()
        assert report["removed"]["sessions"] == len(STALE) - len(left) > 0
        assert report["remaining"]["sessions"] == len(left) > 0
        assert report["stopped"] == "error"
        assert "refused: " in report["error"]
        assert "read" in report["error"].split("refused: ")[1]
    with store.purge() as process:
        assert report_of(process)["removed"]["sessions"] == len(left)
    store.is_purged()
