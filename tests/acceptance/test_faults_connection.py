"""Connections killed, deadlocks, locks held for long, statements cut short: a purge in mid-run bears what passes.

Where a session's own row is locked, the batch passes over it (SKIP LOCKED) and there is no wait at all; a
lock on one of its items is what a batch has to wait for, and what a deadlock can be made of.
"""

from __future__ import annotations

import pytest
from operating import in_process
from purged_servers import MIDDLE, PURGE, STALE, Purged, PurgedMariadb, PurgedPostgres, report_of

from sessionctl.core import patience

ENGINES = ["postgresql", "mariadb"]


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest) -> Purged:
    engine, _, variant = request.param.partition("-")
    if engine == "postgresql":
        return PurgedPostgres(request.getfixturevalue("postgres_url"))
    return PurgedMariadb(request.getfixturevalue("mysql_url"), variant)


every_shape = pytest.mark.parametrize("store", [*ENGINES, "mariadb-no-fk"], indirect=True)
"""Where the items go by a statement of ours as well, not only by the foreign key."""


@every_shape
def test_killed_again_and_again(store: Purged) -> None:
    with store.locked() as other, store.in_batches() as process:
        seen = None
        for _ in range(3):
            connection, seen = store.wait_held(but=seen)
            store.is_in_mid_run()
            store.kill(connection)
        store.wait_held(but=seen)
        other.execute("ROLLBACK")
        report = report_of(process)
    assert report["removed"]["sessions"] == len(STALE)
    assert report["retries"] >= 3
    store.is_purged()


def test_a_lock_held_for_long(store: Purged) -> None:
    """A limit ends the wait, and the report says what was waited for; the next run waits on and completes."""
    with store.locked() as other:
        with store.in_batches("--max-runtime", "2s") as process:
            report = report_of(process, 3)
        left = store.left()
        store.is_in_mid_run()
        assert MIDDLE in left
        assert report["removed"]["sessions"] == len(STALE) - len(left)
        assert report["remaining"]["sessions"] == len(left)
        assert (report["stopped"], report["why"]) == ("limit", "--max-runtime is over")
        assert "is busy: " in report["error"]
        assert report["time"]["wait_s"] >= 1
        with store.in_batches() as process:
            _, first = store.wait_held()
            store.wait_held(but=first)
            other.execute("ROLLBACK")
            report = report_of(process)
    assert report["removed"]["sessions"] == len(left)
    assert report["retries"] >= 1
    assert report["time"]["wait_s"] >= 1
    store.is_purged()


@pytest.mark.parametrize("victim", ["ours", "theirs"])
@every_shape
def test_a_deadlock(store: Purged, victim: str) -> None:
    """Another program locks an item, then wants its session, which the batch has locked while it wants the item."""
    with store.locked() as other, store.deadlocking(other, victim) as url, store.in_batches(url=url) as process:
        store.wait_held()
        store.is_in_mid_run()
        wants = "SELECT session_id FROM agent_sessions WHERE session_id = %s FOR UPDATE"
        if victim == "ours":
            other.execute(wants, (MIDDLE,))
            assert other.fetchall()  # it has what it wanted: our batch was taken back
            other.execute("ROLLBACK")
        else:
            with pytest.raises(Exception, match=r"[Dd]eadlock"):
                other.execute(wants, (MIDDLE,))
        report = report_of(process)
    assert report["removed"]["sessions"] == len(STALE)
    assert (report["retries"] >= 1) == (victim == "ours")
    store.is_purged()


# --- statements cut short -----------------------------------------------------------------------


def test_batches_shrink_until_statements_are_short_enough(store: Purged) -> None:
    store.slow_down(0.03)
    with store.limited(0.25) as url, store.purge("--allow-cascade", url=url) as process:
        report = report_of(process)
    assert report["removed"]["sessions"] == len(STALE)
    assert report["retries"] >= 1
    store.is_purged()


def test_one_session_that_takes_too_long_is_passed_over(store: Purged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "GIVE_UP_S", 1.0)
    store.slow_down(0.5, only=MIDDLE)
    with store.limited(0.25) as url:
        done = in_process("purge", "-s", url, *PURGE, "--allow-cascade")
    assert done.status == 3, done.said
    assert done.json["removed"]["sessions"] == len(STALE) - 1
    assert (done.json["skipped"]["failed"], done.json["stopped"]) == (1, "done")
    ((session_id, why),) = ((failed["session_id"], failed["why"]) for failed in done.json["failed"])
    assert session_id == MIDDLE
    assert "cancelled the statement" in why
    assert store.left() == {MIDDLE}


def test_sessions_that_take_too_long_are_left(store: Purged) -> None:
    store.slow_down(0.5)
    with store.limited(0.25) as url:
        with store.purge("--allow-cascade", "--max-runtime", "2s", url=url) as process:
            report = report_of(process, 1)
        assert report["removed"]["sessions"] == 0
        assert report["remaining"]["sessions"] == len(STALE) == len(store.left())
        assert "cancelled the statement" in report["error"]
    with store.purge("--allow-cascade", "--max-sessions", "2") as process:
        assert report_of(process, 4)["removed"]["sessions"] == 2
    assert len(store.left()) == len(STALE) - 2
