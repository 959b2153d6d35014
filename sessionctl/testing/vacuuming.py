"""Clauses on space: a vacuum changes where sessions lie and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sessionctl.core.selector import Query
from sessionctl.core.space import Wish, decide
from sessionctl.errors import StepEnded, Unsupported
from sessionctl.stores.base import Store
from sessionctl.testing.case import HOSTILE_ITEMS, StoreCase, turn, user
from sessionctl.testing.looking import EVERYTHING

WISHES = {"plain": Wish(force=True), "full": Wish(full=True, force=True)}


@pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES)
class TestVacuuming:
    """Every step that a store offers for a wish, taken to its end."""

    def test_nothing_changes_but_space(self, case: StoreCase, wish: Wish) -> None:
        for number in range(6):
            case.write(f"s{number}", turn(number), list(HOSTILE_ITEMS.values())[number : number + 2])
        with case.open() as store:
            before = everything(store)
            _take_all(store, wish)
            assert everything(store) == before
        with case.open() as store:
            assert everything(store) == before
        case.write("s1", [user("and on")])
        assert case.read("s1")[-1] == user("and on")
        assert [json.loads(text) for text in case.texts("s2")] == case.read("s2")

    def test_a_step_that_is_to_end_leaves_everything(self, case: StoreCase, wish: Wish) -> None:
        case.write("s1", turn(1))
        with case.open() as store:
            before = everything(store)
            for step in _space_of(store, wish):
                try:
                    store.vacuum(step, wish, lambda: True)
                except StepEnded:
                    continue
            assert everything(store) == before


def everything(store: Store) -> list[Any]:
    """All sessions with all that a listing tells, and all their items."""
    refs = sorted(store.sessions(Query(), want=EVERYTHING), key=lambda ref: ref.id)
    told = [(ref.id, ref.created_at, ref.updated_at, ref.items, ref.bytes, ref.newest_item_at) for ref in refs]
    return [*told, *((ref.id, list(store.items(ref.id))) for ref in refs)]


def _space_of(store: Store, wish: Wish) -> Any:
    try:
        space = decide(store.space(wish), wish)
    except Unsupported:
        pytest.skip("stores of this kind have nothing to vacuum")
    assert space.refused == ()
    assert space.steps
    assert (space.usage.total or 0) > 0
    return space.steps


def _take_all(store: Store, wish: Wish) -> None:
    for step in _space_of(store, wish):
        while store.vacuum(step, wish, lambda: False).more:
            pass
