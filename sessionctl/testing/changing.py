"""Clauses on ``apply``: what is named goes whole, all else stays as it was, and nothing that moved is touched."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from sessionctl.core.model import Change, Delete, Guard, Order, Outcome, Want
from sessionctl.core.selector import Query
from sessionctl.testing.case import BROKEN_TEXTS, HOSTILE_IDS, HOSTILE_ITEMS, StoreCase, turn, user
from sessionctl.testing.listing import HOUR, store_clock
from sessionctl.testing.looking import EVERYTHING, deletion, existing, ids

ANYTIME = Guard()
IDLE = Guard(min_idle=timedelta(minutes=15))


def write_idle(case: StoreCase, *names: str) -> None:
    """Sessions of two turns each, last active thirty days ago."""
    for name in names:
        case.write(name, turn(1), turn(2))
    long_ago = store_clock(case) - 720 * HOUR
    for name in names:
        case.stamp(name, updated_at=long_ago, created_at=long_ago, items_at=long_ago)


def seen(case: StoreCase, *names: str) -> list[Change]:
    """The deletions of these sessions as they are now."""
    with case.open() as store:
        return [deletion(existing(store, name)) for name in names]


def apply(case: StoreCase, changes: list[Change], guard: Guard = IDLE) -> list[Outcome]:
    """The outcomes of one ``apply`` by a store opened for it."""
    with case.open() as store:
        return list(store.apply(changes, guard))


class TestDeleting:
    """What DONE means."""

    def test_a_deleted_session_leaves_nothing_behind_and_its_neighbours_alone(self, case: StoreCase) -> None:
        write_idle(case, "left", "mine", "right")
        before = {name: (case.read(name), case.texts(name)) for name in ("left", "right")}
        assert case.remains("mine")
        assert apply(case, seen(case, "mine")) == [Outcome.DONE]
        assert case.remains("mine") <= case.residue
        assert case.texts("mine") == []
        assert {name: (case.read(name), case.texts(name)) for name in ("left", "right")} == before
        with case.open() as store:
            assert sorted(ids(store.sessions(Query()))) == ["left", "right"]
            assert store.session("mine") is None
            assert list(store.items("mine")) == []
            assert store.volume().items == sum(ref.items or 0 for ref in store.sessions(Query(), want=Want.COUNT))

    def test_the_sdk_goes_on_in_what_is_left(self, case: StoreCase) -> None:
        write_idle(case, "left", "mine")
        assert apply(case, seen(case, "mine")) == [Outcome.DONE]
        case.write("left", [user("and now?")])
        assert case.read("left") == [*turn(1), *turn(2), user("and now?")]
        assert case.pop("left") == user("and now?")
        with case.open() as store:
            assert existing(store, "left").items == 8

    def test_a_deleted_session_can_be_started_anew(self, case: StoreCase) -> None:
        write_idle(case, "mine")
        assert apply(case, seen(case, "mine")) == [Outcome.DONE]
        assert case.read("mine") == []
        case.write("mine", turn(3), [user("again")])
        assert case.read("mine") == [*turn(3), user("again")]
        with case.open() as store:
            assert existing(store, "mine").items == 5
            assert [item.hidden for item in store.items("mine")] == [None] * 5
        assert apply(case, seen(case, "mine"), ANYTIME) == [Outcome.DONE]
        assert case.remains("mine") <= case.residue

    def test_an_application_that_has_it_open_starts_anew(self, case: StoreCase) -> None:
        write_idle(case, "mine", "other")
        with case.live("mine") as append:
            append([user("one more")])
            assert apply(case, seen(case, "mine"), ANYTIME) == [Outcome.DONE]
            append([user("after")])
        assert case.read("mine") == [user("after")]
        assert case.read("other") == [*turn(1), *turn(2)]

    def test_hostile_ids_one_by_one(self, case: StoreCase) -> None:
        left = {*HOSTILE_IDS.values(), "é:" * (case.longest_id // 2), "neighbour", "%"}
        write_idle(case, *left)
        with case.open() as store:
            for session_id in sorted(left - {"neighbour"}):
                assert list(store.apply([deletion(existing(store, session_id))], IDLE)) == [Outcome.DONE]
                assert case.remains(session_id) <= case.residue
                left.remove(session_id)
                assert set(ids(store.sessions(Query()))) == left

    def test_all_hostile_ids_at_once(self, case: StoreCase) -> None:
        write_idle(case, "neighbour", *HOSTILE_IDS.values())
        assert apply(case, seen(case, *HOSTILE_IDS.values())) == [Outcome.DONE] * len(HOSTILE_IDS)
        with case.open() as store:
            assert ids(store.sessions(Query())) == ["neighbour"]
        assert len(case.texts("neighbour")) == 8

    def test_twins_of_a_deleted_session_stay(self, case: StoreCase) -> None:
        twins = [{"case": "U1", "space": "u1 "}[kind] for kind in case.distinct]
        write_idle(case, "u1", *twins)
        assert apply(case, seen(case, "u1")) == [Outcome.DONE]
        with case.open() as store:
            assert set(ids(store.sessions(Query()))) == set(twins)
        assert [len(case.texts(twin)) for twin in twins] == [8] * len(twins)

    def test_hostile_and_unreadable_items_go_along(self, case: StoreCase) -> None:
        case.write("mine", list(HOSTILE_ITEMS.values()))
        for text in BROKEN_TEXTS.values():
            case.put_raw("mine", text)
        case.write("other", turn(1))
        assert apply(case, seen(case, "mine"), ANYTIME) == [Outcome.DONE]
        assert case.remains("mine") <= case.residue
        assert case.read("other") == turn(1)

    def test_a_session_without_items(self, case: StoreCase) -> None:
        case.write("mine", [user("a")])
        case.pop("mine")
        assert apply(case, seen(case, "mine"), ANYTIME) == [Outcome.DONE]
        assert case.remains("mine") <= case.residue

    def test_as_many_at_once_as_the_pace_allows(self, case: StoreCase) -> None:
        names = [f"s{number:03}" for number in range(60)]
        for name in [*names, "kept"]:
            case.write(name, [user(name)])
        with case.open() as store:
            refs = list(store.sessions(Query(globs=("s*",)), order=Order.PHYSICAL, want=Want.VERSION))
            missing: list[Change] = [Delete(session_id=f"none {n}", version="1") for n in range(2500)]
            outcomes = list(store.apply([*missing, *(deletion(ref) for ref in refs)], ANYTIME))
        assert outcomes == [Outcome.MISSING] * 2500 + [Outcome.DONE] * 60
        with case.open() as store:
            assert ids(store.sessions(Query())) == ["kept"]
        assert case.texts("kept")

    def test_nothing_to_change(self, case: StoreCase) -> None:
        write_idle(case, "mine")
        before = case.fingerprint()
        assert apply(case, []) == []
        assert case.fingerprint() == before


class TestRechecking:
    """What is looked at again in the step that changes it."""

    def test_a_session_that_is_gone(self, case: StoreCase) -> None:
        write_idle(case, "mine", "other")
        changes = seen(case, "mine")
        assert apply(case, changes) == [Outcome.DONE]
        assert apply(case, changes) == [Outcome.MISSING]
        never: list[Change] = [
            Delete(session_id=name, version="1") for name in ("never", "OTHER", "other ", "oth_r", "")
        ]
        assert apply(case, never) == [Outcome.MISSING] * 5
        assert case.read("other") == [*turn(1), *turn(2)]

    @pytest.mark.parametrize("guard", [ANYTIME, IDLE], ids=["any time", "idle"])
    @pytest.mark.parametrize("what", ["append", "pop", "pop and append", "append and pop", "restart"])
    def test_a_session_that_changed(self, case: StoreCase, what: str, guard: Guard) -> None:
        write_idle(case, "mine", "other")
        changes = seen(case, "mine", "other")
        steps: dict[str, Callable[[], object]] = {
            "append": lambda: case.write("mine", [user("new")]),
            "pop": lambda: case.pop("mine"),
        }
        if what == "restart":
            assert apply(case, seen(case, "mine")) == [Outcome.DONE]
            write_idle(case, "mine")
        else:
            for step in what.split(" and "):
                steps[step]()
        texts = case.texts("mine")
        outcomes = apply(case, changes, guard)
        recent = guard is IDLE and "append" in what  # then both are true of it
        assert outcomes[0] in ((Outcome.CHANGED, Outcome.ACTIVE) if recent else (Outcome.CHANGED,))
        assert outcomes[1] is Outcome.DONE
        assert case.texts("mine") == texts != []

    def test_a_change_within_the_same_second(self, case: StoreCase) -> None:
        case.write("mine", [user("a"), user("b")])
        changes = seen(case, "mine")
        case.pop("mine")
        case.write("mine", [user("c")])
        assert apply(case, changes, ANYTIME) == [Outcome.CHANGED]
        assert case.read("mine") == [user("a"), user("c")]

    def test_versions_hold_while_nothing_happens(self, case: StoreCase) -> None:
        write_idle(case, "mine", "other")
        first = seen(case, "mine")
        case.write("other", [user("new")])
        case.read("mine")
        with case.open() as store:
            assert [deletion(ref) for ref in store.sessions(Query(globs=("m*",)), want=EVERYTHING)] == first
            assert [deletion(ref) for ref in store.sessions(Query(), want=Want.VERSION) if ref.id == "mine"] == first
        assert apply(case, first) == [Outcome.DONE]

    def test_a_recent_session(self, case: StoreCase) -> None:
        case.write("mine", turn(1))
        assert apply(case, seen(case, "mine")) == [Outcome.ACTIVE]
        assert case.read("mine") == turn(1)
        assert apply(case, seen(case, "mine"), ANYTIME) == [Outcome.DONE]

    @pytest.mark.parametrize("minutes", [14, 0, -600])
    def test_a_stamp_within_the_idle_time_or_ahead(self, case: StoreCase, minutes: int) -> None:
        write_idle(case, "mine")
        case.stamp("mine", updated_at=store_clock(case) - timedelta(minutes=minutes))
        assert apply(case, seen(case, "mine")) == [Outcome.ACTIVE]
        assert len(case.texts("mine")) == 8

    def test_an_idle_stamp_just_beyond_the_idle_time(self, case: StoreCase) -> None:
        write_idle(case, "mine")
        case.stamp("mine", updated_at=store_clock(case) - timedelta(minutes=16))
        assert apply(case, seen(case, "mine")) == [Outcome.DONE]

    def test_an_old_stamp_with_a_recent_item(self, case: StoreCase) -> None:
        write_idle(case, "mine")
        with case.open() as store:
            timed = store.capabilities.item_times
        if not timed:
            return  # the stamp is the only sign of life there
        case.stamp("mine", items_at=store_clock(case))
        assert apply(case, seen(case, "mine")) == [Outcome.ACTIVE]
        assert len(case.texts("mine")) == 8

    def test_outcomes_stand_in_the_order_of_the_changes(self, case: StoreCase) -> None:
        write_idle(case, "gone", "zulu", "changed", "mike", "active", "alpha")
        changes = seen(case, "gone", "zulu", "changed", "mike", "active", "alpha")
        assert apply(case, changes[:1]) == [Outcome.DONE]
        case.pop("changed")
        case.stamp("active", updated_at=store_clock(case))
        changes[4] = seen(case, "active")[0]
        assert apply(case, changes) == [
            Outcome.MISSING,
            Outcome.DONE,
            Outcome.CHANGED,
            Outcome.DONE,
            Outcome.ACTIVE,
            Outcome.DONE,
        ]
        with case.open() as store:
            assert sorted(ids(store.sessions(Query()))) == ["active", "changed"]
        assert len(case.texts("changed")) == 7
        assert len(case.texts("active")) == 8
