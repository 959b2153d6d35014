"""Clauses on holds: what they mean is never changed, whoever placed them and whenever."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sessionctl.core.hold import Hold, HoldKind, HoldOrigin
from sessionctl.core.model import Guard, Outcome, Put
from sessionctl.core.plan import Totals
from sessionctl.core.selector import Query
from sessionctl.errors import Unsupported
from sessionctl.stores.base import Store
from sessionctl.testing.case import HOSTILE_IDS, StoreCase, turn, user
from sessionctl.testing.changing import apply, seen, write_idle
from sessionctl.testing.listing import HOUR
from sessionctl.testing.looking import deletion, existing, ids

TICK = timedelta(microseconds=1)


def placed(store: Store, value: str, kind: HoldKind = HoldKind.ID, **facts: Any) -> Hold:
    """A hold that the store keeps from now on; facts of time count from the store's clock."""
    now = store.now()
    until = facts.pop("lasts", None)
    whole: dict[str, Any] = {"hold_id": "h1", "reason": "it's under \u201einvestigation\u201c %s", "who": "mia@host"}
    hold = Hold(kind=kind, value=value, since=now, until=None if until is None else now + until, **(whole | facts))
    store.hold([hold])
    return hold


def hold(case: StoreCase, value: str, kind: HoldKind = HoldKind.ID, **facts: Any) -> Hold:
    """The same by a store opened for it."""
    with case.open() as store:
        return placed(store, value, kind, **facts)


def kept(case: StoreCase) -> list[Hold]:
    with case.open() as store:
        return list(store.holds())


class TestHolding:
    """What a hold means."""

    def test_there_is_none_at_first(self, case: StoreCase) -> None:
        write_idle(case, "mine")
        assert kept(case) == []
        with case.open() as store:
            assert store.release([]) == 0

    def test_what_is_held_stays_and_its_neighbours_go(self, case: StoreCase) -> None:
        write_idle(case, "left", "mine", "right")
        before = case.texts("mine")
        placed_now = hold(case, "mine")
        assert apply(case, seen(case, "left", "mine", "right")) == [Outcome.DONE, Outcome.HELD, Outcome.DONE]
        assert case.texts("mine") == before
        assert kept(case) == [placed_now]
        assert case.remains("left") | case.remains("right") <= case.residue

    def test_any_id_can_be_held(self, case: StoreCase) -> None:
        names = list(HOSTILE_IDS.values())
        write_idle(case, *names, "other")
        with case.open() as store:
            expected = [placed(store, session_id) for session_id in names]
            assert sorted(hold.value for hold in store.holds()) == sorted(hold.value for hold in expected)
        assert apply(case, seen(case, *names, "other")) == [*(Outcome.HELD for _ in names), Outcome.DONE]

    def test_a_glob_holds_what_matches_it_and_no_more(self, case: StoreCase) -> None:
        names = ["vip:7/a", "vip:", "VIP:7", "vip%7", "[vip:]"]
        write_idle(case, *names)
        hold(case, "vip:*", HoldKind.GLOB)
        held = Outcome.HELD
        assert apply(case, seen(case, *names)) == [held, held, Outcome.DONE, Outcome.DONE, Outcome.DONE]

    def test_an_id_is_no_glob(self, case: StoreCase) -> None:
        write_idle(case, "a*", "ab")
        hold(case, "a*")
        assert apply(case, seen(case, "a*", "ab")) == [Outcome.HELD, Outcome.DONE]

    def test_a_hold_that_is_over_holds_no_more(self, case: StoreCase) -> None:
        write_idle(case, "over", "lasting")
        hold(case, "over", lasts=TICK, hold_id="h1")
        lasting = hold(case, "lasting", lasts=HOUR, hold_id="h2")
        assert apply(case, seen(case, "over", "lasting")) == [Outcome.DONE, Outcome.HELD]
        assert lasting in kept(case)

    def test_placing_one_clears_away_what_is_over(self, case: StoreCase) -> None:
        write_idle(case, "mine")
        over = hold(case, "mine", lasts=TICK, hold_id="h1")
        lasting = hold(case, "mine", hold_id="h2")
        assert over not in kept(case)
        assert lasting in kept(case)

    def test_one_that_yields_gives_way_to_a_run_that_names_the_session(self, case: StoreCase) -> None:
        write_idle(case, "returned", "firm")
        hold(case, "returned", origin=HoldOrigin.UNDO, yields=True)
        hold(case, "firm")
        changes = seen(case, "returned", "firm")
        assert apply(case, changes) == [Outcome.HELD, Outcome.HELD]
        named = Guard(named=frozenset({"returned", "firm"}))
        assert apply(case, changes, named) == [Outcome.DONE, Outcome.HELD]

    def test_one_that_yields_does_not_open_a_firm_one(self, case: StoreCase) -> None:
        write_idle(case, "mine")
        hold(case, "mine", origin=HoldOrigin.UNDO, yields=True, hold_id="h1")
        hold(case, "m*", HoldKind.GLOB, hold_id="h2")
        assert apply(case, seen(case, "mine"), Guard(named=frozenset({"mine"}))) == [Outcome.HELD]

    def test_held_goes_before_changed_and_active_and_behind_missing(self, case: StoreCase) -> None:
        write_idle(case, "changed", "gone")
        changes = seen(case, "changed", "gone")
        assert apply(case, changes[1:]) == [Outcome.DONE]
        case.write("changed", [user("on I go")])
        hold(case, "*", HoldKind.GLOB)
        assert apply(case, changes) == [Outcome.HELD, Outcome.MISSING]
        assert apply(case, seen(case, "changed")) == [Outcome.HELD]  # and active

    def test_a_session_can_be_held_before_it_exists(self, case: StoreCase) -> None:
        write_idle(case, "other")
        hold(case, "later")
        write_idle(case, "later")
        assert apply(case, seen(case, "later", "other")) == [Outcome.HELD, Outcome.DONE]

    def test_a_store_opened_before_sees_a_hold_in_its_next_batch(self, case: StoreCase) -> None:
        write_idle(case, "first", "second", "third")
        with case.open() as store:
            changes = [deletion(existing(store, name)) for name in ("first", "second", "third")]
            assert list(store.apply(changes[:1], Guard())) == [Outcome.DONE]
            placed_now = hold(case, "second")
            assert list(store.apply(changes[1:2], Guard())) == [Outcome.HELD]
            hold(case, "th*", HoldKind.GLOB, hold_id="h2")
            assert list(store.apply(changes[2:], Guard())) == [Outcome.HELD]
            with case.open() as other:
                assert other.release([placed_now]) == 1
            assert list(store.apply(changes[1:], Guard())) == [Outcome.DONE, Outcome.HELD]

    def test_only_what_is_released_is_held_no_more(self, case: StoreCase) -> None:
        write_idle(case, "one", "two")
        with case.open() as store:
            one, two = placed(store, "one"), placed(store, "two")
            glob = placed(store, "one", HoldKind.GLOB)
            assert {hold.value for hold in store.holds()} == {"one", "two"}
            assert store.release([two]) == 1
            assert store.release([two]) == 0
            assert store.release([one]) == 1
            assert list(store.holds()) == [glob]
        assert apply(case, seen(case, "one", "two")) == [Outcome.HELD, Outcome.DONE]

    def test_the_store_stays_what_it_was(self, case: StoreCase) -> None:
        write_idle(case, "mine", "other")
        with case.open() as store:
            before = (store.info(), sorted(ids(store.sessions(Query()))), store.volume())
        hold(case, "mine")
        with case.open() as store:
            assert (store.info(), sorted(ids(store.sessions(Query()))), store.volume()) == before
            assert not store.preflight(Query(), Totals(sessions=2, items=16, bytes=3000)).slow
        case.write("mine", turn(5))
        assert case.read("mine") == [*turn(1), *turn(2), *turn(5)]

    def test_what_is_put_in_can_be_held_at_once(self, case: StoreCase) -> None:
        write_idle(case, "mine", "there")
        with case.open() as store:
            found = [(whole.session, tuple(whole.items)) for whole in store.whole(["mine", "there"])]
            puts = [Put(session=session, items=items, exact=True) for session, items in found]
            assert list(store.apply([deletion(existing(store, "mine"))], Guard())) == [Outcome.DONE]
            now = store.now()
            given = Hold(
                hold_id="u1", kind=HoldKind.ID, value="", reason="put back", who="mia@host", since=now,
                until=now + HOUR, origin=HoldOrigin.UNDO, yields=True,
            )  # fmt: skip
            try:
                outcomes = dict(zip(("mine", "there"), store.put(puts, hold=given), strict=True))
            except Unsupported:
                pytest.skip("this kind of store takes no sessions")
            assert outcomes == {"mine": Outcome.DONE, "there": Outcome.CHANGED}
            assert [(hold.hold_id, hold.value, hold.yields) for hold in store.holds()] == [("u1", "mine", True)]
        assert apply(case, seen(case, "mine", "there")) == [Outcome.HELD, Outcome.DONE]
