"""Undoing, struck at every point of its work: what the run removed is back, once, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from operations.striking import SESSIONS, Killed, Points, World, content, worlds

from sessionctl.core import patience
from sessionctl.core.model import Onto, Put
from sessionctl.errors import AccessRefused, LedgerUnavailable, SessionctlError, StoreUnavailable
from sessionctl.operations import covering, put_back
from sessionctl.operations.placing import file_of
from sessionctl.operations.put_back import Case
from sessionctl.operations.stop import Stop
from sessionctl.operations.undo import check


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covering, "_MOST_SESSIONS", 4)
    monkeypatch.setattr(covering, "_TOGETHER", 2)
    monkeypatch.setattr(put_back, "_TOGETHER", 2)
    monkeypatch.setattr(patience, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(patience, "_LONGEST_PAUSE_S", 0.002)


@pytest.fixture
def purged() -> Iterator[Callable[[], World]]:
    """Worlds with all sessions in archives."""
    with worlds() as fresh:

        def make() -> World:
            world = fresh()
            assert world.purge().removed.sessions == SESSIONS
            return world

        yield make


def all_points(world: World) -> list[tuple[str, int]]:
    points = Points()
    assert world.undo(points).restored.sessions == SESSIONS
    return [(name, number) for name, times in points.seen.items() for number in range(times)]


def raising(error: SessionctlError) -> Callable[[Points], None]:
    def strike(_: Points) -> None:
        raise error

    return strike


def test_it_brings_back_all_at_its_place(purged: Callable[[], World]) -> None:
    world = purged()
    assert content(world.store) == {}
    assert world.undo().by_case[Case.BACK].items == 2 * SESSIONS
    assert content(world.store) == world.before


def test_killed_at_every_point_and_run_again(purged: Callable[[], World]) -> None:
    for where in all_points(purged()):
        world = purged()
        with pytest.raises(Killed):
            world.undo(Points(where, Points.kill))
        world.undo()
        assert content(world.store) == world.before, where


def test_trouble_at_every_point(purged: Callable[[], World]) -> None:
    """Of the kind that passes it is borne; else it comes out, and what was put back by then is on record."""
    for where in all_points(purged()):
        if where[0] != "returned":
            world = purged()
            world.undo(Points(where, raising(StoreUnavailable("the connection was lost"))))
            assert content(world.store) == world.before, where
        world = purged()
        error = LedgerUnavailable("it is gone") if where[0] == "returned" else AccessRefused("no more rights")
        with pytest.raises(type(error)):
            world.undo(Points(where, raising(error)))
        back = set(content(world.store))
        if where[0] not in ("returned", "was put"):
            for name in back:
                world.store.delete(name)
            world.undo()
            assert content(world.store).keys() == world.before.keys() - back, where
        else:
            world.undo()
            assert content(world.store) == world.before, where


def test_the_application_comes_between_at_every_point(purged: Callable[[], World]) -> None:
    """A session that is begun anew between the look and the writing gets its past in front all the same."""
    for where in all_points(purged()):
        world = purged()

        def strike(_: Points, world: World = world) -> None:
            world.store.append("s01", "I am back")

        done = world.undo(Points(where, strike))
        now = content(world.store)
        assert [item.text for item in now["s01"]] == [*(i.text for i in world.before["s01"]), "I am back"], where
        assert done.by_case[Case.REFUSED].sessions == 0
        assert now.keys() == world.before.keys()


def test_a_signal_ends_it_after_the_portion_and_it_can_be_run_again(purged: Callable[[], World]) -> None:
    world, stop = purged(), Stop()

    def strike(_: Points) -> None:
        stop.signal = 15

    done = world.undo(Points(("put", 0), strike), stop=stop)
    assert done.restored.sessions == 2 == len(content(world.store))
    for name in list(content(world.store)):
        world.store.delete(name)  # after it was back: that stays so
    assert world.undo().restored.sessions == SESSIONS - 2


def test_what_is_in_its_place_is_left_alone_and_named(purged: Callable[[], World]) -> None:
    """Rows of others under the same keys, and a history that is another one."""
    world = purged()
    archived = {name: items for name, *items in world.covered()}
    [(session, _)] = [(s, i) for s, i in _records(world) if s.id == "s02"]
    foreign = tuple(item._replace(text="mine now") for item in archived["s02"])
    world.store.put([Put(session=session, items=foreign, onto=Onto.ABSENT, exact=True)])
    done = world.undo()
    assert (done.by_case[Case.REFUSED].sessions, done.refused) == (1, ["s02"])
    assert done.restored.sessions == SESSIONS - 1
    assert content(world.store)["s02"] == foreign


def test_one_that_went_on_after_an_undo_is_there_already(purged: Callable[[], World]) -> None:
    world = purged()
    world.undo()
    world.store.append("s03", "more")
    before = content(world.store)
    assert world.undo().restored.sessions == 0
    assert content(world.store) == before


def test_another_file_in_a_segments_place_is_refused(purged: Callable[[], World]) -> None:
    world = purged()
    [run] = world.ledger.runs()
    first, second = (world.archives / run.run_id / s.name for s in world.ledger.segments(run.run_id))
    check(run, world.ledger.segments(run.run_id))
    second.unlink()
    second.write_bytes(first.read_bytes())
    with pytest.raises(SessionctlError, match="is not the file that run"):
        check(run, world.ledger.segments(run.run_id))


def _records(world: World) -> list[put_back.Whole]:
    [run] = world.ledger.runs()
    return [
        whole
        for s in world.ledger.segments(run.run_id)
        for some in put_back.portions(file_of(run, s))
        for whole in some
    ]
