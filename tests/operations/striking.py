"""Archived purges and undoings on a store in memory, with something striking at one point of their work.

Every call that reads the store, changes it, writes the archive or the ledger is a point, known by what it
is and how manieth of its kind; behind a change there is one more, for the answer that gets lost. At each,
every deletion is held against the archive: what goes must lie in a sealed, recorded segment, as it is.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

from failing_store import FailingStore

from sessionctl.archive.format import Header
from sessionctl.archive.reader import ArchiveReader
from sessionctl.archive.writer import RunArchive, Sealed, SegmentWriter
from sessionctl.core.hold import Hold
from sessionctl.core.limits import Limits
from sessionctl.core.model import Change, Guard, Outcome, Put, Rewrite
from sessionctl.core.record import SessionRecord, StoredItem, WholeSession
from sessionctl.core.report import Report
from sessionctl.core.selector import Query, Selector
from sessionctl.core.spans import touches
from sessionctl.errors import ArchiveMissing
from sessionctl.ledger import Ledger, Run, Segment, new_run
from sessionctl.operations.archiving import ArchiveKeeper
from sessionctl.operations.covering import Covering
from sessionctl.operations.execute import Terms, apply_plan
from sessionctl.operations.placing import settle, settle_cut_off
from sessionctl.operations.purge import plan_purge
from sessionctl.operations.put_back import Tally
from sessionctl.operations.spool import SpooledPlan
from sessionctl.operations.stop import Stop
from sessionctl.operations.undo import put_back
from sessionctl.stores.memory import MemoryStore

SESSIONS = 6
MIN_IDLE = timedelta(minutes=15)
OLD = Selector(older_than=timedelta(days=1))
Point = tuple[str, int]


class Killed(BaseException):
    """The process is gone: nothing of it works from here on."""


@dataclass
class Points:
    """Counts the points; at ``where`` it does ``strike``. After ``kill`` every point is the end."""

    where: Point | None = None
    strike: Callable[[Points], None] = lambda _: None
    seen: Counter[str] = field(default_factory=Counter)
    is_dead: bool = False
    struck: bool = False
    lock: Lock = field(default_factory=Lock)

    def at(self, name: str) -> None:
        with self.lock:
            if self.is_dead:
                raise Killed
            here = (name, self.seen[name])
            self.seen[name] += 1
        if here == self.where:
            self.struck = True
            self.strike(self)

    def kill(self) -> None:
        self.is_dead = True
        raise Killed


class StruckStore(FailingStore):
    """A store whose reading and changing are points, and that checks what is deleted."""

    def __init__(
        self, inner: MemoryStore, points: Points, archived: Callable[[], set[tuple[Any, ...]]] | None = None
    ) -> None:
        super().__init__(inner)
        self._points, self._archived = points, archived

    def whole(self, session_ids: Sequence[str]) -> Iterator[WholeSession]:
        self._points.at("whole")
        for found in self.inner.whole(session_ids):
            yield found
            self._points.at("between")

    def apply(self, changes: Sequence[Change], guard: Guard) -> Sequence[Outcome]:
        self._points.at("apply")
        before = content(self.inner)
        outcomes = self.inner.apply(changes, guard)
        made = [change for change, o in zip(changes, outcomes, strict=True) if o is Outcome.DONE]
        if self._archived:
            assert {_taken(change, before) for change in made} <= self._archived(), "deleted, and not in the archive"
        self._points.at("applied")
        return outcomes

    def put(self, puts: Sequence[Put], *, hold: Hold | None = None) -> Sequence[Outcome]:
        self._points.at("put")
        outcomes = self.inner.put(puts, hold=hold)
        self._points.at("was put")
        return outcomes


class StruckLedger(Ledger):
    points: Points

    def begin(self, run: Run) -> None:
        self.points.at("begin")
        super().begin(run)

    def sealed(self, segment: Segment) -> None:
        self.points.at("sealed")
        super().sealed(segment)

    def committed(self, run_id: str, number: int, kept: Sequence[str], *, wholly: bool = True) -> None:
        self.points.at("committed")
        super().committed(run_id, number, kept, wholly=wholly)

    def returned(self, run_id: str, number: int, ids: Sequence[str]) -> None:
        self.points.at("returned")
        super().returned(run_id, number, ids)

    def finish(self, *what: Any, **how: Any) -> None:
        self.points.at("finish")
        super().finish(*what, **how)


class StruckArchive(RunArchive):
    points: Points

    def segment(self) -> SegmentWriter:
        self.points.at("segment")
        writer = super().segment()
        points, add, seal = self.points, writer.add, writer.seal

        def struck_add(session: SessionRecord, items: Any) -> Any:
            points.at("add")
            return add(session, items)

        def struck_seal() -> Sealed:
            points.at("seal")
            sealed = seal()
            points.at("was sealed")
            return sealed

        writer.add, writer.seal = struck_add, struck_seal  # type: ignore[method-assign]
        return writer

    def withdraw(self, sealed: Sealed) -> None:
        self.points.at("withdraw")
        super().withdraw(sealed)


@cache
def dead_pid() -> int:
    """Of a process that has gone."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def _taken(change: Change, before: dict[str, tuple[StoredItem, ...]]) -> tuple[Any, ...]:
    is_touched = touches(change) if isinstance(change, Rewrite) else lambda _: True
    return (change.session_id, *(item for item in before[change.session_id] if is_touched(item.key)))


def content(store: Any) -> dict[str, tuple[StoredItem, ...]]:
    """Of each session its items, past all points."""
    ids = [ref.id for ref in store.sessions(Query())]
    return {whole.session.id: tuple(whole.items) for whole in store.whole(ids)}


@contextmanager
def worlds(kind: type[World] | None = None) -> Iterator[Callable[[], World]]:
    """What makes fresh worlds, in memory where there is a file system for that: they sync very often."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as directory:
        numbers = count()
        yield lambda: (kind or World)(Path(directory, str(next(numbers))))


class World:
    """A store, its archives, and a ledger."""

    takes_parts = False

    def __init__(self, directory: Path, sessions: int = SESSIONS) -> None:
        self.store = MemoryStore()
        for number in range(sessions):
            self.store.append(f"s{number:02}", f"one {number}", f"two {number}")
        self.store.advance(timedelta(days=2))
        self.archives = directory / "archives"
        self.ledger = Ledger.open(directory / "state" / "ledger.db")
        self.before = content(self.store)

    def purge(self, points: Points | None = None, *, archived: bool = True, **terms: Any) -> Report:
        """One run, as the command makes it."""
        points = points or Points()
        ledger = StruckLedger(self.ledger.at)
        ledger.points = points
        store = StruckStore(self.store, points, self.covered if archived else None)
        settle_cut_off(self.store, self.ledger)
        run = replace(new_run("purge", self.store.address.recorded, datetime.now(UTC), {}), pid=dead_pid())
        agreed = Terms(guard=Guard(min_idle=MIN_IDLE), limits=Limits(batch_size=2), **terms)
        with self.plan() as plan:
            if not archived:
                return apply_plan(store, plan, agreed, ledger=ledger, run=run)
            archive = StruckArchive(str(self.archives), header(run.run_id, parts=self.takes_parts))
            archive.points = points
            run = replace(run, archive=archive.name)
            with Covering(store, ArchiveKeeper(archive, str(self.archives)), ledger, run) as cover:
                return apply_plan(store, plan, agreed, ledger=ledger, run=run, cover=cover)

    def plan(self) -> SpooledPlan:
        return plan_purge(self.store, OLD, min_idle=MIN_IDLE)

    def undo(self, points: Points | None = None, *, stop: Stop | None = None) -> Tally:
        """Of all runs, the newest first, as the command does it."""
        points, done = points or Points(), Tally()
        ledger = StruckLedger(self.ledger.at)
        ledger.points = points
        store = StruckStore(self.store, points)
        for run in self.ledger.runs():
            if run.archive:
                segments = settle(self.store, self.ledger, run, self.ledger.segments(run.run_id))
                put_back(store, ledger, run, segments, done, stop=Stop() if stop is None else stop)
        return done

    def covered(self) -> set[tuple[Any, ...]]:
        """What sealed and recorded segments hold: (id, items…)."""
        found: set[tuple[Any, ...]] = set()
        for run in self.ledger.runs():
            for segment in self.ledger.segments(run.run_id):
                with suppress(ArchiveMissing):
                    found |= sessions_in(f"{run.archive}/{segment.name}")
        return found


@cache
def sessions_in(file: str) -> frozenset[tuple[Any, ...]]:
    """(id, items…) of a sealed file, verified to its end."""
    with ArchiveReader(file) as reader:
        return frozenset((whole.session.id, *whole.items) for whole in reader.sessions())


def header(run_id: str, *, parts: bool = False) -> Header:
    return Header(
        run_id=run_id, created_at=datetime.now(UTC), tool="0", sdk=None, command="purge", store="memory://",
        kind="memory", flavour="MemoryStore", zone=None, selectors=(), reason=None, parts=parts,
    )  # fmt: skip
