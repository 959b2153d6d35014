"""Clauses on ``apply`` of a ``Rewrite``: items leave, texts change, and the session goes on as if nothing was."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from sessionctl.core.model import Change, Guard, Item, Outcome, Rewrite, SessionRef, Want
from sessionctl.core.spans import spans
from sessionctl.testing.case import HOSTILE_IDS, HOSTILE_ITEMS, StoreCase, turn, user
from sessionctl.testing.changing import ANYTIME, IDLE, apply, seen, write_idle
from sessionctl.testing.holding import hold
from sessionctl.testing.looking import existing

STUB = json.dumps({"type": "function_call_output", "call_id": "call_1", "output": "gone, naïve ✂"}, ensure_ascii=False)


def items_of(case: StoreCase, session_id: str) -> list[Item]:
    with case.open() as store:
        return list(store.items(session_id))


def without(case: StoreCase, session_id: str, places: Iterable[int], **more: Any) -> Rewrite:
    """The change that removes the items at these places, as the session is now."""
    keys = [item.key for item in items_of(case, session_id)]
    ints = [key for key in keys if isinstance(key, int)]
    assert ints == keys
    return Rewrite(session_id=session_id, remove=spans(ints, {ints[place] for place in places}), **more)


def replacing(case: StoreCase, session_id: str, place: int, text: str) -> Rewrite:
    key = items_of(case, session_id)[place].key
    assert isinstance(key, int)
    return Rewrite(session_id=session_id, replace=((key, text),))


def unsized(ref: SessionRef) -> tuple[Any, ...]:
    return ref.created_at, ref.updated_at, ref.newest_item_at


class TestRewriting:
    """A part of a session goes, and all else is as it was."""

    def test_a_head_goes_and_the_rest_stays_as_it_was(self, case: StoreCase) -> None:
        write_idle(case, "left", "mine", "right")
        texts, before = case.texts("mine"), items_of(case, "mine")
        others = {name: (case.read(name), case.texts(name)) for name in ("left", "right")}
        with case.open() as store:
            stamps = unsized(existing(store, "mine"))
        assert apply(case, [without(case, "mine", range(4))]) == [Outcome.DONE]
        assert (case.read("mine"), case.texts("mine")) == (turn(2), texts[4:])
        assert items_of(case, "mine") == before[4:]
        with case.open() as store:
            now = existing(store, "mine")
            assert (unsized(now), now.items) == (stamps, 4)
        assert {name: (case.read(name), case.texts(name)) for name in ("left", "right")} == others

    def test_the_sdk_goes_on_behind_a_trimmed_head(self, case: StoreCase) -> None:
        write_idle(case, "mine")
        assert apply(case, [without(case, "mine", range(4))]) == [Outcome.DONE]
        case.write("mine", [user("and now?")], turn(3))
        assert case.read("mine") == [*turn(2), user("and now?"), *turn(3)]
        assert case.pop("mine") == turn(3)[-1]

    @pytest.mark.parametrize("places", [(0,), (1, 2), (3, 4), (6, 7), (0, 2, 3, 7), (1, 3, 5)], ids=str)
    def test_any_items_and_no_others(self, case: StoreCase, places: tuple[int, ...]) -> None:
        write_idle(case, "mine", "other")
        both = [*turn(1), *turn(2)]
        assert apply(case, [without(case, "mine", places)]) == [Outcome.DONE]
        assert case.read("mine") == [item for place, item in enumerate(both) if place not in places]
        case.write("mine", [user("more")])
        assert case.read("mine")[-1] == user("more")
        assert case.read("other") == both

    def test_a_text_is_replaced_at_its_place(self, case: StoreCase) -> None:
        write_idle(case, "mine", "other")
        texts, before, others = case.texts("mine"), items_of(case, "mine"), case.texts("other")
        assert apply(case, [replacing(case, "mine", 2, STUB)]) == [Outcome.DONE]
        assert case.texts("mine") == [*texts[:2], STUB, *texts[3:]]
        assert case.read("mine")[2] == json.loads(STUB)
        now = items_of(case, "mine")
        assert [(item.key, item.created_at) for item in now] == [(item.key, item.created_at) for item in before]
        assert case.texts("other") == others

    def test_a_summary_takes_the_place_of_the_last_item_removed(self, case: StoreCase) -> None:
        write_idle(case, "mine")
        keys = [item.key for item in items_of(case, "mine")]
        summary = {"role": "user", "content": "it was about rain"}
        assert isinstance(keys[3], int)
        change = without(case, "mine", range(3), replace=((keys[3], json.dumps(summary)),))
        assert apply(case, [change]) == [Outcome.DONE]
        assert case.read("mine") == [summary, *turn(2)]
        case.write("mine", turn(3))
        assert case.read("mine") == [summary, *turn(2), *turn(3)]

    def test_a_session_stays_when_nothing_is_left_of_it(self, case: StoreCase) -> None:
        write_idle(case, "mine")
        assert apply(case, [without(case, "mine", range(8))]) == [Outcome.DONE]
        assert case.read("mine") == case.texts("mine") == []
        with case.open() as store:
            assert existing(store, "mine").items == 0
        case.write("mine", turn(3))
        assert case.read("mine") == turn(3)

    def test_an_application_that_has_it_open_notices_nothing(self, case: StoreCase) -> None:
        write_idle(case, "mine", "other")
        with case.live("mine") as append:
            append([user("one more")])
            assert apply(case, [without(case, "mine", range(4))], ANYTIME) == [Outcome.DONE]
            append([user("after")])
        assert case.read("mine") == [*turn(2), user("one more"), user("after")]

    def test_hostile_ids_items_and_twins(self, case: StoreCase) -> None:
        twins = [{"case": "X", "space": "x "}[kind] for kind in case.distinct]
        names = [*HOSTILE_IDS.values(), *twins]
        write_idle(case, *names)
        for name in names:
            case.write(name, [HOSTILE_ITEMS["unicode"], HOSTILE_ITEMS["backslashes"], user("last")])
        texts = {name: case.texts(name) for name in names}
        single, *several = HOSTILE_IDS.values()
        for mine in ([single], several):
            changes: list[Change] = [without(case, name, range(4)) for name in mine]
            assert apply(case, changes, ANYTIME) == [Outcome.DONE] * len(mine)
        trimmed = {name: all_texts[4:] for name, all_texts in texts.items() if name not in twins}
        assert {name: case.texts(name) for name in names} == texts | trimmed

    def test_many_at_once_among_other_changes(self, case: StoreCase) -> None:
        names = [f"s{number:02}" for number in range(24)]
        write_idle(case, *names)
        rewrites: list[Change] = [without(case, name, range(4)) for name in names[:20]]
        deletions = seen(case, *names[20:])
        case.pop("s03")
        for _ in range(5):
            case.pop("s04")
        missing: list[Change] = [Rewrite(session_id=name) for name in ("none", "s0", "")]
        outcomes = apply(case, [*missing, *deletions[:2], *rewrites, *deletions[2:]])
        assert outcomes == [
            *[Outcome.MISSING] * 3,
            *[Outcome.CHANGED if at == 6 else Outcome.DONE for at in range(24)],
        ]
        left = {name: case.read(name) for name in names}
        assert left.pop("s03") == turn(2)[:3]
        assert left.pop("s04") == turn(1)[:3]
        assert left == {name: turn(2) if name in names[:20] else [] for name in left}

    def test_only_the_first_of_several_changes_to_a_session(self, case: StoreCase) -> None:
        write_idle(case, "mine", "other")
        head, tail = without(case, "mine", range(2)), without(case, "mine", range(6, 8))
        changes = [head, tail, *seen(case, "other"), without(case, "other", range(2))]
        assert apply(case, changes) == [Outcome.DONE, Outcome.CHANGED, Outcome.DONE, Outcome.MISSING]
        assert case.read("mine") == [*turn(1)[2:], *turn(2)]


class TestRewritingRecheck:
    """What is looked at again."""

    def test_an_append_does_not_matter_unless_it_is_to(self, case: StoreCase) -> None:
        write_idle(case, "mine", "strict")
        with case.open() as store:
            version = existing(store, "strict", Want.VERSION).version
        changes: list[Change] = [without(case, "mine", range(4)), without(case, "strict", range(4), version=version)]
        for name in ("mine", "strict"):
            case.write(name, [user("new")])
        assert apply(case, changes, ANYTIME) == [Outcome.DONE, Outcome.CHANGED]
        assert case.read("mine") == [*turn(2), user("new")]
        assert case.read("strict") == [*turn(1), *turn(2), user("new")]

    def test_a_session_at_its_version(self, case: StoreCase) -> None:
        write_idle(case, "mine")
        with case.open() as store:
            version = existing(store, "mine", Want.VERSION).version
        assert apply(case, [without(case, "mine", range(4, 8), version=version)]) == [Outcome.DONE]
        assert case.read("mine") == turn(1)
        assert apply(case, [without(case, "mine", range(4), version=version)]) == [Outcome.CHANGED]

    @pytest.mark.parametrize("what", ["popped", "popped and written again", "deleted and begun anew", "replaced one"])
    def test_items_that_are_not_what_was_read(self, case: StoreCase, what: str) -> None:
        write_idle(case, "mine")
        change: Rewrite = without(case, "mine", range(2, 8))
        if what == "replaced one":
            change = replacing(case, "mine", 7, STUB)
        if what == "deleted and begun anew":
            assert apply(case, seen(case, "mine")) == [Outcome.DONE]
            write_idle(case, "mine")
        else:
            popped = [case.pop("mine") for _ in range(3)]
            if what == "popped and written again":
                case.write("mine", popped[::-1])
        before = case.texts("mine")
        assert apply(case, [change], ANYTIME) == [Outcome.CHANGED]
        assert case.texts("mine") == before

    def test_a_recent_a_held_and_a_missing_session(self, case: StoreCase) -> None:
        write_idle(case, "recent", "held", "gone", "mine")
        changes: list[Change] = [without(case, name, range(4)) for name in ("recent", "held", "gone", "mine")]
        assert apply(case, seen(case, "gone")) == [Outcome.DONE]
        case.write("recent", [user("now")])
        hold(case, "held")
        assert apply(case, changes, IDLE) == [Outcome.ACTIVE, Outcome.HELD, Outcome.MISSING, Outcome.DONE]
        assert [len(case.texts(name)) for name in ("recent", "held", "mine")] == [9, 8, 4]

    def test_what_is_not_made_leaves_no_trace(self, case: StoreCase) -> None:
        write_idle(case, "mine")
        change = without(case, "mine", range(8))
        case.pop("mine")
        before = case.fingerprint()
        assert apply(case, [change], Guard()) == [Outcome.CHANGED]
        assert case.fingerprint() == before
