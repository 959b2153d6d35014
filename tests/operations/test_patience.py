"""Trouble that may pass is borne for a while; replicas that fall behind are waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from failing_store import FailingStore

from sessionctl.core import patience
from sessionctl.core.limits import LagLimit, Limits
from sessionctl.core.model import Change, Guard, Lag, Outcome
from sessionctl.core.report import Report, Stopped
from sessionctl.core.selector import Query, Selector
from sessionctl.errors import AccessRefused, SessionctlError, StoreBusy, StoreUnavailable
from sessionctl.ledger import Ledger, new_run
from sessionctl.operations import lag
from sessionctl.operations.execute import Terms, apply_plan
from sessionctl.operations.progress import Progress
from sessionctl.operations.purge import plan_purge
from sessionctl.operations.stop import Stop
from sessionctl.stores.base import Store
from sessionctl.stores.memory import MemoryStore

MIN_IDLE = timedelta(minutes=15)
SESSIONS = 40


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    for number in range(SESSIONS):
        made.append(f"s{number:02}", "one", "two")
    made.advance(timedelta(days=2))
    return made


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(patience, "_LONGEST_PAUSE_S", 0.002)


@pytest.fixture
def purge(tmp_path: Path) -> Callable[..., Report]:
    ledger = Ledger.open(tmp_path / "state" / "ledger.db")

    def run(store: Store, limits: Limits | None = None, **how: Any) -> Report:
        observe: Callable[[Progress], None] = how.pop("observe", lambda _: None)
        with plan_purge(store, Selector(older_than=timedelta(days=1)), min_idle=MIN_IDLE) as plan:
            terms = Terms(guard=Guard(min_idle=MIN_IDLE), limits=limits or Limits(batch_size=10), **how)
            entry = new_run("purge", str(store.address), store.now(), {})
            return apply_plan(store, plan, terms, ledger=ledger, run=entry, observe=observe)

    return run


def failing(times: int, error: SessionctlError, *, from_batch: int = 1) -> Callable[[int, Sequence[Change]], None]:
    def before(number: int, _: Sequence[Change]) -> None:
        if from_batch <= number < from_batch + times:
            raise error

    return before


class TestTrouble:
    @pytest.mark.parametrize("error", [StoreBusy("locked"), StoreUnavailable("it restarts")])
    def test_that_passes_costs_nothing_but_time(
        self, store: MemoryStore, purge: Callable[..., Report], error: SessionctlError
    ) -> None:
        broken = FailingStore(store, before_batch=failing(3, error))
        report = purge(broken)
        assert (report.removed.sessions, report.stopped, report.error) == (SESSIONS, Stopped.DONE, None)
        assert (report.retries, report.exit_code) == (3, 0)
        assert report.times.wait > 0

    def test_makes_the_batches_smaller_and_loses_none_of_their_sessions(
        self, store: MemoryStore, purge: Callable[..., Report]
    ) -> None:
        broken = FailingStore(store, before_batch=failing(1, StoreBusy("too long a statement"), from_batch=0))
        purge(broken, Limits())
        first, second, *_ = broken.batches
        assert first[: len(second)] == second
        assert {session for batch in broken.batches for session in batch} == {f"s{n:02}" for n in range(SESSIONS)}

    def test_that_passes_is_told_as_waiting(self, store: MemoryStore, purge: Callable[..., Report]) -> None:
        """The time of an attempt of which nothing came too: a lock of others was waited for in it."""

        def before(number: int, _: Sequence[Change]) -> None:
            if number == 1:
                time.sleep(0.2)
                raise StoreBusy("locked")

        report = purge(FailingStore(store, before_batch=before))
        assert report.times.wait >= 0.2

    def test_that_does_not_pass_ends_the_run_with_what_was_done(
        self, store: MemoryStore, purge: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(patience, "GIVE_UP_S", 0.05)
        report = purge(FailingStore(store, before_batch=failing(10**6, StoreBusy("locked"))))
        assert (report.removed.sessions, report.remaining, report.stopped) == (10, SESSIONS - 10, Stopped.ERROR)
        assert (report.error, report.why, report.exit_code) == (("locked", 1), "locked", 3)
        assert report.retries > 1

    @pytest.mark.parametrize(
        "stuck", [{"s00"}, {"s17"}, {"s39"}, {"s03", "s04", "s39"}], ids=lambda ids: "+".join(sorted(ids))
    )
    @pytest.mark.parametrize("give_up_s", [0.0, 0.02])
    def test_that_one_session_makes_is_no_reason_to_leave_the_others(
        self, store: MemoryStore, purge: Callable[..., Report], monkeypatch: pytest.MonkeyPatch, stuck: set[str],
        give_up_s: float,
    ) -> None:  # fmt: skip
        def before(_: int, changes: Sequence[Change]) -> None:
            if stuck & {change.session_id for change in changes}:
                raise StoreBusy("cancelled")

        monkeypatch.setattr(patience, "GIVE_UP_S", give_up_s)
        broken = FailingStore(store, before_batch=before)
        report = purge(broken)
        assert (report.removed.sessions, report.remaining) == (SESSIONS - len(stuck), 0)
        assert (report.skipped[Outcome.FAILED], report.failed) == (len(stuck), dict.fromkeys(stuck, "cancelled"))
        assert (report.stopped, report.error, report.exit_code) == (Stopped.DONE, None, 3)
        assert all([name] in broken.batches for name in stuck), "given up, and never tried alone"
        assert {ref.id for ref in store.sessions(Query())} == stuck

    def test_in_which_nothing_else_goes_through_is_not_blamed_on_a_session(
        self, store: MemoryStore, purge: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(patience, "GIVE_UP_S", 0.0)
        broken = FailingStore(store, before_batch=failing(10**6, StoreBusy("locked"), from_batch=0))
        report = purge(broken)
        assert (report.skipped.get(Outcome.FAILED, 0), report.remaining) == (0, SESSIONS)
        assert (report.error, report.exit_code) == (("locked", 1), 1)
        assert [len(batch) for batch in broken.batches] == [10, 5, 1, 1]

    def test_of_a_lasting_kind_is_not_borne(self, store: MemoryStore, purge: Callable[..., Report]) -> None:
        broken = FailingStore(store, before_batch=failing(1, AccessRefused("no more rights")))
        report = purge(broken)
        assert (len(broken.batches), report.retries, report.exit_code) == (2, 0, 3)

    def test_is_said_while_it_lasts_and_ends_at_a_signal(
        self, store: MemoryStore, purge: Callable[..., Report]
    ) -> None:
        stop, said = Stop(), []

        def observe(progress: Progress) -> None:
            said.append(progress.waiting)
            if progress.retries == 2:
                stop.signal = 15

        report = purge(
            FailingStore(store, before_batch=failing(10**6, StoreBusy("locked"))), stop=stop, observe=observe
        )
        assert said == [None, "locked", "locked"]
        assert (report.stopped, report.exit_code, report.removed.sessions) == (Stopped.SIGNAL, 143, 10)
        assert report.why == "SIGTERM came"
        assert report.error
        assert report.error[0] == "locked"


class Lagging(FailingStore):
    """Its replicas are as far behind as the list says, one look after the other, and then level."""

    def __init__(self, inner: Store, lags: Sequence[Lag | None]) -> None:
        super().__init__(inner)
        self.lags, self.looks = list(lags), 0

    def lag(self) -> Lag | None:
        self.looks += 1
        return self.lags.pop(0) if self.lags else Lag(seconds=0.0)


class TestReplicas:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sessionctl.operations.execute._LOOK_AGAIN_S", 0.001)
        monkeypatch.setattr(lag, "_LOOK_EVERY_S", 0.0)

    def test_that_are_behind_are_waited_for(self, store: MemoryStore, purge: Callable[..., Report]) -> None:
        lagging = Lagging(store, [Lag(seconds=1), Lag(seconds=99), Lag(seconds=60), Lag(seconds=29)])
        waits: list[str] = []
        report = purge(lagging, observe=lambda p: waits.append(p.waiting) if p.waiting else None)
        assert (report.removed.sessions, report.stopped) == (SESSIONS, Stopped.DONE)
        assert waits == ["a replica is 99s behind, more than 30s", "a replica is 60s behind, more than 30s"]
        assert len(lagging.batches) == 4

    def test_that_come_no_closer_end_the_run(
        self, store: MemoryStore, purge: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lag, "_BEHIND_S", 0.01)
        report = purge(Lagging(store, [Lag(seconds=0), *[Lag(seconds=99)] * 10**5]))
        assert (report.removed.sessions, report.stopped, report.exit_code) == (10, Stopped.LIMIT, 4)
        assert report.why
        assert report.why.startswith("a replica is 99s behind, more than 30s, and came no closer")

    def test_a_slot_that_nobody_reads_ends_it_at_once(self, store: MemoryStore, purge: Callable[..., Report]) -> None:
        report = purge(Lagging(store, [Lag(retained=5 * 2**30, slot="cdc", slot_active=False)]))
        assert (report.removed.sessions, report.stopped, report.exit_code) == (0, Stopped.LIMIT, 4)
        assert report.why
        assert "replication slot cdc holds back 5 GiB of log, more than 4 GiB, and nobody reads it" in report.why

    def test_a_limit_of_the_user_holds_instead(self, store: MemoryStore, purge: Callable[..., Report]) -> None:
        lagging = Lagging(store, [Lag(seconds=99, retained=2**40, slot="s")] * 4)
        report = purge(lagging, Limits(batch_size=10, max_replica_lag=LagLimit(delay=None, retained=None)))
        assert (report.stopped, len(lagging.batches)) == (Stopped.DONE, 4)

    def test_are_not_asked_for_again_where_they_cannot_be_seen(
        self, store: MemoryStore, purge: Callable[..., Report]
    ) -> None:
        blind = Lagging(store, [None])
        purge(blind)
        assert blind.looks == 1
