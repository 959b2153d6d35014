"""What a selector selects in a store: keep_last, groups, and plans made of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sessionctl.core.model import Hazard, Order
from sessionctl.core.selector import Selector
from sessionctl.operations.purge import plan_purge
from sessionctl.operations.selecting import select
from sessionctl.stores.memory import MemoryStore

HOUR = timedelta(hours=1)


@pytest.fixture
def store() -> MemoryStore:
    """a:0 … a:3 and b:0 … b:3 in turn, an hour apart, then one that belongs to nobody; a:0 is the oldest."""
    made = MemoryStore()
    for number in range(4):
        for tenant in "ab":
            made.append(f"{tenant}:{number}", "x")
            made.advance(HOUR)
    made.append("nobody", "x")
    made.advance(HOUR)
    return made


def chosen(
    store: MemoryStore, order: Order = Order.ACTIVITY, limit: int | None = None, **criteria: object
) -> list[str]:
    selector = Selector(**criteria)  # type: ignore[arg-type]
    return [ref.id for ref in select(store, selector, now=store.now(), order=order, limit=limit)]


class TestKeepLast:
    def test_of_all(self, store: MemoryStore) -> None:
        assert chosen(store, keep_last=6) == ["a:1", "b:0", "a:0"]
        assert chosen(store, keep_last=0) == chosen(store)
        assert chosen(store, keep_last=99) == []

    def test_of_each_group(self, store: MemoryStore) -> None:
        assert chosen(store, keep_last=2, group_by="^([^:]+):") == ["b:1", "a:1", "b:0", "a:0"]

    def test_ids_without_a_group_are_never_selected(self, store: MemoryStore) -> None:
        assert "nobody" not in chosen(store, keep_last=0, group_by="^([^:]+):")

    def test_is_counted_among_all_that_the_id_selectors_admit(self, store: MemoryStore) -> None:
        # b:3 is younger than the age asked for and still takes b's only place
        assert chosen(store, keep_last=1, globs=("b:*",), older_than=5 * HOUR) == ["b:1", "b:0"]
        assert chosen(store, keep_last=1, excluded=("nobody",), older_than=9 * HOUR) == ["a:0"]

    def test_goes_with_a_limit_and_physical_order(self, store: MemoryStore) -> None:
        assert chosen(store, keep_last=1, limit=2) == ["b:3", "a:3"]
        assert chosen(store, Order.PHYSICAL, keep_last=6) == ["a:0", "b:0", "a:1"]


class TestPlan:
    def test_future_stamps_are_active(self, store: MemoryStore) -> None:
        store.stamp("a:0", updated_at=store.now() + timedelta(minutes=1), created_at=None, items_at=None)
        with plan_purge(store, Selector(named=("a:0",), named_given=True), min_idle=timedelta(0)) as plan:
            assert (plan.header.active, plan.header.named_skipped, plan.header.planned.sessions) == (1, 1, 0)

    def test_the_newest_item_counts_for_activity_too(self, store: MemoryStore) -> None:
        long_ago = store.now() - timedelta(days=9)
        store.stamp("a:0", updated_at=long_ago, created_at=long_ago, items_at=store.now())
        with plan_purge(store, Selector(older_than=timedelta(days=8)), min_idle=HOUR) as plan:
            assert (plan.header.matched.sessions, plan.header.active, list(plan.steps())) == (1, 1, [])

    def test_unknown_times_match_no_age(self, store: MemoryStore) -> None:
        store.stamp("a:0", updated_at=None, created_at=None, items_at=None)
        for selector in (Selector(older_than=timedelta(0)), Selector(newer_than=timedelta(days=9))):
            with plan_purge(store, selector, min_idle=HOUR) as plan:
                assert "a:0" not in {step.session_id for step in plan.steps()}

    def test_header(self, store: MemoryStore) -> None:
        selector = Selector(named=("a:0", "gone"), named_given=True, globs=("b:*",))
        store.hazards = (Hazard(what="x", effect=0),)  # type: ignore[arg-type]
        with plan_purge(store, selector, min_idle=timedelta(0)) as plan:
            header = plan.header
            assert (header.matched.sessions, header.share_basis, header.missing) == (5, 4, 1)
            assert header.sessions_in_store == 9
            assert header.store_time == store.now()
            assert header.hazards == store.hazards
            assert [step.session_id for step in plan.steps()] == ["a:0", "b:0", "b:1", "b:2", "b:3"]
            assert list(plan.steps()) == list(plan.steps())

    def test_the_digest_is_that_of_the_steps(self, store: MemoryStore) -> None:
        def digest() -> str:
            with plan_purge(store, Selector(older_than=HOUR), min_idle=HOUR) as plan:
                return plan.header.digest

        first = digest()
        assert digest() == first
        store.append("a:2", "more")
        assert digest() != first
