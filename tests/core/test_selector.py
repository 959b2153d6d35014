"""Selectors: what they match, and that another criterion never adds a session."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.model import SessionRef
from sessionctl.core.selector import Query, Selector

NOW = datetime(2026, 6, 1, tzinfo=UTC)
any_ids = st.text(st.sampled_from("ab:*?[/\n%é"), max_size=5)
times = st.none() | st.integers(-1000, 100).map(lambda minutes: NOW + timedelta(minutes=minutes))
refs = st.builds(
    SessionRef, id=any_ids, created_at=times, updated_at=times, items=st.integers(0, 9), bytes=st.integers(0, 999)
)
ages = st.integers(0, 1000).map(lambda minutes: timedelta(minutes=minutes))
CRITERIA: dict[str, st.SearchStrategy[Any]] = {
    "older_than": ages,
    "newer_than": ages,
    "before": times.filter(bool),
    "after": times.filter(bool),
    "created_before": times.filter(bool),
    "created_after": times.filter(bool),
    "excluded": st.lists(any_ids, min_size=1, max_size=2).map(tuple),
    "min_items": st.integers(0, 9),
    "min_bytes": st.integers(0, 999),
    "min_tokens": st.integers(0, 300),
    "empty": st.just(True),
}
ONE_OF_EACH: dict[str, Any] = {
    "older_than": timedelta(0), "newer_than": timedelta(0), "before": NOW, "after": NOW, "created_before": NOW,
    "created_after": NOW, "globs": ("x",), "min_items": 0, "min_bytes": 0, "min_tokens": 0, "empty": True,
    "keep_last": 0, "group_by": "(.)", "named_given": True,
}  # fmt: skip
selectors = st.fixed_dictionaries({}, optional=CRITERIA).map(lambda given: Selector(**given))


def matched(selector: Selector, sessions: list[SessionRef]) -> list[SessionRef]:
    query = selector.resolve(NOW)
    return [ref for ref in sessions if query.matches(ref)]


@given(selectors, st.sampled_from(sorted(CRITERIA)), st.data(), st.lists(refs, max_size=30))
def test_another_criterion_never_adds(
    selector: Selector, name: str, data: st.DataObject, sessions: list[SessionRef]
) -> None:
    value = data.draw(CRITERIA[name])
    if name == "excluded":
        value = (*selector.excluded, *value)
    elif getattr(selector, name) not in (None, False):
        return  # that would be another selector, not one more
    more = replace(selector, **{name: value})
    kept = matched(selector, sessions)
    assert [ref for ref in matched(more, sessions) if ref not in kept] == []


@given(selectors, st.lists(any_ids, max_size=3), st.lists(refs, max_size=30))
def test_naming_ids_never_adds_but_a_further_id_may(
    selector: Selector, names: list[str], sessions: list[SessionRef]
) -> None:
    named = replace(selector, named=tuple(names), named_given=True)
    assert all(ref.id in names and ref in matched(selector, sessions) for ref in matched(named, sessions))
    further = replace(named, globs=("a*",))
    assert all(ref in matched(further, sessions) for ref in matched(named, sessions))


@given(ages, st.lists(refs, max_size=30))
def test_older_and_newer_part_the_sessions_of_known_time(age: timedelta, sessions: list[SessionRef]) -> None:
    older, newer = (matched(Selector(**{name: age}), sessions) for name in ("older_than", "newer_than"))
    assert sorted(map(id, [*older, *newer])) == sorted(id(ref) for ref in sessions if ref.updated_at)


@given(selectors, refs)
def test_unknown_times_match_no_time(selector: Selector, ref: SessionRef) -> None:
    timeless = replace(ref, updated_at=None, created_at=None)
    if selector.resolve(NOW).bounds:
        assert not selector.resolve(NOW).matches(timeless)


def test_the_boundary_of_an_age() -> None:
    at = SessionRef(id="x", created_at=None, updated_at=NOW - timedelta(days=30))
    assert Selector(older_than=timedelta(days=30)).resolve(NOW).matches(at)
    assert not Selector(newer_than=timedelta(days=30)).resolve(NOW).matches(at)
    assert not Selector(before=NOW - timedelta(days=30)).resolve(NOW).matches(at)
    assert Selector(after=NOW - timedelta(days=30)).resolve(NOW).matches(at)


@pytest.mark.parametrize(
    ("glob", "session_id", "holds"),
    [
        ("*", "", True), ("*", "a\nb", True), ("a*", "A", False), ("a?c", "a/c", True), ("a?c", "a\nc", True),
        ("a?c", "ac", False), ("[ab]", "a", False), ("[ab]", "[ab]", True), ("a.c", "abc", False),
        ("user:*", "user:1:2", True),
        ("*:9", "user:9\n", False), ("{a,b}", "a", False), ("\\*", "\\x", True), ("", "", True), ("", "x", False),
    ],
)  # fmt: skip
def test_globs(glob: str, session_id: str, holds: bool) -> None:
    assert Query(globs=(glob,)).admits(session_id) is holds
    assert Query(excluded=(glob,)).admits(session_id) is not holds


@given(any_ids)
def test_a_glob_without_wildcards_is_the_id_itself(text: str) -> None:
    plain = text.replace("*", "").replace("?", "")
    assert Query(globs=(plain,)).admits(plain)
    assert not Query(globs=(plain,)).admits(plain + "x")


def test_an_empty_list_of_ids_selects_nothing() -> None:
    selector = Selector(named_given=True)
    assert not selector.is_everything
    assert not selector.resolve(NOW).admits("x")


def test_everything_is_no_criterion_at_all() -> None:
    assert Selector().is_everything
    assert Selector(excluded=("vip:*",)).is_everything  # an exception is no choice
    assert not any(Selector(**{name: value}).is_everything for name, value in ONE_OF_EACH.items())
    assert set(ONE_OF_EACH) == {field.name for field in fields(Selector)} - {"excluded", "named"}


def test_every_criterion_explains_itself() -> None:
    selector = Selector(
        older_than=timedelta(days=30), newer_than=timedelta(days=90), before=NOW, after=NOW, created_before=NOW,
        created_after=NOW, named=("a", "a", "b"), named_given=True, globs=("g*",), excluded=("x*",), min_items=3,
        min_bytes=2048, min_tokens=5, empty=True, keep_last=2, group_by="(.)",
    )  # fmt: skip
    said = "\n".join(selector.explain(NOW))
    for words in ("2026-05-02T00:00:00Z, 30d ago", "named: 2 session", "g*", "x*", "3 items", "2 KiB", "5 tokens",
                  "no items", "2 most recently active per group (.)", "created"):  # fmt: skip
        assert words in said
    assert Selector().explain(NOW) == ()
