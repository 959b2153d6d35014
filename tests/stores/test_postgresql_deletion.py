"""Batches that PostgreSQL deletes by one statement, and those that go the other way because something happened."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from sdk_process import SdkProcess
from servers import postgres_connect, postgres_execute
from sqlalchemy import event

from sessionctl.core.address import parse_address
from sessionctl.core.hold import Hold, HoldKind
from sessionctl.core.model import Delete, Guard, Outcome, Want
from sessionctl.core.selector import Query
from sessionctl.stores import open_store
from sessionctl.stores.base import Store

HELLO = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hello"}]
Told = list[tuple[str, Any]]


@pytest.fixture
def url(postgres_url: str, sdk: SdkProcess) -> str:
    """A store with the sessions a, b and c of two items each."""
    for session_id in "abc":
        sdk.add(postgres_url, session_id, HELLO)
    return postgres_url


def planned(store: Store) -> list[Delete]:
    refs = sorted(store.sessions(Query(), want=Want.VERSION), key=lambda ref: ref.id)
    return [Delete(ref.id, ref.version or "") for ref in refs]


def listen(store: Store) -> Told:
    """What is sent to the server from now on."""
    told: Told = []
    engine = store._engine  # type: ignore[attr-defined]
    event.listen(engine, "before_cursor_execute", lambda _c, _k, sql, params, *_: told.append((sql, params)))
    return told


def deletions(told: Told) -> list[bool]:
    """Of each deletion: did it look at the sessions itself?"""
    return ["to_regclass" in sql for sql, _ in told if sql.startswith("DELETE")]


def left(url: str) -> list[tuple[str, int]]:
    counted = "SELECT session_id, count(*) FROM agent_sessions LEFT JOIN agent_messages USING (session_id)"
    return [tuple(row) for row in postgres_execute(url, f"{counted} GROUP BY 1 ORDER BY 1")]  # type: ignore[misc]


def test_what_nothing_happened_to_goes_by_one_statement(url: str) -> None:
    with open_store(parse_address(url)) as store:
        changes = planned(store)
        told = listen(store)
        assert store.apply(changes, Guard()) == [Outcome.DONE] * 3
    assert deletions(told) == [True]
    assert left(url) == []


def append(url: str, sdk: SdkProcess) -> None:
    sdk.add(url, "b", HELLO[:1])


def append_by_somebody_else(url: str, sdk: SdkProcess | None) -> None:  # noqa: ARG001
    """Not through the SDK, which marks the session too."""
    postgres_execute(url, "INSERT INTO agent_messages (session_id, message_data) VALUES ('b', '{}')")


def take_one_away(url: str, sdk: SdkProcess) -> None:  # noqa: ARG001
    """As the SDK's pop_item does, which leaves no mark on the session."""
    postgres_execute(
        url, "DELETE FROM agent_messages WHERE id = (SELECT max(id) FROM agent_messages WHERE session_id = 'b')"
    )


@pytest.mark.parametrize(
    ("happened", "items", "seen"),
    [(append, 3, "before"), (append_by_somebody_else, 3, "after"), (take_one_away, 1, "after")],
)
def test_what_changed_is_left_and_the_others_go(
    url: str, sdk: SdkProcess, happened: Callable[[str, SdkProcess], None], items: int, seen: str
) -> None:
    with open_store(parse_address(url)) as store:
        changes = planned(store)
        happened(url, sdk)
        told = listen(store)
        assert store.apply(changes, Guard()) == [Outcome.DONE, Outcome.CHANGED, Outcome.DONE]
        assert deletions(told) == ([False] if seen == "before" else [True, False])
        assert left(url) == [("b", items)]
        told.clear()
        [again] = planned(store)
        assert store.apply([again], Guard()) == [Outcome.DONE]
        assert deletions(told) == [False]  # it is not tried again at once
    assert left(url) == []


def test_what_somebody_is_at_work_on_is_left_and_the_others_go(url: str) -> None:
    with open_store(parse_address(url)) as store, contextlib.closing(postgres_connect(url)) as other:
        changes = planned(store)
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM agent_sessions WHERE session_id = 'b' FOR UPDATE")
        assert store.apply(changes, Guard()) == [Outcome.DONE, Outcome.ACTIVE, Outcome.DONE]
        other.execute("ROLLBACK")
    assert left(url) == [("b", 2)]


def test_a_hold_placed_between_two_batches_is_kept(url: str) -> None:
    """The first one of the store: there was no table of holds to be read before."""
    with open_store(parse_address(url)) as store, open_store(parse_address(url)) as other:
        first, *rest = planned(store)
        assert store.apply([first], Guard()) == [Outcome.DONE]
        other.hold([Hold(hold_id="h", kind=HoldKind.ID, value="c", reason="r", who="w", since=other.now())])
        assert store.apply(rest, Guard()) == [Outcome.DONE, Outcome.HELD]
    assert left(url) == [("c", 2)]


def test_where_nobody_counts_what_is_deleted_it_goes_the_other_way(url: str) -> None:
    postgres_execute(url, f'ALTER DATABASE "{url.rsplit("/", 1)[1]}" SET track_counts = off')
    try:
        with open_store(parse_address(url)) as store:
            changes = planned(store)
            append_by_somebody_else(url, None)
            told = listen(store)
            assert store.apply(changes, Guard()) == [Outcome.DONE, Outcome.CHANGED, Outcome.DONE]
            assert deletions(told) == [False]
    finally:
        postgres_execute(url, f'ALTER DATABASE "{url.rsplit("/", 1)[1]}" RESET track_counts')


def test_the_statement_goes_by_the_indexes_however_many_sessions_it_names(url: str) -> None:
    many = "SELECT 's' || n FROM generate_series(1, 4000) n"
    postgres_execute(url, f"INSERT INTO agent_sessions (session_id) {many}")
    items = "SELECT session_id, '{}' FROM agent_sessions, generate_series(1, 10)"
    postgres_execute(url, f"INSERT INTO agent_messages (session_id, message_data) {items}")
    with contextlib.closing(postgres_connect(url)) as connection:
        connection.execute("VACUUM ANALYZE agent_sessions, agent_messages")
    with open_store(parse_address(url)) as store:
        changes = planned(store)[:3000]
        told = listen(store)
        store.apply(changes, Guard())
        begun = next(sql for sql, _ in told if sql.startswith("BEGIN"))
        locking = next((sql, params) for sql, params in told if "unnest" in sql)
        deletion = next((sql, params) for sql, params in told if sql.startswith("DELETE"))
    with contextlib.closing(postgres_connect(url)) as connection:
        connection.execute(begun)
        plans = [
            "\n".join(row[0] for row in connection.execute(f"EXPLAIN {sql}", params))
            for sql, params in (locking, deletion)
        ]
    assert "agent_sessions_pkey" in plans[0], plans[0]
    assert "Tid Scan" in plans[1], plans[1]
    for plan in plans:
        assert not any(word in plan for word in ("Seq Scan", "Hash Join", "Merge Join", "JIT")), plan
