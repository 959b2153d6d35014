"""Clauses on ``taken`` and ``put`` of parts: what a rewrite takes is told before, and goes back to its place."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sessionctl.core.model import Onto, Outcome, Put, Rewrite
from sessionctl.core.record import SessionRecord, StoredItem
from sessionctl.testing.case import BROKEN_TEXTS, HOSTILE_ITEMS, StoreCase, turn, user
from sessionctl.testing.changing import ANYTIME, apply, seen, write_idle
from sessionctl.testing.returning import existing_whole, put
from sessionctl.testing.rewriting import STUB, items_of, replacing, without

Part = tuple[SessionRecord, tuple[StoredItem, ...]]


def taken(case: StoreCase, rewrite: Rewrite) -> Put:
    """Make the change; what puts back all that it took."""
    with case.open() as store:
        [(session, items)] = [(found.session, tuple(found.items)) for found in store.taken([rewrite])]
    assert apply(case, [rewrite], ANYTIME) == [Outcome.DONE]
    assert len(items) == rewrite.rows
    return Put(session=session, items=items, onto=Onto.AMONG, exact=True)


def both(case: StoreCase, places: tuple[int, ...], at: int) -> Rewrite:
    """The change that removes these items of ``mine`` and replaces the one at ``at``."""
    return without(case, "mine", places, replace=replacing(case, "mine", at, STUB).replace)


def as_it_is(case: StoreCase) -> Part:
    """All that the store has of ``mine`` but its version, which may count changes."""
    session, items = existing_whole(case, "mine")
    return replace(session, version=""), tuple(items)


class TestReturningParts:
    """Out of a session that stays, and in again."""

    def test_what_is_taken_is_told_before(self, case: StoreCase) -> None:
        write_idle(case, "mine", "other")
        texts, keys = case.texts("mine"), [item.key for item in items_of(case, "mine")]
        rewrite = both(case, (0, 1), 2)
        with case.open() as store:
            found = [(w.session, list(w.items)) for w in store.taken([rewrite, Rewrite(session_id="none")])]
            [(whole, everything)] = [(w.session, list(w.items)) for w in store.whole(["mine"])]
        [(session, items)] = found
        assert items == everything[:3]
        assert ([item.key for item in items], [item.text for item in items]) == (keys[:3], texts[:3])
        assert session.part == dict(rewrite.replace)
        assert (session.id, session.version, session.stamps) == ("mine", whole.version, whole.stamps)

    @pytest.mark.parametrize("places", [(0, 1, 2, 3), (4, 5, 6, 7), (1, 2, 6), (0, 1, 2, 3, 4, 5, 6, 7)], ids=str)
    def test_items_go_back_to_their_places(self, case: StoreCase, places: tuple[int, ...]) -> None:
        write_idle(case, "left", "mine", "right")
        before, whole = case.read("mine"), as_it_is(case)
        back = taken(case, without(case, "mine", places))
        assert put(case, back) == [Outcome.DONE]
        assert (case.read("mine"), as_it_is(case)) == (before, whole)
        put(case, back)
        assert as_it_is(case) == whole, "something is there twice"
        case.write("mine", turn(3))
        assert case.read("mine") == [*before, *turn(3)]

    @pytest.mark.parametrize("places", [(0, 1, 3), (5, 6, 7), (0, 1, 3, 4, 5, 6, 7)], ids=str)
    def test_also_after_the_session_went_on(self, case: StoreCase, places: tuple[int, ...]) -> None:
        write_idle(case, "mine")
        before = case.read("mine")
        back = taken(case, both(case, places, 2))
        case.write("mine", [user("more")], turn(3)[1:])
        case.write("mine", turn(4))
        assert put(case, back) == [Outcome.DONE]
        assert case.read("mine") == [*before, user("more"), *turn(3)[1:], *turn(4)]
        case.write("mine", turn(5))
        assert case.read("mine")[-8:] == [*turn(4), *turn(5)]
        assert case.pop("mine") == turn(5)[-1]

    def test_texts_of_any_kind(self, case: StoreCase) -> None:
        case.write("mine", [HOSTILE_ITEMS[name] for name in ("unicode", "backslashes", "separators", "escape")])
        for text in BROKEN_TEXTS.values():
            case.put_raw("mine", text)
        texts = case.texts("mine")
        stubs = ["cut off {", json.dumps(user("a\nb")), "naïve ✂", "\\"]
        keys = [item.key for item in items_of(case, "mine")]
        pairs = [(key, stub) for key, stub in zip(keys[2:6], stubs, strict=True) if isinstance(key, int)]
        back = taken(case, without(case, "mine", (0, 7), replace=tuple(pairs)))
        assert case.texts("mine") == [texts[1], *stubs, texts[6]]
        assert put(case, back) == [Outcome.DONE]
        assert case.texts("mine") == texts

    def test_a_stub_that_is_another_by_now_stays(self, case: StoreCase) -> None:
        write_idle(case, "mine")
        back = taken(case, both(case, (0, 1), 2))
        assert apply(case, [replacing(case, "mine", 0, STUB.replace("gone", "GONE"))], ANYTIME) == [Outcome.DONE]
        before = case.texts("mine")
        assert put(case, back) == [Outcome.CHANGED]
        assert case.texts("mine") == before

    @pytest.mark.parametrize("anew", [False, True], ids=["gone", "begun anew"])
    def test_a_session_that_is_another_by_now_gets_nothing(self, case: StoreCase, *, anew: bool) -> None:
        write_idle(case, "mine", "other")
        back = taken(case, without(case, "mine", range(4)))
        assert apply(case, seen(case, "mine"), ANYTIME) == [Outcome.DONE]
        if anew:
            case.write("mine", [user("a new life")])
        assert put(case, back) == [Outcome.CHANGED]
        assert case.read("mine") == [user("a new life")] * anew
