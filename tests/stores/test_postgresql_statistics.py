"""Tables that were just filled: the server's plans are for what it knows of them, which is nothing yet."""

from __future__ import annotations

from servers import postgres_execute

from sessionctl.core.address import parse_address
from sessionctl.stores import complete_store, create_store, open_store

SESSIONS, ITEMS = 2000, 20
KNOWN = "SELECT tablename, n_distinct FROM pg_stats WHERE schemaname = 'public' AND attname = 'session_id'"
SCANS = "SELECT sum(seq_scan), sum(idx_scan) FROM pg_stat_user_tables WHERE relname = 'agent_messages'"


def fill(url: str) -> None:
    postgres_execute(
        url, f"INSERT INTO agent_sessions (session_id) SELECT 's' || n FROM generate_series(1, {SESSIONS}) n"
    )
    postgres_execute(
        url,
        "INSERT INTO agent_messages (session_id, message_data) SELECT 's' || n, repeat('x', 500) "
        f"FROM generate_series(1, {SESSIONS}) n, generate_series(1, {ITEMS})",
    )


def test_whole_sessions_come_by_the_index(postgres_url: str) -> None:
    create_store(parse_address(postgres_url)).close()
    postgres_execute(postgres_url, "ALTER TABLE agent_messages SET (autovacuum_enabled = off)")
    fill(postgres_url)
    ids = [f"s{number}" for number in range(1, 201)]
    with open_store(parse_address(postgres_url)) as store:
        before, _ = postgres_execute(postgres_url, SCANS)[0]
        assert sum(len(list(whole.items)) for whole in store.whole(ids)) == 200 * ITEMS
    after, by_index = postgres_execute(postgres_url, SCANS)[0]
    assert by_index > 0
    assert after == before


def test_completed_tables_are_known(postgres_url: str) -> None:
    create_store(parse_address(postgres_url), bare=True).close()
    fill(postgres_url)
    assert postgres_execute(postgres_url, KNOWN) == []
    complete_store(parse_address(postgres_url)).close()
    assert {name for name, _ in postgres_execute(postgres_url, KNOWN)} == {"agent_sessions", "agent_messages"}
