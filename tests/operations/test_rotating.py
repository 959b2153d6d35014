"""Rotations, struck at every point of their work: each session is in the store or in its target, and all comes back."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from operations.striking import (
    MIN_IDLE,
    OLD,
    SESSIONS,
    Killed,
    Points,
    StruckArchive,
    StruckLedger,
    StruckStore,
    World,
    content,
    dead_pid,
    header,
    worlds,
)
from small_disks import fill_up

from sessionctl.archive.places import place
from sessionctl.core import patience
from sessionctl.core.address import parse_address
from sessionctl.core.limits import Limits
from sessionctl.core.model import Guard, Outcome, Put
from sessionctl.core.record import SessionRecord, Stamps, StoredItem
from sessionctl.core.report import Report, Stopped
from sessionctl.core.rotation import Period, Template
from sessionctl.errors import (
    ArchiveDamaged,
    ArchiveMissing,
    ArchiveUnavailable,
    LedgerUnavailable,
    SessionctlError,
    StoreBusy,
    StoreUnavailable,
)
from sessionctl.ledger import new_run
from sessionctl.operations import archiving, covering
from sessionctl.operations.archiving import ArchiveKeeper
from sessionctl.operations.covering import Covering
from sessionctl.operations.execute import Terms, apply_plan
from sessionctl.operations.placing import settle_cut_off
from sessionctl.operations.put_back import portions
from sessionctl.operations.rotation.covering import RotationKeeper, RotationKeeping
from sessionctl.operations.rotation.elsewhere import made_whole
from sessionctl.operations.rotation.rotate import Rotation, plan_rotate
from sessionctl.operations.rotation.targets import Targets
from sessionctl.operations.spool import SpooledPlan
from sessionctl.operations.undo import check
from sessionctl.stores import open_store
from sessionctl.stores.base import Store


class StruckTargets(Targets):
    """Targets whose opening, filling and settling are points; behind a filling there is one more."""

    points: Points

    def open(self, target: str) -> Store | None:
        self.points.at("open")
        store = super().open(target)
        if store is not None and not hasattr(store, "is_struck"):
            points, put = self.points, store.put

            def struck_put(puts: Any, **how: Any) -> Any:
                points.at("move")
                outcomes = put(puts, **how)
                points.at("was moved")
                return outcomes

            store.put = struck_put  # type: ignore[method-assign]
            store.is_struck = True  # type: ignore[attr-defined]
        return store

    def settle(self) -> None:
        self.points.at("settle")
        super().settle()


class RotatedWorld(World):
    """Its runs are rotations into one SQLite file."""

    def __init__(self, directory: Path, sessions: int = SESSIONS) -> None:
        super().__init__(directory, sessions)
        self.target = directory / "cold" / "old.db"
        self.rotation = Rotation(template=Template(str(self.target)))

    def purge(self, points: Points | None = None, *, archived: bool = True, **terms: Any) -> Report:
        assert archived
        points = points or Points()
        ledger = StruckLedger(self.ledger.at)
        ledger.points = points
        store = StruckStore(self.store, points, self.covered)
        settle_cut_off(self.store, self.ledger)
        run = replace(new_run("rotate", self.store.address.recorded, datetime.now(UTC), {}), pid=dead_pid())
        agreed = Terms(guard=Guard(min_idle=MIN_IDLE), limits=Limits(batch_size=2), **terms)
        archive = StruckArchive(str(self.archives), replace(header(run.run_id), elsewhere=True))
        archive.points = points
        run = replace(run, archive=archive.name)
        keeper = StruckKeeper(ArchiveKeeper(archive, str(self.archives)), store, self.rotation)
        keeper.points = points
        with self.plan() as plan, Covering(store, keeper, ledger, run) as cover:
            return apply_plan(store, plan, agreed, ledger=ledger, run=run, cover=cover)

    def plan(self) -> SpooledPlan:
        return plan_rotate(self.store, OLD, self.rotation, min_idle=MIN_IDLE)

    def covered(self) -> set[tuple[Any, ...]]:
        found: set[tuple[Any, ...]] = set()
        for run in self.ledger.runs():
            for segment in self.ledger.segments(run.run_id):
                with suppress(ArchiveMissing):
                    found |= patiently(lambda file=f"{run.archive}/{segment.name}": made(file))
        return found

    def moved(self) -> dict[str, list[str]]:
        """Of each session in the targets its texts; none is there twice."""
        found: list[tuple[str, list[str]]] = []
        for path in self.target.parent.glob("*.db"):
            with open_store(parse_address(str(path))) as store:
                found += [(name, [item.text for item in items]) for name, items in content(store).items()]
        assert len(dict(found)) == len(found)
        return dict(found)


class StruckKeeper(RotationKeeper):
    points: Points

    def segment(self) -> RotationKeeping:
        keeping = super().segment()
        keeping.targets = StruckTargets(self._origin)
        keeping.targets.points = self.points
        return keeping


@cache
def made(file: str) -> frozenset[tuple[Any, ...]]:
    """(id, items…) of a receipt and its targets together."""
    some = made_whole(portions(place(file)), parse_address)
    return frozenset((record.id, *items) for whole in some for record, items in whole)


def patiently(look: Callable[[], frozenset[tuple[Any, ...]]]) -> frozenset[tuple[Any, ...]]:
    """The target is looked at while the next segment is put into it; a look that fails must not fail the deletion."""
    while True:
        try:
            return look()
        except StoreBusy:
            time.sleep(0.001)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sessions make two segments of two looks each."""
    monkeypatch.setattr(covering, "_MOST_SESSIONS", 4)
    monkeypatch.setattr(covering, "_TOGETHER", 2)
    monkeypatch.setattr(patience, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(patience, "_LONGEST_PAUSE_S", 0.002)


@pytest.fixture
def places() -> Iterator[Callable[[], World]]:
    with worlds(RotatedWorld) as fresh:
        yield fresh


def all_points(world: World) -> list[tuple[str, int]]:
    points = Points()
    report = world.purge(points)
    assert (report.removed.sessions, report.stopped) == (SESSIONS, Stopped.DONE)
    assert sum(report.targets.values()) == SESSIONS
    found = [(name, number) for name, times in points.seen.items() for number in range(times)]
    assert {"open", "move", "was moved", "settle", "seal", "apply", "committed"} <= points.seen.keys()
    return found


def texts(world: World) -> dict[str, list[str]]:
    return {name: [item.text for item in items] for name, items in world.before.items()}


def test_killed_at_every_point_and_run_again(places: Callable[[], RotatedWorld]) -> None:
    for where in all_points(places()):
        world = places()
        with pytest.raises(Killed):
            world.purge(Points(where, Points.kill))
        left = content(world.store)
        assert all(world.before[name] == items for name, items in left.items())
        gone = world.before.keys() - left.keys()
        assert gone <= {name for name, *_ in world.covered()}, where
        world.purge()
        assert content(world.store) == {}
        assert world.moved() == texts(world), where
        world.undo()
        assert content(world.store) == world.before
        assert world.undo().restored.sessions == 0


def test_trouble_that_passes_at_every_point(places: Callable[[], RotatedWorld]) -> None:
    for where in all_points(places()):
        if where[0] in ("whole", "between", "open", "move", "was moved", "apply", "applied"):
            world = places()
            report = world.purge(Points(where, raising(StoreUnavailable("the connection was lost"))))
            assert (report.stopped, content(world.store)) == (Stopped.DONE, {}), where
            assert report.retries >= 1
            assert sum(report.targets.values()) == SESSIONS
            assert world.moved() == texts(world)
            world.undo()
            assert content(world.store) == world.before, where


def test_trouble_that_lasts_at_every_point(places: Callable[[], RotatedWorld]) -> None:
    """The source is intact but for what lies in the target, recorded, and the report says what is wrong."""
    for where in all_points(places()):
        if where[0] in ("begin", "withdraw"):
            continue
        world, error = places(), ArchiveUnavailable("no space left on device")
        if where[0] in ("sealed", "committed", "finish"):
            error = LedgerUnavailable("the ledger is gone")
        report = world.purge(Points(where, raising(error)))
        assert (report.stopped, report.why and error.message in report.why) == (Stopped.ERROR, True), where
        gone = world.before.keys() - content(world.store).keys()
        assert gone <= {name for name, *_ in world.covered()}, where
        world.purge()
        assert (content(world.store), world.moved()) == ({}, texts(world)), where


def raising(error: SessionctlError) -> Callable[[Points], None]:
    def strike(_: Points) -> None:
        raise error

    return strike


def test_another_session_of_an_id_goes_into_a_file_beside(places: Callable[[], RotatedWorld]) -> None:
    world = places()
    world.purge()
    world.store.append("s00", "begun anew")
    world.store.advance(timedelta(days=2))
    again = content(world.store)
    report = world.purge()
    assert list(report.targets) == [f"sqlite:///{world.target.with_name('old+2.db')}"]
    assert {file.name for file in world.target.parent.glob("*.db")} == {"old.db", "old+2.db"}
    for found in (again, again):
        newest = world.ledger.runs()[0]
        check(newest, world.ledger.segments(newest.run_id))
        assert {name: items for name, *items in world.covered() if items == [*found["s00"]]} == {"s00": [*found["s00"]]}


def test_a_target_that_was_tampered_with_is_refused(places: Callable[[], RotatedWorld]) -> None:
    world = places()
    world.purge()
    (run,) = world.ledger.runs()
    with closing(sqlite3.connect(world.target)) as db, db:
        db.execute("UPDATE agent_messages SET message_data = '\"other\"' WHERE id = 3")
    with pytest.raises(ArchiveDamaged, match="not what was put there"):
        check(run, world.ledger.segments(run.run_id))
    with pytest.raises(ArchiveDamaged):
        world.undo()
    world.target.unlink()
    with pytest.raises(ArchiveMissing, match="is gone"):
        check(run, world.ledger.segments(run.run_id))


def test_a_target_that_keeps_something_else_covers_nothing(
    places: Callable[[], RotatedWorld], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read back decides, whatever the store said of the putting."""
    from sessionctl.stores.sqlite.adapter import Adapter

    put = Adapter.put

    def losing(self: Adapter, puts: Any, **how: Any) -> Any:
        cut = [Put(session=one.session, items=one.items[:1]) for one in puts]
        return put(self, cut, **how)

    world = places()
    monkeypatch.setattr(Adapter, "put", losing)
    report = world.purge()
    assert (report.stopped, content(world.store)) == (Stopped.ERROR, world.before)
    assert "is not what was put there" in str(report.why)


@pytest.mark.parametrize("leaves", [0, 300_000, 900_000])
def test_a_disk_that_is_full(disk: Path, leaves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At whatever step: a clear error, the source intact but for what is safe in the target."""
    monkeypatch.setattr(archiving, "_FLOOR", 0)
    world = RotatedWorld(disk.parent / "world", sessions=0)
    world.rotation = Rotation(template=Template(str(disk / "cold" / "old.db")))
    world.archives = disk / "cold" / ".sessionctl"
    for number in range(40):
        world.store.append(f"s{number:02}", f"{number} " + "x" * 60_000)
    world.store.advance(timedelta(days=2))
    world.before = content(world.store)
    ballast = fill_up(disk)
    with ballast.open("r+b") as file:
        file.truncate(max(ballast.stat().st_size - leaves, 0))
    report = world.purge()
    assert report.stopped is Stopped.ERROR
    assert "full" in str(report.why) or "No space" in str(report.why), report.why
    left = content(world.store)
    assert all(world.before[name] == items for name, items in left.items())
    assert world.before.keys() - left.keys() <= {name for name, *_ in world.covered()}


def test_the_oldest_go_until_what_stays_fits(places: Callable[[], RotatedWorld]) -> None:
    world = places()
    world.store.append("s00", "a newer item")
    world.store.advance(timedelta(days=2))
    size = world.store.volume().bytes
    each = sum(item.size for item in world.before["s01"])
    world.rotation = replace(world.rotation, max_size=size - 2 * each)
    with world.plan() as plan:
        assert [step.session_id for step in plan.steps()] == ["s01", "s02"]
        assert plan.header.share_basis == 2
    world.purge()
    assert set(content(world.store)) == world.before.keys() - {"s01", "s02"}
    with world.plan() as plan:
        assert plan.header.planned.sessions == 0


def test_windows_that_are_not_over_and_ids_without_a_group_stay(places: Callable[[], RotatedWorld]) -> None:
    world = places()
    template = Template("/srv/{group}/{year}.db", Period.YEAR, grouped=True)
    rotation = Rotation(template=template, by_match="^s0([0-2])")
    while world.store.session("s00").updated_at.year == world.store.now().year:  # type: ignore[union-attr]
        with plan_rotate(world.store, OLD, rotation, min_idle=MIN_IDLE) as plan:
            assert plan.header.matched.sessions == 0
        world.store.advance(timedelta(days=200))
    with plan_rotate(world.store, OLD, rotation, min_idle=MIN_IDLE) as plan:
        assert plan.header.matched.sessions == 3
    with plan_rotate(world.store, OLD, replace(rotation, include_open=True), min_idle=MIN_IDLE) as plan:
        counts = Counter({target.rsplit("/", 2)[1]: n for target, n in plan.header.targets.items()})
        assert counts == {"0": 1, "1": 1, "2": 1}
        assert "id matches ^s0([0-2])" in plan.header.criteria


def test_what_has_the_targets_session_but_other_times_is_another_session() -> None:
    from sessionctl.operations.rotation.covering import _is_kept

    def record(updated: str) -> SessionRecord:
        return SessionRecord(id="s", version="1", stamps=Stamps(created="2026-01-01 00:00:00", updated=updated))

    item = StoredItem(1, "2026-01-01 00:00:05.700000", None, '"hi"')
    put = Put(session=record("2026-01-01 00:00:05.700000"), items=(item,))
    same = record("2026-01-01 00:00:05")
    assert _is_kept(put, same, [item._replace(stored_at="2026-01-01 00:00:05")])
    assert _is_kept(put, record("2026-02-01 00:00:00"), [item, item._replace(text='"more"')])
    assert not _is_kept(put, record("2026-02-01 00:00:00"), [item])
    assert not _is_kept(put, same, [item._replace(stored_at="2026-01-01 00:00:07")])
    assert not _is_kept(put, same, [item._replace(text='"ho"')])
    assert not _is_kept(put, same, [])


def test_outcomes_of_single_sessions_are_told(
    places: Callable[[], RotatedWorld], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sessionctl.stores.sqlite.adapter import Adapter

    put = Adapter.put

    def refusing(self: Adapter, puts: Any, **how: Any) -> Any:
        fit = [one for one in puts if one.session_id != "s03"]
        done = dict(zip((one.session_id for one in fit), put(self, fit, **how), strict=True))
        return [done.get(one.session_id, Outcome.FAILED) for one in puts]

    world = places()
    monkeypatch.setattr(Adapter, "put", refusing)
    report = world.purge()
    assert report.skipped[Outcome.FAILED] == 1
    assert report.failed == {"s03": f"sqlite:///{world.target} cannot hold it"}
    assert set(content(world.store)) == {"s03"}
