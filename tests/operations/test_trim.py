"""Planning and applying trims on a store in memory: what goes, what it is conditional on, what is tried again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import histories
import pytest
from failing_store import FailingStore
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionctl.core.history import verdict
from sessionctl.core.limits import Limits
from sessionctl.core.model import Change, Guard, Outcome
from sessionctl.core.payload import read_item
from sessionctl.core.plan import Step
from sessionctl.core.report import Report, Stopped
from sessionctl.core.selector import Selector
from sessionctl.core.trimming import DropObstacle, Obstacle, TrimLimits
from sessionctl.ledger import Ledger, new_run
from sessionctl.operations import trim as trimming
from sessionctl.operations.execute import Terms, apply_plan
from sessionctl.operations.trim import Wish, plan_trim
from sessionctl.stores.base import Store
from sessionctl.stores.memory import MemoryStore
from sessionctl.testing.case import turn

ALL = Selector(globs=("*",))
IDLE = timedelta(minutes=15)
TWO_TURNS = Wish(limits=TrimLimits(keep_turns=2))


def said(*turns: int) -> list[str]:
    """These turns as they are stored, each answer with an id of its own."""
    return [json.dumps(item).replace("msg_1", f"msg_{number}") for number in turns for item in turn(number)]


@pytest.fixture
def store() -> MemoryStore:
    """Three sessions of 40 turns, one of a single turn, and one that was active just now."""
    made = MemoryStore()
    for name in ("a", "b", "c"):
        made.append(name, *said(*range(40)))
    made.append("short", *said(1))
    made.advance(timedelta(days=2))
    made.append("busy", *said(*range(10)))
    return made


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open(tmp_path / "state" / "ledger.db")


def trim(store: Store, ledger: Ledger, wish: Wish = TWO_TURNS, selector: Selector = ALL, **terms: Any) -> Report:
    with plan_trim(store, selector, wish, min_idle=IDLE) as plan:
        run = new_run("trim", str(store.address), store.now(), {})
        agreed = Terms(guard=Guard(min_idle=IDLE), named=frozenset(selector.named), **terms)
        return apply_plan(store, plan, agreed, ledger=ledger, run=run)


def steps(store: Store, wish: Wish) -> list[Step]:
    with plan_trim(store, ALL, wish, min_idle=timedelta(0)) as plan:
        return list(plan.steps())


def left(store: MemoryStore, session_id: str) -> list[str]:
    return [item.text for item in store.items(session_id)]


class TestOldestTurns:
    def test_the_newest_stay(self, store: MemoryStore, ledger: Ledger) -> None:
        report = trim(store, ledger)
        for name in ("a", "b", "c"):
            assert left(store, name) == said(38, 39)
        assert left(store, "short") == said(1)
        assert left(store, "busy") == said(*range(10))
        gone = [len(text) for text in said(*range(38))]
        assert (report.removed.sessions, report.removed.items, report.removed.bytes) == (3, 3 * 152, 3 * sum(gone))
        assert (report.skipped[Outcome.ACTIVE], report.stopped, report.exit_code) == (1, Stopped.DONE, 0)
        assert report.to_json()["removed"]["sessions"] == 0
        assert report.to_json()["changed"] == {"sessions": 3}
        (run,) = ledger.runs()
        assert run.counts == report.counts() | {"elapsed_s": round(report.elapsed_s, 3)}

    def test_a_second_trim_finds_nothing(self, store: MemoryStore, ledger: Ledger) -> None:
        trim(store, ledger)
        again = trim(store, ledger)
        assert (again.removed.items, again.matched.items, again.exit_code) == (0, 3 * 8 + 4 + 40, 0)

    def test_most_of_a_session_is_not_read(self, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[str] = []
        monkeypatch.setattr(trimming, "read_item", lambda text: (read.append(text), read_item(text))[1])
        assert len(steps(store, TWO_TURNS)) == 4
        assert len(read) < 4 * 20 + 4

    def test_instructions_at_the_beginning_stay(self, store: MemoryStore, ledger: Ledger) -> None:
        rules = [json.dumps(histories.instruction("system")), json.dumps(histories.instruction("developer"))]
        store.append("ruled", rules[0], *said(*range(30)))
        store.append("much ruled", *rules, *rules, *said(*range(30)))
        store.advance(timedelta(days=1))
        trim(store, ledger)
        assert left(store, "ruled") == [rules[0], *said(28, 29)]
        assert left(store, "much ruled") == [*rules, *rules, *said(28, 29)]

    def test_a_compaction_stays_however_old(self, store: MemoryStore, ledger: Ledger) -> None:
        compaction = json.dumps({"type": "compaction", "id": "cmp_1", "encrypted_content": "x"})
        store.append("condensed", *said(*range(15)), compaction, *said(*range(15, 40)))
        store.advance(timedelta(days=1))
        trim(store, ledger)
        assert left(store, "condensed") == [compaction, *said(38, 39)]

    def test_what_cannot_be_met_is_told(self, store: MemoryStore, ledger: Ledger) -> None:
        report = trim(store, ledger, Wish(limits=TrimLimits(max_items=3)))
        assert report.obstacles == {Obstacle.NEWEST_TURNS: 4}
        assert report.to_json()["obstacles"] == {"newest_turns": 4}
        assert left(store, "a") == said(38, 39)

    def test_limits_of_the_run(self, store: MemoryStore, ledger: Ledger) -> None:
        report = trim(store, ledger, limits=Limits(max_sessions=2))
        assert (report.removed.sessions, report.remaining, report.exit_code) == (2, 1, 4)

    @settings(max_examples=60, deadline=None)
    @given(data=st.data(), limits=st.builds(
        TrimLimits, keep_turns=st.integers(1, 6) | st.none(), max_items=st.integers(1, 40),
        max_bytes=st.integers(100, 5000) | st.none(), min_turns=st.integers(1, 3),
    ))  # fmt: skip
    def test_its_ends_tell_what_all_of_it_tells(self, data: st.DataObject, limits: TrimLimits) -> None:
        """Reading only the ends of a session comes to the same as reading all of it, and to a sound history."""
        texts = [json.dumps(item) for item in data.draw(histories.sound(max_turns=24))]
        store = MemoryStore()
        store.append("s", *texts)
        by_ends = steps(store, Wish(limits=limits))
        ref = next(store.sessions(trimming.Selector().resolve(store.now()), want=trimming.WANT))
        whole = trimming._Foreseeing(store, Wish(limits=limits), store.now()).whole(ref)
        assert by_ends == ([whole] if whole else [])
        if whole and whole.rewrite:
            (outcome,) = store.apply([whole.change], Guard())
            assert outcome is Outcome.DONE
            before, after = verdict(map(read_item, texts)), verdict(map(read_item, left(store, "s")))
            assert len(after.defects) <= len(before.defects)
            assert len(texts) - len(left(store, "s")) == whole.items
            assert sum(map(len, texts)) - sum(map(len, left(store, "s"))) == whole.bytes


class TestMeanwhile:
    def test_an_append_does_not_matter(self, store: MemoryStore, ledger: Ledger) -> None:
        def meanwhile(number: int, _: Sequence[Change]) -> None:
            if number == 0:
                store._kept["a"].items += store._kept["short"].items  # without a stamp: active is another matter

        report = trim(FailingStore(store, before_batch=meanwhile), ledger)
        assert left(store, "a") == said(38, 39, 1)
        assert report.removed.sessions == 3

    def test_what_was_trimmed_by_others_is_planned_again(self, store: MemoryStore, ledger: Ledger) -> None:
        def meanwhile(number: int, _: Sequence[Change]) -> None:
            if number == 0:
                del store._kept["a"].items[:40]
                del store._kept["b"].items[:152]

        report = trim(FailingStore(store, before_batch=meanwhile), ledger)
        assert left(store, "a") == left(store, "b") == said(38, 39)
        assert (report.removed.sessions, report.removed.items) == (2, 112 + 152)
        assert (report.skipped[Outcome.CHANGED], report.remaining) == (1, 0)  # nothing was left to do on b

    def test_who_changes_again_and_again_is_counted_as_changed(self, store: MemoryStore, ledger: Ledger) -> None:
        def meanwhile(_: int, changes: Sequence[Change]) -> None:
            if any(change.session_id == "a" for change in changes):
                del store._kept["a"].items[:4]

        failing = FailingStore(store, before_batch=meanwhile)
        report = trim(failing, ledger)
        assert (report.skipped[Outcome.CHANGED], report.removed.sessions, report.exit_code) == (1, 2, 0)
        assert sum("a" in batch for batch in failing.batches) == 4
        assert left(store, "a") == said(*range(4, 40))

    def test_who_is_gone_is_missing(self, store: MemoryStore, ledger: Ledger) -> None:
        def meanwhile(number: int, _: Sequence[Change]) -> None:
            if number == 0:
                del store._kept["a"]

        report = trim(FailingStore(store, before_batch=meanwhile), ledger)
        assert (report.skipped[Outcome.MISSING], report.removed.sessions) == (1, 2)


class TestNewestTurns:
    def test_they_go_from_an_item_on(self, store: MemoryStore, ledger: Ledger) -> None:
        key = list(store.items("a"))[4 * 30 + 1].key
        report = trim(store, ledger, Wish(after=str(key)), Selector(named=("a",), named_given=True))
        assert left(store, "a") == said(*range(31))
        assert (report.removed.items, report.exit_code) == (36, 0)

    def test_they_go_from_a_time_on(self, store: MemoryStore, ledger: Ledger) -> None:
        store.append("a", *said(77, 78))
        store.advance(timedelta(hours=1))
        report = trim(store, ledger, Wish(after=store.now() - timedelta(hours=1)))
        assert left(store, "a") == said(*range(40))
        assert left(store, "b") == said(*range(40))
        assert report.removed.items == 8

    def test_an_append_keeps_it_from_a_session(self, store: MemoryStore, ledger: Ledger) -> None:
        def meanwhile(number: int, _: Sequence[Change]) -> None:
            if number == 0:
                store.append("a", *said(99))

        key = list(store.items("a"))[4 * 30].key
        report = trim(FailingStore(store, before_batch=meanwhile), ledger, Wish(after=str(key)))
        assert report.skipped[Outcome.CHANGED] == 1
        assert left(store, "a") == said(*range(40), 99)

    def test_a_pending_call_is_not_taken(self, store: MemoryStore, ledger: Ledger) -> None:
        key = list(store.items("a"))[-1].key
        pending = [histories.user(), histories.call("function_call", "waits")]
        store.append("a", *map(json.dumps, pending))
        store.advance(timedelta(days=1))
        named = Selector(named=("a",), named_given=True)
        report = trim(store, ledger, Wish(after=str(key)), named)
        assert (report.obstacles, report.exit_code) == ({DropObstacle.PENDING: 1}, 3)
        assert len(left(store, "a")) == 162
        report = trim(store, ledger, Wish(after=str(key), include_pending=True), named)
        assert (report.obstacles, report.exit_code) == ({}, 0)
        assert left(store, "a") == said(*range(40))
