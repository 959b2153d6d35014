"""Applying plans: batches, limits, stops, errors and the ledger, on a store in memory that can be made to fail."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from failing_store import FailingStore, breaks_at

from sessionctl.core.limits import Limits
from sessionctl.core.model import Change, Guard, Outcome
from sessionctl.core.report import Report, Stopped
from sessionctl.core.selector import Selector
from sessionctl.errors import LedgerUnavailable
from sessionctl.ledger import Ledger, new_run
from sessionctl.operations.execute import Terms, apply_plan
from sessionctl.operations.progress import Progress
from sessionctl.operations.purge import plan_purge
from sessionctl.operations.stop import Stop
from sessionctl.stores.base import Store
from sessionctl.stores.memory import MemoryStore

OLD = Selector(older_than=timedelta(days=1))
MIN_IDLE = timedelta(minutes=15)


@pytest.fixture
def store() -> MemoryStore:
    """25 sessions of two items, idle for two days, and one that was active just now."""
    made = MemoryStore()
    for number in range(25):
        made.append(f"s{number:02}", "one", "two")
    made.advance(timedelta(days=2))
    made.append("live", "now")
    return made


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open(tmp_path / "state" / "ledger.db")


def purge(store: Store, ledger: Ledger, selector: Selector = OLD, **terms: Any) -> Report:
    observe = terms.pop("observe", lambda _: None)
    with plan_purge(store, selector, min_idle=MIN_IDLE) as plan:
        run = new_run("purge", str(store.address), store.now(), {})
        agreed = Terms(guard=Guard(min_idle=MIN_IDLE), named=frozenset(selector.named), **terms)
        return apply_plan(store, plan, agreed, ledger=ledger, run=run, observe=observe)


def left(store: MemoryStore) -> set[str]:
    from sessionctl.core.selector import Query

    return {ref.id for ref in store.sessions(Query())}


class TestDone:
    def test_counts_what_the_store_says(self, store: MemoryStore, ledger: Ledger) -> None:
        report = purge(store, ledger)
        assert (report.removed.sessions, report.removed.items, report.removed.bytes) == (25, 50, 150)
        assert (report.stopped, report.remaining, report.exit_code) == (Stopped.DONE, 0, 0)
        assert left(store) == {"live"}
        (run,) = ledger.runs()
        assert (run.stopped, run.counts) == (Stopped.DONE, report.counts() | {"elapsed_s": round(report.elapsed_s, 3)})

    def test_nothing_is_left_for_a_second_run(self, store: MemoryStore, ledger: Ledger) -> None:
        purge(store, ledger)
        again = purge(store, ledger)
        assert (again.matched.sessions, again.removed.sessions, again.exit_code) == (0, 0, 0)

    def test_what_changed_since_the_plan_is_kept_and_counted(self, store: MemoryStore, ledger: Ledger) -> None:
        def meanwhile(number: int, _: Sequence[Change]) -> None:
            if number == 0:
                store.append("s03", "late")
                store.pop("s04")

        report = purge(FailingStore(store, before_batch=meanwhile), ledger)
        assert report.skipped[Outcome.CHANGED] == 2
        assert left(store) == {"live", "s03", "s04"}
        assert [item.text for item in store.items("s03")] == ["one", "two", "late"]
        assert report.exit_code == 0

    def test_who_is_gone_already_is_missing(self, store: MemoryStore, ledger: Ledger) -> None:
        with plan_purge(store, OLD, min_idle=MIN_IDLE) as plan:
            purge(store, ledger, Selector(named=("s00", "s01"), named_given=True))
            run = new_run("purge", "memory", store.now(), {})
            report = apply_plan(store, plan, Terms(guard=Guard(min_idle=MIN_IDLE)), ledger=ledger, run=run)
        assert (report.skipped[Outcome.MISSING], report.removed.sessions, report.exit_code) == (2, 23, 0)

    def test_a_session_the_store_refuses_is_partial(self, store: MemoryStore, ledger: Ledger) -> None:
        store.refuses = {"s07"}
        report = purge(store, ledger)
        assert (report.skipped[Outcome.FAILED], report.removed.sessions, report.exit_code) == (1, 24, 3)

    def test_a_named_session_that_is_active_is_partial(self, store: MemoryStore, ledger: Ledger) -> None:
        report = purge(store, ledger, Selector(named=("s00", "live", "nobody"), named_given=True))
        assert (report.skipped[Outcome.ACTIVE], report.skipped[Outcome.MISSING]) == (1, 1)
        assert (report.removed.sessions, report.exit_code) == (1, 3)


class TestLimits:
    @pytest.mark.parametrize("size", [1, 2, 7])
    def test_no_batch_is_larger_than_asked(self, store: MemoryStore, ledger: Ledger, size: int) -> None:
        watched = FailingStore(store)
        purge(watched, ledger, limits=Limits(batch_size=size))
        assert max(map(len, watched.batches)) <= size
        assert sum(map(len, watched.batches)) == 25

    @pytest.mark.parametrize("most", [1, 10, 24])
    def test_max_sessions(self, store: MemoryStore, ledger: Ledger, most: int) -> None:
        report = purge(store, ledger, limits=Limits(max_sessions=most))
        assert (report.removed.sessions, report.remaining) == (most, 25 - most)
        assert (report.stopped, report.exit_code) == (Stopped.LIMIT, 4)
        assert len(left(store)) == 26 - most

    def test_max_sessions_that_is_just_enough_is_done(self, store: MemoryStore, ledger: Ledger) -> None:
        report = purge(store, ledger, limits=Limits(max_sessions=25))
        assert (report.stopped, report.exit_code) == (Stopped.DONE, 0)

    def test_max_sessions_counts_the_removed(self, store: MemoryStore, ledger: Ledger) -> None:
        store.refuses = {"s00", "s01"}
        report = purge(store, ledger, limits=Limits(max_sessions=3))
        assert report.removed.sessions == 3

    def test_max_runtime(self, store: MemoryStore, ledger: Ledger) -> None:
        limits = Limits(max_runtime=timedelta(microseconds=1), batch_size=1)
        report = purge(store, ledger, limits=limits)
        assert (report.stopped, report.exit_code, report.removed.sessions) == (Stopped.LIMIT, 4, 0)

    def test_rate(self, store: MemoryStore, ledger: Ledger) -> None:
        report = purge(store, ledger, limits=Limits(rate=100, batch_size=1))
        assert report.elapsed_s >= 0.2  # 25 at 100 a second; the batch after the wait is free


class TestStops:
    def test_a_signal_ends_after_the_batch(self, store: MemoryStore, ledger: Ledger) -> None:
        stop = Stop()

        def observe(progress: Progress) -> None:
            if progress.attempted.sessions == 10:
                stop.signal = 15

        report = purge(store, ledger, stop=stop, observe=observe, limits=Limits(batch_size=5))
        assert (report.removed.sessions, report.remaining) == (10, 15)
        assert (report.stopped, report.exit_code) == (Stopped.SIGNAL, 143)
        assert ledger.runs()[0].stopped is Stopped.SIGNAL

    def test_a_signal_behind_the_last_batch_came_too_late(self, store: MemoryStore, ledger: Ledger) -> None:
        stop = Stop()

        def observe(progress: Progress) -> None:
            if progress.attempted.sessions == 25:
                stop.signal = 2

        report = purge(store, ledger, stop=stop, observe=observe)
        assert (report.stopped, report.exit_code) == (Stopped.DONE, 0)

    def test_an_error_keeps_what_was_done(self, store: MemoryStore, ledger: Ledger) -> None:
        broken = FailingStore(store, before_batch=breaks_at(2))
        report = purge(broken, ledger, limits=Limits(batch_size=5))
        assert (report.removed.sessions, report.remaining, report.stopped) == (10, 15, Stopped.ERROR)
        assert report.error == ("the connection was lost", 1)
        assert report.exit_code == 3
        assert ledger.runs()[0].error == "the connection was lost"
        again = purge(store, ledger)
        assert (again.removed.sessions, again.exit_code) == (15, 0)

    def test_an_error_at_once_has_its_own_status(self, store: MemoryStore, ledger: Ledger) -> None:
        report = purge(FailingStore(store, before_batch=breaks_at(0)), ledger)
        assert (report.removed.sessions, report.exit_code) == (0, 1)
        assert len(left(store)) == 26

    def test_a_commit_whose_answer_was_lost(self, store: MemoryStore, ledger: Ledger) -> None:
        broken = FailingStore(store, after_batch=breaks_at(1))
        report = purge(broken, ledger, limits=Limits(batch_size=5))
        assert report.stopped is Stopped.ERROR
        assert report.removed.sessions == 5  # never more than what the store confirmed
        again = purge(store, ledger)
        assert again.removed.sessions == 15  # the second five were gone


class TestLedger:
    def test_no_ledger_no_change(self, store: MemoryStore, ledger: Ledger) -> None:
        shutil.rmtree(ledger.at.parent)
        with pytest.raises(LedgerUnavailable):
            purge(store, ledger)
        assert len(left(store)) == 26

    def test_a_ledger_lost_in_mid_run(self, store: MemoryStore, ledger: Ledger) -> None:
        def lose(progress: Progress) -> None:
            if progress.attempted.sessions == 5:
                shutil.rmtree(ledger.at.parent)

        report = purge(store, ledger, observe=lose, limits=Limits(batch_size=5))
        assert report.removed.sessions == 25 - report.remaining == 26 - len(left(store))
        assert report.stopped is Stopped.ERROR
        assert report.error
        assert "ledger" in report.error[0]
        assert report.exit_code != 0

    def test_a_ledger_that_fails_while_the_run_goes_on(
        self, store: MemoryStore, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sessionctl.ledger.pulse._NOTED_EVERY_S", 0.0)

        def lose(progress: Progress) -> None:
            if progress.attempted.sessions == 5:
                shutil.rmtree(ledger.at.parent)

        report = purge(store, ledger, observe=lose, limits=Limits(batch_size=5))
        assert (report.removed.sessions, report.remaining, report.stopped) == (5, 20, Stopped.ERROR)
        assert report.error
        assert "ledger" in report.error[0]
        assert len(left(store)) == 21

    def test_what_a_run_cut_off_leaves(
        self, store: MemoryStore, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sessionctl.ledger.pulse._NOTED_EVERY_S", 0.0)

        def cut_off(number: int, _: Sequence[Change]) -> None:
            if number == 3:
                raise SystemExit(130)

        with pytest.raises(SystemExit):
            purge(FailingStore(store, before_batch=cut_off), ledger, limits=Limits(batch_size=5))
        (run,) = ledger.runs()
        assert (run.stopped, run.ended_at) == (None, None)
        assert run.counts["removed"]["sessions"] == 15
