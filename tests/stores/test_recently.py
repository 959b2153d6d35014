"""Appends of old SQLAlchemySession releases that overlap the deletion of their session get its row back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from failing_store import FailingStore
from operating import wait_for
from sdk_cases import CASES, SdkCase, made
from sdk_process import HeldAppend, SdkProcess

from sessionctl.core.limits import Limits
from sessionctl.core.model import Change, Delete, Guard, Outcome, Want
from sessionctl.core.selector import Selector
from sessionctl.errors import AccessRefused
from sessionctl.ledger import Ledger, new_run
from sessionctl.operations.execute import Terms, apply_plan
from sessionctl.operations.purge import plan_purge
from sessionctl.stores.base import Store
from sessionctl.testing.case import turn, user

MIN_IDLE = timedelta(minutes=15)
OLD = turn(1)
NEW = [user("are you still there?"), user("hello?")]
MAKERS = {maker.name: maker for maker in CASES}


def _stale(name: str, request: pytest.FixtureRequest) -> Iterator[SdkCase]:
    with made(MAKERS[name], request) as case:
        case.write("stale", OLD)
        case.stamp("stale", updated_at=datetime.now(UTC) - timedelta(days=2))
        yield case


@pytest.fixture(params=["sqlite-sqlalchemy", "mariadb-no-fk"])
def case(request: pytest.FixtureRequest) -> Iterator[SdkCase]:
    yield from _stale(request.param, request)


@pytest.fixture
def plain(request: pytest.FixtureRequest) -> Iterator[SdkCase]:
    yield from _stale("sqlite", request)


def url_of(case: SdkCase) -> str:
    return case.address.url if case.address.path is None else f"sqlite:///{case.address.path}"


def delete(store: Store, session_id: str) -> Outcome:
    ref = store.session(session_id, Want.VERSION)
    version = (ref.version if ref else None) or ""
    return store.apply([Delete(session_id=session_id, version=version)], Guard(min_idle=MIN_IDLE))[0]


def deleted_in_the_window(case: SdkCase, old_sdk: SdkProcess, store: Store) -> HeldAppend:
    """An append that found the row of ``stale``, which then went; it is still held."""
    held = old_sdk.begin_add(url_of(case), "stale", NEW, hold="parent", kind="SQLAlchemySession")
    held.wait_holding()
    assert case.remains("stale") == {"agent_sessions", "agent_messages"}
    assert delete(store, "stale") is Outcome.DONE
    assert not held.is_done
    assert case.remains("stale") == set()
    return held


def finish(case: SdkCase, held: HeldAppend) -> None:
    held.go()
    held.result()
    assert case.remains("stale") == {"agent_messages"}, "the append did not fall into its window"


def is_whole_again(case: SdkCase) -> None:
    """The append alone, with the stamps it was made at; and the SDK can pop and clear it."""
    (stamps,) = case.execute("SELECT created_at, updated_at FROM agent_sessions WHERE session_id = 'stale'")
    assert [stamps] == case.execute("SELECT min(created_at), max(created_at) FROM agent_messages")
    assert case.read("stale") == NEW
    assert case.pop("stale") == NEW[-1]
    assert case.read("stale") == NEW[:-1]


def test_at_the_end_of_a_run(case: SdkCase, old_sdk: SdkProcess) -> None:
    with case.open() as store:
        finish(case, deleted_in_the_window(case, old_sdk, store))
        assert store.settle() == 1
        is_whole_again(case)
        assert store.settle() == 1  # in all; nothing is done twice


def test_at_the_end_of_a_run_that_fails(case: SdkCase, old_sdk: SdkProcess, tmp_path: Path) -> None:
    case.write("stale too", OLD)
    case.stamp("stale too", updated_at=datetime.now(UTC) - timedelta(days=2))
    held = old_sdk.begin_add(url_of(case), "stale", NEW, hold="parent", kind="SQLAlchemySession")
    held.wait_holding()

    def refused(number: int, _: Sequence[Change]) -> None:
        if number == 1:
            raise AccessRefused("no more rights")

    terms = Terms(guard=Guard(), limits=Limits(batch_size=1))
    with case.open() as store, plan_purge(store, Selector(older_than=timedelta(days=1)), min_idle=MIN_IDLE) as plan:
        run = new_run("purge", str(store.address), store.now(), {})
        failing = FailingStore(store, before_batch=refused, after_batch=lambda *_: finish(case, held))
        report = apply_plan(failing, plan, terms, ledger=Ledger.open(tmp_path / "ledger.db"), run=run)
    assert report.error == ("no more rights", 11)
    assert report.removed.sessions == 1
    assert _has_row(case)
    assert case.read("stale") == NEW


def test_in_a_batch_after_it(case: SdkCase, old_sdk: SdkProcess) -> None:
    with case.open() as store:
        finish(case, deleted_in_the_window(case, old_sdk, store))
        wait_for(lambda: delete(store, "nobody") is Outcome.MISSING and _has_row(case), "its row")
        is_whole_again(case)
        assert store.settle() == 1


def test_an_append_that_takes_its_time_is_found_by_a_second_look(case: SdkCase, old_sdk: SdkProcess) -> None:
    with case.open() as store:
        held = deleted_in_the_window(case, old_sdk, store)
        assert store.settle() == 0
        finish(case, held)
        assert store.settle() == 1
        is_whole_again(case)


def test_an_append_after_the_deletion_needs_nothing(case: SdkCase, old_sdk: SdkProcess) -> None:
    with case.open() as store:
        assert delete(store, "stale") is Outcome.DONE
        old_sdk.add(url_of(case), "stale", NEW, kind="SQLAlchemySession")
        assert store.settle() == 0
        is_whole_again(case)


def test_items_without_a_row_that_were_there_before_are_left_alone(case: SdkCase) -> None:
    """They are for ``doctor`` to report, not for a purge to bring back."""
    case.put_raw("orphan", "{}")
    with case.open() as store:
        assert delete(store, "stale") is Outcome.DONE
        assert store.settle() == 0
    assert case.remains("orphan") == {"agent_messages"}


def test_writers_that_insert_the_row_themselves_are_not_waited_for(plain: SdkCase) -> None:
    with plain.open() as store:
        assert delete(store, "stale") is Outcome.DONE
        before = replace(store.spent)
        assert store.settle() == 0
        assert store.spent == before


def _has_row(case: SdkCase) -> bool:
    return case.remains("stale") == {"agent_sessions", "agent_messages"}
