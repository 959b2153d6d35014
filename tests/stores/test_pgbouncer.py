"""Through PgBouncer in transaction mode, which gives each transaction whichever connection is free."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from beside_postgres import pgbouncer
from operating import in_process
from sdk_process import SdkProcess
from servers import NotInstalled, postgres_execute

HELLO = [{"role": "user", "content": "hello"}]
UNPREPARED = "?prepared_statement_cache_size=0&statement_cache_size=0"


@pytest.fixture(params=[1, 2])
def pooled(postgres_url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database through a pooler with so many connections."""
    try:
        with pgbouncer(postgres_url, pool_size=request.param) as url:
            yield url
    except NotInstalled as error:
        pytest.skip(f"no PgBouncer: {error}")


def fill(url: str, sdk: SdkProcess, *, stale: int) -> None:
    sdk.add(url, "fresh", HELLO)
    old = "now()::timestamp - interval '2 days'"
    postgres_execute(
        url, f"INSERT INTO agent_sessions SELECT 's' || n, {old}, {old} FROM generate_series(1, {stale}) n"
    )
    postgres_execute(
        url,
        "INSERT INTO agent_messages (session_id, message_data, created_at)"
        f" SELECT 's' || n, '{{}}', {old} FROM generate_series(1, {stale}) n, generate_series(1, 3)",
    )


def is_clean(pooled: str) -> None:
    """Whatever server connection comes next is as it was when the pooler made it."""
    for _ in range(4):
        assert postgres_execute(pooled, "SHOW lock_timeout") == [("0",)]
        assert postgres_execute(pooled, "SHOW enable_seqscan") == [("on",)]
        assert postgres_execute(pooled, "SHOW default_transaction_read_only") == [("off",)]
        assert postgres_execute(pooled, "SELECT name FROM pg_prepared_statements") == []
        assert postgres_execute(pooled, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'") == []


def test_reading_and_purging_leave_nothing_on_the_servers_connections(
    pooled: str, postgres_url: str, sdk: SdkProcess
) -> None:
    fill(postgres_url, sdk, stale=7000)
    stale = ("--older-than", "1d", "--max-share", "1")
    listed = in_process("list", "-s", pooled, "-o", "json", "--older-than", "1d")
    assert len(listed.json["sessions"]) == 7000
    assert in_process("inspect", "fresh", "-s", pooled, "-o", "json").json["session"]["items"] == 1
    assert in_process("stats", "-s", pooled, "-o", "json").status == 0
    is_clean(pooled)
    planned = in_process("purge", "-s", pooled, *stale, "--dry-run", "-o", "json")
    assert planned.json["matched"]["sessions"] == 7000
    is_clean(pooled)
    few = in_process("purge", "-s", pooled, "--match", "*55*", *stale, "--yes", "-o", "json")
    assert few.status == 0, few.said
    assert few.json["removed"] == {"sessions": 223, "items": 669, "bytes": 1338}
    done = in_process("purge", "-s", pooled, *stale, "--yes", "-o", "json")
    assert done.status == 0, done.said
    assert done.json["removed"] == {"sessions": 6777, "items": 20331, "bytes": 40662}
    is_clean(pooled)
    assert postgres_execute(postgres_url, "SELECT session_id FROM agent_messages") == [("fresh",)]


def test_a_purge_beside_a_live_writer_through_the_same_pooler(pooled: str, postgres_url: str, sdk: SdkProcess) -> None:
    fill(postgres_url, sdk, stale=2000)
    ids = [f"live{number}" for number in range(5)]
    sdk.release()
    with sdk.running(pooled + UNPREPARED, ids, think_s=0.002) as writer:
        writer.wait_appends(len(ids))
        before = len(writer.appends)
        done = in_process("purge", "-s", pooled, "--older-than", "1d", "--max-share", "1", "--batch-size", "100",
                          "--yes", "-o", "json")  # fmt: skip
        during = len(writer.appends) - before
        writer.wait_appends(1)
    assert (done.status, done.json["removed"]["sessions"]) == (0, 2000), done.said
    assert during > 0
    assert writer.errors == []
    for session_id, items in writer.acknowledged.items():
        assert sdk.get(postgres_url, session_id) == items
    is_clean(pooled)
