"""Turns give way to what a model makes of them: what is asked, what is done with answers, and what stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from failing_store import FailingStore
from histories import instruction
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionctl.condensers import Condensed, Condenser
from sessionctl.core.condensing import Condensing, Consumed, Kind
from sessionctl.core.extract import Extract
from sessionctl.core.history import verdict
from sessionctl.core.limits import Limits
from sessionctl.core.model import Change, Guard, Outcome
from sessionctl.core.payload import read_item
from sessionctl.core.report import Report, Stopped
from sessionctl.core.selector import Selector
from sessionctl.core.summary import read_summary
from sessionctl.core.trimming import TrimLimits
from sessionctl.errors import AccessRefused, ModelFailed, SessionctlError, StoreBusy
from sessionctl.ledger import Ledger, new_run
from sessionctl.operations.condensing import Condensation
from sessionctl.operations.execute import Terms, apply_plan
from sessionctl.operations.stop import Stop
from sessionctl.operations.trim import Wish, plan_trim
from sessionctl.stores.base import Store
from sessionctl.stores.memory import MemoryStore
from sessionctl.testing.case import turn, user

ALL = Selector(globs=("*",))
IDLE = timedelta(minutes=15)
SUMMARIES = Condensing(kind=Kind.SUMMARY, model="m", base_url="http://nowhere", max_tokens=100, concurrency=3)
COMPACTIONS = replace(SUMMARIES, kind=Kind.COMPACTION)
TWO_TURNS = Wish(limits=TrimLimits(keep_turns=2), condensing=SUMMARIES)
COMPACTION = {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"}

Answer = Callable[[Extract], str | Sequence[Mapping[str, Any]] | SessionctlError]


class ScriptedCondenser(Condenser):
    """Answers at once, as it is told to; a text becomes a summary. Remembers what it was asked."""

    def __init__(self, answer: Answer = lambda extract: f"about {extract.session_id}") -> None:
        self.answer = answer
        self.asked: list[Extract] = []

    def submit(self, extract: Extract, now: datetime) -> Future[Condensed]:
        self.asked.append(extract)
        found, future = self.answer(extract), Future[Condensed]()
        if isinstance(found, SessionctlError):
            future.set_exception(found)
        else:
            items = [extract.summary(found, "m", now).item] if isinstance(found, str) else found
            consumed = Consumed(requests=1, input_tokens=300, output_tokens=20)
            future.set_result(Condensed(items=items, consumed=consumed))
        return future

    def close(self) -> None:
        """Nothing is under way."""


def said(*turns: int) -> list[str]:
    return [json.dumps(item).replace("msg_1", f"msg_{number}") for number in turns for item in turn(number)]


@pytest.fixture
def store() -> MemoryStore:
    """Three sessions of ten turns, one of a single turn."""
    made = MemoryStore()
    for name in ("a", "b", "c"):
        made.append(name, *said(*range(10)))
    made.append("short", *said(1))
    made.advance(timedelta(days=2))
    return made


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open(tmp_path / "state" / "ledger.db")


def condense(
    store: Store, ledger: Ledger, condenser: Condenser, wish: Wish = TWO_TURNS, selector: Selector = ALL, **terms: Any
) -> Report:
    with plan_trim(store, selector, wish, min_idle=IDLE) as plan:
        assert plan.header.condensing == wish.condensing
        run = new_run("trim", str(store.address), store.now(), {})
        agreed = Terms(guard=Guard(min_idle=IDLE), named=frozenset(selector.named), **terms)
        with Condensation(store, condenser, 3, IDLE) as condensation:
            return apply_plan(store, plan, agreed, ledger=ledger, run=run, condensation=condensation)


def left(store: MemoryStore, session_id: str) -> list[str]:
    return [item.text for item in store.items(session_id)]


def summary_of(store: MemoryStore, session_id: str, at: int = 0) -> Any:
    return read_summary(read_item(left(store, session_id)[at]))


class TestDone:
    def test_one_item_stands_for_what_went(self, store: MemoryStore, ledger: Ledger) -> None:
        before = {name: list(store.items(name)) for name in ("a", "b", "c")}
        report = condense(store, ledger, ScriptedCondenser())
        for name in ("a", "b", "c"):
            first, *others = store.items(name)
            assert [item.text for item in others] == said(8, 9)
            # It has the key and the time of the newest item that went.
            assert (first.key, first.created_at) == (before[name][31].key, before[name][31].created_at)
            found = summary_of(store, name)
            assert (found.text, found.turns, found.items) == (f"about {name}", 8, 32)
        assert (report.removed.sessions, report.removed.items, report.removed.condensed) == (3, 96, 3)
        assert report.removed.elided == 0
        size = sum(len(text) for text in said(*range(8)))
        assert report.removed.bytes == sum(size - len(left(store, name)[0]) for name in ("a", "b", "c"))
        assert report.consumed == Consumed(requests=3, input_tokens=900, output_tokens=60)
        (run,) = ledger.runs()
        assert run.counts["condensed"] == {"sessions": 3, "requests": 3, "input_tokens": 900, "output_tokens": 60}

    @pytest.mark.parametrize("limits", [
        {"keep_turns": 2}, {"max_items": 9}, {"max_bytes": 2500}, {"max_tokens": 300},
        {"items_older_than": timedelta(hours=1), "min_turns": 3},
    ])  # fmt: skip
    def test_a_second_run_asks_nothing(self, store: MemoryStore, ledger: Ledger, limits: Any) -> None:
        store.append("ruled", json.dumps(instruction("developer")), *said(*range(10)))
        store.advance(timedelta(days=1))
        wish, condenser = Wish(limits=TrimLimits(**limits), condensing=SUMMARIES), ScriptedCondenser()
        assert condense(store, ledger, condenser, wish).removed.condensed == 4
        again = condense(store, ledger, condenser, wish)
        assert (again.removed.sessions, len(condenser.asked)) == (0, 4)
        assert summary_of(store, "ruled", 1).text == "about ruled"

    def test_a_later_trim_condenses_the_summary_with_the_rest(self, store: MemoryStore, ledger: Ledger) -> None:
        condense(store, ledger, ScriptedCondenser())
        since = summary_of(store, "a").since
        store.append("a", *said(*range(10, 14)))
        store.advance(timedelta(days=1))
        condenser = ScriptedCondenser(lambda extract: f"{extract.summaries[0].text}, and more")
        report = condense(store, ledger, condenser)
        assert (report.removed.sessions, len(condenser.asked)) == (1, 1)
        assert left(store, "a")[1:] == said(12, 13)
        found = summary_of(store, "a")
        assert (found.text, found.turns, found.items, found.since) == ("about a, and more", 12, 48, since)

    def test_a_plain_trim_leaves_the_summary(self, store: MemoryStore, ledger: Ledger) -> None:
        condense(store, ledger, ScriptedCondenser(), replace(TWO_TURNS, limits=TrimLimits(keep_turns=5)))
        with plan_trim(store, ALL, Wish(limits=TrimLimits(keep_turns=2)), min_idle=IDLE) as plan:
            run = new_run("trim", str(store.address), store.now(), {})
            apply_plan(store, plan, Terms(guard=Guard()), ledger=ledger, run=run)
        assert left(store, "a")[1:] == said(8, 9)
        assert summary_of(store, "a").turns == 5

    def test_behind_a_compaction_which_stays(self, store: MemoryStore, ledger: Ledger) -> None:
        store.append("mixed", json.dumps(COMPACTION), *said(*range(6)))
        store.advance(timedelta(days=1))
        condense(store, ledger, ScriptedCondenser())
        assert left(store, "mixed")[0] == json.dumps(COMPACTION)
        assert summary_of(store, "mixed", 1).turns == 4
        store.append("mixed", *said(*range(6, 9)))
        store.advance(timedelta(days=1))
        condense(store, ledger, ScriptedCondenser())
        assert left(store, "mixed")[0] == json.dumps(COMPACTION)
        assert summary_of(store, "mixed", 1).turns == 7
        assert len(left(store, "mixed")) == 2 + 8

    def test_with_elided_outputs(self, store: MemoryStore, ledger: Ledger) -> None:
        large = [text.replace('"output": "', '"output": "' + "rain " * 500) for text in said(*range(10))]
        store.append("large", *large)
        store.advance(timedelta(days=1))
        wish = replace(TWO_TURNS, limits=TrimLimits(keep_turns=4), elide=1000)
        report = condense(store, ledger, ScriptedCondenser(), wish)
        assert (report.removed.elided, report.removed.condensed) == (2, 4)
        assert summary_of(store, "large").turns == 6
        assert left(store, "large")[-8:] == large[-8:]

    def test_what_only_gets_shorter_is_not_asked_about(self, store: MemoryStore, ledger: Ledger) -> None:
        large = [text.replace('"output": "', '"output": "' + "rain " * 500) for text in said(*range(4))]
        store.append("large", *large)
        store.advance(timedelta(days=1))
        condenser = ScriptedCondenser()
        wish = replace(TWO_TURNS, limits=TrimLimits(keep_turns=4), elide=1000)
        condense(store, ledger, condenser, wish)
        assert sorted(extract.session_id for extract in condenser.asked) == ["a", "b", "c"]
        assert sum("removed by sessionctl" in text for text in left(store, "large")) == 2

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(1, 3))
    def test_again_and_again_nothing_is_left_out(self, appended: list[int], keep: int) -> None:
        """After whatever runs: the turns that were summed up and those that are left are all that were said."""
        store, number = MemoryStore(), 0
        wish = Wish(limits=TrimLimits(keep_turns=keep, min_turns=1), condensing=SUMMARIES)
        for more in appended:
            store.append("s", *said(*range(number, number + more)))
            number += more
            store.advance(timedelta(days=1))
            with plan_trim(store, ALL, wish, min_idle=IDLE) as plan:
                stage = Condensation(store, ScriptedCondenser(lambda _: "so"), 3, IDLE)
                for portion in stage.portions(plan.steps(), bear=_raise, room=lambda: None):
                    assert portion is not None
                    assert portion.lost == []
                    outcomes = store.apply([step.change for step in portion.steps], Guard())
                    assert set(outcomes) <= {Outcome.DONE}
        found = summary_of(store, "s")
        gone = max(0, number - keep)
        assert (found.turns if found else 0) == gone
        assert left(store, "s")[gone > 0 :] == said(*range(gone, number))
        assert verdict(map(read_item, left(store, "s"))).acceptable


def _raise(error: SessionctlError) -> None:
    raise error


class TestCompaction:
    def test_its_items_take_the_newest_rows(self, store: MemoryStore, ledger: Ledger) -> None:
        users = [user("first"), user("second")]
        report = condense(
            store, ledger, ScriptedCondenser(lambda _: [*users, COMPACTION]), replace(TWO_TURNS, condensing=COMPACTIONS)
        )
        assert left(store, "a") == [*map(json.dumps, [*users, COMPACTION]), *said(8, 9)]
        assert (report.removed.items, report.removed.condensed, report.removed.elided) == (96, 3, 0)

    def test_it_takes_the_one_before_along(self, store: MemoryStore, ledger: Ledger) -> None:
        wish = replace(TWO_TURNS, condensing=COMPACTIONS)
        condenser = ScriptedCondenser(lambda _: [user("first"), COMPACTION])
        condense(store, ledger, condenser, wish)
        assert condense(store, ledger, condenser, wish).removed.sessions == 0
        store.append("a", *said(10))
        store.advance(timedelta(days=1))
        condense(store, ledger, condenser, wish)
        assert [item.text for item in condenser.asked[-1].items] == [
            json.dumps(user("first")), json.dumps(COMPACTION), *said(8)
        ]  # fmt: skip
        assert left(store, "a") == [json.dumps(user("first")), json.dumps(COMPACTION), *said(9, 10)]


class TestLeftAlone:
    def test_without_an_answer(self, store: MemoryStore, ledger: Ledger) -> None:
        before = {name: left(store, name) for name in ("a", "b", "c")}

        def answer(extract: Extract) -> Any:
            return ModelFailed("the model returned nothing") if extract.session_id == "b" else "fine"

        report = condense(store, ledger, ScriptedCondenser(answer))
        assert left(store, "b") == before["b"]
        assert (report.removed.sessions, report.skipped[Outcome.FAILED], report.exit_code) == (2, 1, 3)
        assert report.failed == {"b": "the model returned nothing"}
        assert report.stopped is Stopped.DONE

    def test_with_an_answer_that_saves_nothing(self, store: MemoryStore, ledger: Ledger) -> None:
        before = left(store, "a")
        named = Selector(named=("a",), named_given=True)
        report = condense(store, ledger, ScriptedCondenser(lambda extract: "x" * extract.size), selector=named)
        assert left(store, "a") == before
        assert "no shorter" in report.failed["a"]
        assert (report.named_skipped, report.exit_code) == (1, 3)

    def test_who_changed_in_the_old_part_while_the_model_thought(self, store: MemoryStore, ledger: Ledger) -> None:
        def answer(extract: Extract) -> str:
            if extract.session_id == "a":
                del store._kept["a"].items[:4]
            if extract.session_id == "b":
                store._kept["b"].items += store._kept["short"].items  # without a stamp: active is another matter
            return "fine"

        condenser = ScriptedCondenser(answer)
        report = condense(store, ledger, condenser)
        assert left(store, "a") == said(*range(1, 10))
        assert left(store, "b")[1:] == said(8, 9, 1)
        assert (report.skipped[Outcome.CHANGED], report.removed.sessions) == (1, 2)
        assert [extract.session_id for extract in condenser.asked] == ["a", "b", "c"]  # nobody is asked about twice

    def test_who_changed_before_it_was_asked(self, store: MemoryStore, ledger: Ledger) -> None:
        with plan_trim(store, ALL, TWO_TURNS, min_idle=IDLE) as plan:
            del store._kept["a"].items[:4]
            del store._kept["b"]
            store.append("c", *said(10))
            condenser = ScriptedCondenser()
            run = new_run("trim", str(store.address), store.now(), {})
            with Condensation(store, condenser, 3, IDLE) as condensation:
                terms = Terms(guard=Guard(min_idle=IDLE))
                report = apply_plan(store, plan, terms, ledger=ledger, run=run, condensation=condensation)
        assert condenser.asked == []
        skipped = {outcome: report.skipped[outcome] for outcome in (Outcome.CHANGED, Outcome.MISSING, Outcome.ACTIVE)}
        assert set(skipped.values()) == {1}

    def test_who_has_branches(self, store: MemoryStore, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(MemoryStore, "has_branches", lambda _, session_id: session_id == "a")
        condenser = ScriptedCondenser()
        report = condense(store, ledger, condenser)
        assert [extract.session_id for extract in condenser.asked] == ["b", "c"]
        assert report.failed == {"a": "its branches share the items that would give way"}


class TestEnds:
    def test_no_more_are_asked_about_than_may_be_changed(self, store: MemoryStore, ledger: Ledger) -> None:
        condenser = ScriptedCondenser()
        report = condense(store, ledger, condenser, limits=Limits(max_sessions=1))
        assert (report.removed.sessions, report.remaining, len(condenser.asked)) == (1, 2, 1)
        assert (report.stopped, report.exit_code) == (Stopped.LIMIT, 4)
        nothing = condense(store, ledger, condenser, limits=Limits(max_sessions=0))
        assert (nothing.stopped, len(condenser.asked)) == (Stopped.LIMIT, 1)

    def test_those_that_fail_do_not_count(self, store: MemoryStore, ledger: Ledger) -> None:
        condenser = ScriptedCondenser(lambda extract: ModelFailed("no") if extract.session_id == "a" else "fine")
        report = condense(store, ledger, condenser, limits=Limits(max_sessions=1))
        assert (report.removed.sessions, report.remaining, len(condenser.asked)) == (1, 1, 2)

    def test_at_once_where_nobody_would_get_an_answer(self, store: MemoryStore, ledger: Ledger) -> None:
        condenser = ScriptedCondenser(lambda _: AccessRefused("m at http://nowhere refused access: no key"))
        report = condense(store, ledger, condenser)
        assert (report.stopped, report.exit_code, report.removed.sessions) == (Stopped.ERROR, 11, 0)
        assert report.remaining == 3
        assert len(condenser.asked) <= 3

    def test_after_many_failures_in_a_row(self, ledger: Ledger) -> None:
        store = MemoryStore()
        for number in range(40):
            store.append(f"s{number}", *said(*range(5)))
        store.advance(timedelta(days=1))
        condenser = ScriptedCondenser(lambda _: ModelFailed("the model's server cannot be reached"))
        report = condense(store, ledger, condenser)
        assert report.error is not None
        assert "10 times in a row, in the end like this: the model's server cannot be reached" in report.error[0]
        assert 10 <= report.skipped[Outcome.FAILED] <= 12
        assert report.remaining == 40 - report.skipped[Outcome.FAILED]

    def test_a_signal(self, store: MemoryStore, ledger: Ledger) -> None:
        stop = Stop()

        class Thinking(ScriptedCondenser):
            def submit(self, extract: Extract, now: datetime) -> Future[Condensed]:
                stop.signal = 15
                return Future() if extract.session_id != "a" else super().submit(extract, now)

        report = condense(store, ledger, Thinking(), stop=stop)
        assert (report.stopped, report.removed.sessions, report.remaining) == (Stopped.SIGNAL, 0, 3)

    def test_its_time_being_over(self, store: MemoryStore, ledger: Ledger) -> None:
        class Thinking(ScriptedCondenser):
            def submit(self, *_: Any) -> Future[Condensed]:
                return Future()

        report = condense(store, ledger, Thinking(), limits=Limits(max_runtime=timedelta(milliseconds=300)))
        assert (report.stopped, report.why, report.exit_code) == (Stopped.LIMIT, "--max-runtime is over", 4)


class TestTrouble:
    def test_of_the_store_is_borne(self, store: MemoryStore, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        failures = iter([StoreBusy("locked"), StoreBusy("locked")])
        session = MemoryStore.session

        def troubled(self: MemoryStore, *arguments: Any) -> Any:
            for failure in failures:
                raise failure
            return session(self, *arguments)

        monkeypatch.setattr("sessionctl.core.patience.Trouble.bear", lambda *_, **__: 0.0)
        monkeypatch.setattr(MemoryStore, "session", troubled)
        report = condense(store, ledger, ScriptedCondenser())
        assert (report.removed.condensed, report.retries) == (3, 2)

    def test_of_a_batch_does_not_ask_again(self, store: MemoryStore, ledger: Ledger) -> None:
        def meanwhile(number: int, _: Sequence[Change]) -> None:
            if number == 0:
                raise StoreBusy("locked")

        condenser = ScriptedCondenser()
        report = condense(FailingStore(store, before_batch=meanwhile), ledger, condenser)
        assert (report.removed.condensed, len(condenser.asked)) == (3, 3)
        assert report.retries > 0
