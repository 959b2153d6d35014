"""Runs that take items out of sessions, and their undoing, struck at every point: all comes back to its place, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest
from operations.striking import MIN_IDLE, OLD, SESSIONS, Killed, Points, World, content, worlds

from sessionctl.core import patience
from sessionctl.core.model import Guard, Outcome, Rewrite, SessionRef, Span
from sessionctl.core.plan import Step
from sessionctl.errors import StoreUnavailable
from sessionctl.operations import covering, put_back
from sessionctl.operations.planning import plan_changes
from sessionctl.operations.put_back import Case
from sessionctl.operations.spool import SpooledPlan

STUB = "cut"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covering, "_MOST_SESSIONS", 4)
    monkeypatch.setattr(covering, "_TOGETHER", 2)
    monkeypatch.setattr(put_back, "_TOGETHER", 2)
    monkeypatch.setattr(patience, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(patience, "_LONGEST_PAUSE_S", 0.002)


class Trimmed(World):
    """Its runs remove the first of the two items of each session, and cut the other one short."""

    takes_parts = True

    def plan(self) -> SpooledPlan:
        return plan_changes(self.store, OLD, "trim", self._foresee, min_idle=MIN_IDLE, terms=("the last item, cut",))

    def _foresee(self, refs: Iterable[SessionRef]) -> Iterator[Step]:
        for ref in refs:
            keys = [item.key for item in self.store.items(ref.id)]
            if len(keys) == 2:
                first, second = (int(key or 0) for key in keys)
                rewrite = Rewrite(session_id=ref.id, remove=(Span(first, first, 1),), replace=((second, STUB),))
                yield Step(session_id=ref.id, version=ref.version or "", items=1, bytes=9, rewrite=rewrite)


@pytest.fixture
def fresh() -> Iterator[Callable[[], World]]:
    with worlds(Trimmed) as make:
        yield make


def trimmed(fresh: Callable[[], World]) -> World:
    world = fresh()
    assert world.purge().removed.items == SESSIONS
    assert {tuple(i.text for i in items) for items in content(world.store).values()} == {(STUB,)}
    return world


def all_points(work: Callable[[Points], object]) -> list[tuple[str, int]]:
    points = Points()
    work(points)
    return [(name, number) for name, times in points.seen.items() for number in range(times)]


def test_a_run_killed_at_every_point_and_run_again_is_undone_exactly(fresh: Callable[[], World]) -> None:
    for where in all_points(fresh().purge):
        world = fresh()
        with pytest.raises(Killed):
            world.purge(Points(where, Points.kill))
        world.purge()
        assert {len(items) for items in content(world.store).values()} == {1}, where
        assert world.undo().by_case[Case.REFUSED].sessions == 0
        assert content(world.store) == world.before, where


def test_an_undo_killed_or_troubled_at_every_point(fresh: Callable[[], World]) -> None:
    def trouble(_: Points) -> None:
        raise StoreUnavailable("the connection was lost")

    for where in all_points(trimmed(fresh).undo):
        world = trimmed(fresh)
        with pytest.raises(Killed):
            world.undo(Points(where, Points.kill))
        world.undo()
        assert content(world.store) == world.before, where
        if where[0] != "returned":
            world = trimmed(fresh)
            world.undo(Points(where, trouble))
            assert content(world.store) == world.before, where


def test_the_application_comes_between_at_every_point(fresh: Callable[[], World]) -> None:
    """Of a run as of its undoing: what it appends stays, behind what comes back."""
    for where in all_points(lambda points: (world := fresh()).purge(points) and world.undo(points)):
        world = fresh()

        def strike(_: Points, world: World = world) -> None:
            world.store.append("s01", "more")

        world.purge(points := Points(where, strike))
        world.undo(points)
        now = content(world.store)
        assert points.struck
        assert [item.text for item in now.pop("s01")] == [*(i.text for i in world.before["s01"]), "more"], where
        assert now == {name: items for name, items in world.before.items() if name != "s01"}, where


def test_what_cannot_be_placed_is_left_and_told(fresh: Callable[[], World]) -> None:
    """A session that is gone, one begun anew, a stub that was replaced again, and one that was popped."""
    world = trimmed(fresh)
    keys = {name: items[0].key for name, items in content(world.store).items()}
    world.store.delete("s00")
    world.store.delete("s01")
    world.store.append("s01", "a new life")
    again = Rewrite(session_id="s02", replace=((int(keys["s02"] or 0), "cut more"),))
    assert list(world.store.apply([again], Guard())) == [Outcome.DONE]
    world.store.pop("s03")
    done = world.undo()
    now = content(world.store)
    assert (done.by_case[Case.GONE].sessions, done.refused, done.left_out) == (2, ["s00", "s01"], 2)
    assert done.by_case[Case.BACK].sessions == SESSIONS - 2
    assert [item.text for item in now["s01"]] == ["a new life"]
    assert [item.text for item in now["s02"]] == ["one 2", "cut more"]
    assert [item.text for item in now["s03"]] == ["one 3"]
    assert now["s04"] == world.before["s04"]
