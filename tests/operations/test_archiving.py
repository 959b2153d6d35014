"""Archived purges, struck at every point of their work: nothing is deleted that the archive does not hold, and all
comes back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from operations.striking import SESSIONS, Killed, Points, World, content, worlds
from small_disks import fill_up

from sessionctl.archive import format as form
from sessionctl.core import patience
from sessionctl.core.model import Outcome
from sessionctl.core.report import Stopped
from sessionctl.errors import AccessRefused, ArchiveUnavailable, LedgerUnavailable, SessionctlError, StoreUnavailable
from sessionctl.operations import archiving, covering
from sessionctl.operations.stop import Stop

LASTING = {
    "segment": ArchiveUnavailable("the place refuses"),
    "add": ArchiveUnavailable("no space left on device"),
    "seal": ArchiveUnavailable("no space left on device"),
    "was sealed": ArchiveUnavailable("it cannot be read back"),
    "begin": LedgerUnavailable("the ledger is gone"),
    "sealed": LedgerUnavailable("the ledger is gone"),
    "committed": LedgerUnavailable("the ledger is gone"),
    "finish": LedgerUnavailable("the ledger is gone"),
}
READING, CHANGING = ("whole", "between"), ("apply", "applied")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sessions make two segments of two looks each."""
    monkeypatch.setattr(covering, "_MOST_SESSIONS", 4)
    monkeypatch.setattr(covering, "_TOGETHER", 2)
    monkeypatch.setattr(patience, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(patience, "_LONGEST_PAUSE_S", 0.002)


@pytest.fixture
def places() -> Iterator[Callable[[], World]]:
    """Fresh worlds."""
    with worlds() as fresh:
        yield fresh


def all_points(world: World) -> list[tuple[str, int]]:
    points = Points()
    report = world.purge(points)
    assert (report.removed.sessions, report.stopped) == (SESSIONS, Stopped.DONE)
    assert content(world.store) == {}
    found = [(name, number) for name, times in points.seen.items() for number in range(times)]
    assert len(found) > 30, "the walk became short"
    return found


def raising(error: SessionctlError) -> Callable[[Points], None]:
    def strike(_: Points) -> None:
        raise error

    return strike


def comes_back(world: World, *, but: str | None = None) -> None:
    """A second run does the rest, and undoing all of them brings back what there was, once and at its place."""
    world.purge()
    assert content(world.store) == {}
    world.undo()
    assert content(world.store) == {name: items for name, items in world.before.items() if name != but}
    assert world.undo().restored.sessions == 0


def test_killed_at_every_point(places: Callable[[], World]) -> None:
    for where in all_points(places()):
        world, points = places(), Points(where, Points.kill)
        with pytest.raises(Killed):
            world.purge(points)
        left = content(world.store)
        assert all(world.before[name] == items for name, items in left.items())
        gone = world.before.keys() - left.keys()
        assert gone <= {name for name, *_ in world.covered()}, where
        comes_back(world)


def test_an_undo_after_a_kill_at_every_point(places: Callable[[], World]) -> None:
    """Without another run between them; and a session that the application deletes afterwards stays deleted."""
    for where in all_points(places()):
        world = places()
        with pytest.raises(Killed):
            world.purge(Points(where, Points.kill))
        world.undo()
        assert content(world.store) == world.before, where
        for name in world.before:
            world.store.delete(name)
        world.undo()
        assert content(world.store) == {}, where


def test_trouble_that_passes_at_every_point(places: Callable[[], World]) -> None:
    for where in all_points(places()):
        if where[0] in (*READING, *CHANGING):
            world = places()
            report = world.purge(Points(where, raising(StoreUnavailable("the connection was lost"))))
            assert (report.stopped, report.retries, content(world.store)) == (Stopped.DONE, 1, {}), where
            assert report.removed.sessions + report.skipped.get(Outcome.MISSING, 0) == SESSIONS
            world.undo()
            assert content(world.store) == world.before, where


def test_trouble_that_lasts_at_every_point(places: Callable[[], World]) -> None:
    for where in all_points(places()):
        world, error = places(), LASTING.get(where[0], AccessRefused("no more rights"))
        points = Points(where, raising(error))
        if where[0] == "begin":
            with pytest.raises(LedgerUnavailable):
                world.purge(points)
        else:
            report = world.purge(points)
            assert report.stopped is Stopped.ERROR, where
            assert report.exit_code != 0
        assert points.struck
        comes_back(world)


IN_BOTH_SEGMENTS = ("s01", "s04")


def test_an_append_at_every_point(places: Callable[[], World]) -> None:
    """Before the session goes: it stays. After it: it was begun anew, and the undo puts its past in front."""
    for where in all_points(places()):
        world = places()

        def strike(_: Points, world: World = world) -> None:
            for name in IN_BOTH_SEGMENTS:
                world.store.append(name, "I am back")

        world.purge(Points(where, strike))
        world.undo()
        now = content(world.store)
        for name in IN_BOTH_SEGMENTS:
            assert [item.text for item in now[name]] == [*(i.text for i in world.before[name]), "I am back"], where
        assert now.keys() == world.before.keys()


def test_a_deletion_by_the_application_at_every_point(places: Callable[[], World]) -> None:
    """What the application deleted stays deleted; what the run had removed by then comes back."""
    for where in all_points(places()):
        world, deleted = places(), set()

        def strike(_: Points, world: World = world, deleted: set[str] = deleted) -> None:
            deleted |= {name for name in IN_BOTH_SEGMENTS if world.store.delete(name)}  # the run deletes, too

        world.purge(Points(where, strike))
        world.undo()
        assert content(world.store).keys() == world.before.keys() - deleted, where


def test_a_run_without_an_archive_settles_what_was_cut_off(places: Callable[[], World]) -> None:
    """Else an undo of the run that was cut off would bring back what the later one removed for good."""
    world = places()
    with pytest.raises(Killed):
        world.purge(Points(("apply", 1), Points.kill))
    left = set(content(world.store))
    assert 0 < len(left) < SESSIONS
    world.purge(archived=False)
    world.undo()
    assert set(content(world.store)) == world.before.keys() - left


def test_an_archive_that_is_gone_holds_no_later_run_up(places: Callable[[], World]) -> None:
    world = places()
    with pytest.raises(Killed):
        world.purge(Points(("apply", 1), Points.kill))
    shutil.rmtree(world.archives)
    assert world.purge().stopped is Stopped.DONE
    assert content(world.store) == {}


def test_a_signal_while_a_segment_is_in_the_making(places: Callable[[], World]) -> None:
    """It ends the run though the reader never comes to an end, and leaves nothing in the archive's place."""
    world, stop = places(), Stop()

    def strike(_: Points) -> None:
        stop.signal = 15
        raise StoreUnavailable("the connection was lost")

    report = world.purge(Points(("whole", 0), strike), stop=stop)
    assert (report.stopped, report.removed.sessions, report.exit_code) == (Stopped.SIGNAL, 0, 143)
    assert content(world.store) == world.before
    assert not list(world.archives.glob("*/*"))


def test_a_segment_that_covers_no_change_goes_again(places: Callable[[], World]) -> None:
    """A signal while the first one's sessions go: the second one was in the making, or made."""
    world, stop = places(), Stop()

    def strike(_: Points) -> None:
        stop.signal = 2

    report = world.purge(Points(("apply", 0), strike), stop=stop)
    assert (report.stopped, report.removed.sessions) == (Stopped.SIGNAL, 2)
    assert [path.name for path in world.archives.glob("*/*")] == ["000001.jsonl.zst"]
    comes_back(world)


def test_reading_that_fails_twice_forgets_no_session(places: Callable[[], World]) -> None:
    """First with some already read, then at once."""
    world, times = places(), []

    def strike(points: Points) -> None:
        times.append(points.where)
        if len(times) == 1:
            points.where = ("whole", 2)
        raise StoreUnavailable("the connection was lost")

    report = world.purge(Points(("whole", 1), strike))
    assert (len(times), report.retries, report.removed.sessions) == (2, 2, SESSIONS)
    comes_back(world)


@pytest.mark.parametrize("large", [("s00",), ("s03", "s04"), ("s05",), tuple(f"s{number:02}" for number in range(6))])
def test_items_too_large_for_an_archive(
    places: Callable[[], World], monkeypatch: pytest.MonkeyPatch, large: tuple[str, ...]
) -> None:
    """Their sessions are passed over and told; what was in the same segment goes all the same."""
    monkeypatch.setattr(form, "MAX_LINE", 10_000)
    world = places()
    for name in large:
        world.store.append(name, "x" * 10_000, "after")
    world.store.advance(timedelta(days=2))
    world.before = content(world.store)
    report = world.purge()
    assert (report.stopped, report.removed.sessions, report.exit_code) == (Stopped.DONE, SESSIONS - len(large), 3)
    assert (report.skipped[Outcome.FAILED], set(report.failed)) == (len(large), set(large))
    assert all("larger than the 9.77 KiB" in why for why in report.failed.values())
    assert content(world.store).keys() == set(large)
    assert {name for name, *_ in world.covered()} == world.before.keys() - set(large)
    world.undo()
    assert content(world.store) == world.before


def test_a_disk_below_its_floor_in_mid_run(
    places: Callable[[], World], disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sealed by then is dealt with; the rest stays, and a later run takes it."""
    monkeypatch.setattr(archiving, "_FLOOR", 2**20)
    world, ballast = places(), disk / "ballast"
    world.archives = disk / "archives"
    report = world.purge(Points(("add", 3), lambda _: ballast.write_bytes(bytes(3 * 2**19)) and None))
    assert (report.removed.sessions, report.stopped, report.exit_code) == (4, Stopped.ERROR, 3)
    assert report.error
    assert "that stay free" in report.error[0]
    ballast.unlink()
    comes_back(world)


def test_a_disk_that_is_full_in_mid_run(
    places: Callable[[], World], disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The segment under way cannot be finished: nothing that it covers is deleted, and nothing of it is left."""
    monkeypatch.setattr(archiving, "_FLOOR", 0)
    world = places()
    world.archives = disk / "archives"
    report = world.purge(Points(("add", 3), lambda _: fill_up(disk) and None))
    assert (report.removed.sessions, report.stopped, report.exit_code) == (0, Stopped.ERROR, 1)
    assert report.error
    assert "No space left" in report.error[0]
    assert content(world.store) == world.before
    (disk / "ballast").unlink()
    assert not list(world.archives.glob("*/*"))
    comes_back(world)
