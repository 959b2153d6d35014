"""Copy stores into another one, and catch up with what changed in them meanwhile.

A pass goes through the sources as they lie; each session that is not in the record as it is now is read whole and
put into the target, if nothing is there under its id. What is there already counts as such where it has the same
items, or was only appended to since. What the migration itself put and nobody touched since, while it changed or
went away in its source, is deleted by a plan like any other, and put anew. All else that is there is left alone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self

from sessionctl.core.limits import Limits
from sessionctl.core.model import Order, SessionRef, Want
from sessionctl.core.patience import Trouble
from sessionctl.core.plan import Totals
from sessionctl.core.record import SessionRecord, StoredItem, instant
from sessionctl.core.report import Stopped
from sessionctl.core.selector import Query
from sessionctl.core.serialising import style_of, styled
from sessionctl.operations.migration_record import Entry, MigrationRecord
from sessionctl.operations.put_back import Case, Placing, Tally, Whole, put_patiently
from sessionctl.operations.restore import on_main_branch
from sessionctl.operations.routes import Route
from sessionctl.operations.stop import Stop
from sessionctl.stores import open_store

_SESSIONS, _ITEMS, _BYTES = 1000, 20_000, 16 * 2**20
"""Of one transaction, at most; one larger session goes alone."""
_ADVANCED = "AdvancedSQLiteSession"

Copied = list[tuple[Case, Entry]]
"""What became of sessions, as they were read."""


@dataclass(slots=True)
class PassTally:
    """What one pass came to: ``tally`` of those it looked at, and how many were in place by the record.

    ``stale``: those to be put anew, as they are in the target; ``gone`` those that their source has no more.
    """

    tally: Tally = field(default_factory=Tally)
    in_place: int = 0
    stale: list[Entry] = field(default_factory=list)
    gone: list[Entry] = field(default_factory=list)
    stopped: Stopped = Stopped.DONE

    @property
    def is_clean(self) -> bool:
        """Did it find nothing that had changed since the pass before?"""
        return not (self.tally.restored.sessions or self.stale or self.gone) and self.stopped is Stopped.DONE


class Copier:
    """Reads sessions of one source and puts them into the target; for one thread, with stores of its own."""

    def __init__(self, route: Route, record: MigrationRecord, lock: threading.Lock, *, bare: bool, stop: Stop) -> None:
        self._route, self._record, self._lock, self._stop = route, record, lock, stop
        self._source, self._target = open_store(route.source), open_store(route.target)
        self._target.only_filler = bare
        flavours = self._source.info().flavour, self._target.info().flavour
        self._is_branched = flavours == (_ADVANCED, _ADVANCED)
        self._style = style_of(flavours[1])
        self._trouble = Trouble()

    def close(self) -> None:
        self._source.close()
        self._target.close()

    def copy(self, ids: Sequence[str]) -> Copied:
        """Those of ``ids`` that are there still, in portions of a transaction each."""
        became: Copied = []
        for portion in self._portions(ids):
            versions = {session.id: session.version for session, _ in portion}
            placed = put_patiently(self._target, portion, self._as_absent, self._trouble, self._stop, again=self._look)
            became += [
                (placing.case, _entry_of(self._route, placing, versions[placing.session.id])) for placing in placed
            ]
        return became

    def _portions(self, ids: Sequence[str]) -> Iterator[list[Whole]]:
        some: list[Whole] = []
        items = size = 0
        for session, stored in self._source.whole(ids):
            found = self._translated(session, stored)
            some.append(found)
            items += len(found[1])
            size += sum(len(item.text) for item in found[1])
            if len(some) == _SESSIONS or items >= _ITEMS or size >= _BYTES:
                yield some
                some, items, size = [], 0, 0
        if some:
            yield some

    def _translated(self, session: SessionRecord, items: Iterable[StoredItem]) -> Whole:
        """As the target's class would have written it, under its id there."""
        kept, style = self._visible(session, items), self._style
        return (
            replace(session, id=self._route.id_there(session.id)),
            tuple([StoredItem(key, stored_at, at, styled(text, style)) for key, stored_at, at, text in kept]),
        )

    def _visible(self, session: SessionRecord, items: Iterable[StoredItem]) -> tuple[StoredItem, ...]:
        """All of it where both stores know branches, else the main one."""
        return tuple(items) if self._is_branched else on_main_branch(session, tuple(items))

    def _as_absent(self, some: Sequence[Whole]) -> list[Placing]:
        """Most are; the store looks again where it puts them."""
        return [Placing(session, items, Case.BACK, exact=False) for session, items in some]

    def _look(self, some: Sequence[Whole]) -> list[Placing]:
        ids = [session.id for session, _ in some]
        there = {whole.session.id: self._visible(whole.session, whole.items) for whole in self._target.whole(ids)}
        with self._lock:
            known = self._record.find(there)
        found = []
        for session, items in some:
            case = _case(items, there.get(session.id), known.get(session.id))
            found.append(Placing(session, items, case, exact=False))
        return found


def _case(items: Sequence[StoredItem], there: Sequence[StoredItem] | None, entry: Entry | None) -> Case:
    """``there``: what the target has under the id; ``entry``: what was put there."""
    if there is None:
        return Case.BACK
    mine, theirs = [item.text for item in items], [item.text for item in there]
    if theirs == mine:
        return Case.ALREADY
    if entry is not None and (len(theirs), sum(item.size for item in there)) == (entry.items, entry.bytes):
        return Case.STALE
    return Case.ALREADY if mine and theirs[: len(mine)] == mine else Case.REFUSED


@dataclass(slots=True, kw_only=True)
class Migration:
    """A migration at work.

    ``observe`` is told what was copied so far; ``bare``: the tables have no index yet; ``left_out`` are sessions
    of the sources that have no place in the target.
    """

    routes: Sequence[Route]
    record: MigrationRecord
    limits: Limits
    stop: Stop
    jobs: int = 1
    bare: bool = False
    left_out: frozenset[str] = frozenset()
    observe: Callable[[Totals], None] = lambda _: None
    began: float = field(default_factory=time.monotonic)
    copied: Totals = field(default_factory=Totals)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def one_pass(self) -> PassTally:
        """Look at every session of the sources, and copy what is not in place."""
        found = PassTally()
        listed: set[int] = set()
        with open_store(self.routes[0].target) as target:
            there = {hash(ref.id) for ref in target.sessions(Query(), order=Order.PHYSICAL)}
        for route in self.routes:
            self._route(route, found, listed, there)
            if found.stopped is not Stopped.DONE:
                return found
        found.gone = self._gone(listed)
        return found

    def _gone(self, listed: set[int]) -> list[Entry]:
        """What was put and is in its source no more; a source that is away itself, as a fleet's file, tells nothing."""
        here = {route.source.recorded for route in self.routes}
        return [entry for entry in self.record.entries() if entry.source in here and hash(entry.id) not in listed]

    def again(self, entries: Sequence[Entry]) -> PassTally:
        """Copy just these, which are not in the target any more: all of them, even where the run is to stop."""
        found = PassTally()
        for route in self.routes:
            here = [route.id_here(entry.id) for entry in entries if entry.source == route.source.recorded]
            ids = [each for each in here if each is not None]
            with _Crew(self, route, Stop()) as crew:
                for start in range(0, len(ids), _SESSIONS):
                    crew.take(ids[start : start + _SESSIONS], partial(self._count, found))
                crew.finish(partial(self._count, found))
        return found

    def _route(self, route: Route, found: PassTally, listed: set[int], present: set[int]) -> None:
        """``listed`` gets the sessions of the source, by the hashes of their ids in the target; ``present`` are its."""
        with open_store(route.source) as source, _Crew(self, route, self.stop) as crew:
            for refs in _batches(source.sessions(Query(), order=Order.PHYSICAL, want=Want.VERSION), self.limits):
                there = [route.id_there(ref.id) for ref in refs]
                listed.update(map(hash, there))
                with self.lock:
                    put = self.record.find(there)
                known = {name: entry for name, entry in put.items() if hash(name) in present}
                wanted = [
                    ref.id
                    for ref, name in zip(refs, there, strict=True)
                    if (name not in known or known[name].version != ref.version) and ref.id not in self.left_out
                ]
                found.in_place += len(refs) - len(wanted)
                if wanted and not self._collect(crew, wanted, found):
                    break
            crew.finish(partial(self._count, found))

    def _collect(self, crew: _Crew, ids: Sequence[str], found: PassTally) -> bool:
        """Hand ``ids`` to the crew and count what it has done; False where the run must end."""
        if ended := self._must_end():
            found.stopped = ended
            return False
        crew.take(ids, partial(self._count, found))
        self._pace()
        return True

    def _count(self, found: PassTally, became: Copied) -> None:
        for case, entry in became:
            totals = Totals(sessions=1, items=entry.items, bytes=entry.bytes)
            if case is Case.STALE:
                found.stale.append(entry)
            else:
                found.tally.add(entry.id, case, totals)
            if case is Case.BACK:
                self.copied += totals
        with self.lock:
            self.record.note(entry for case, entry in became if case in (Case.BACK, Case.ALREADY))
        self.observe(self.copied)

    def _must_end(self) -> Stopped | None:
        if self.stop:
            return Stopped.SIGNAL
        limits, runtime = self.limits, self.limits.max_runtime
        if runtime is not None and time.monotonic() - self.began >= runtime.total_seconds():
            return Stopped.LIMIT
        if limits.max_sessions is not None and self.copied.sessions >= limits.max_sessions:
            return Stopped.LIMIT
        return None

    def _pace(self) -> None:
        """Leave the stores to others for as long as the rate asks for."""
        if self.limits.rate is None:
            return
        until = self.began + self.copied.sessions / self.limits.rate
        while not self._must_end() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))


def _entry_of(route: Route, placing: Placing, version: str) -> Entry:
    totals, stamps = placing.totals, placing.session.stamps
    return Entry(
        id=placing.session.id,
        source=route.source.recorded,
        version=version,
        items=totals.items,
        bytes=totals.bytes,
        updated=instant(stamps.updated, stamps.updated_at),
    )


def _batches(refs: Iterable[SessionRef], limits: Limits) -> Iterator[list[SessionRef]]:
    """Portions for one transaction, as far as numbers of items tell; of a second's work where there is a rate."""
    rate = None if limits.rate is None else max(1, round(limits.rate))
    most = min(n for n in (_SESSIONS, limits.batch_size, limits.max_sessions, rate) if n is not None)
    some: list[SessionRef] = []
    items = 0
    for ref in refs:
        some.append(ref)
        items += ref.items or 0
        if len(some) >= most or items >= _ITEMS:
            yield some
            some, items = [], 0
    if some:
        yield some


class _Crew:
    """Threads that copy, each with stores of its own: while one waits for the server, another reads."""

    def __init__(self, migration: Migration, route: Route, stop: Stop) -> None:
        self.route, self._stop = route, stop
        self._migration = migration
        self._mine = threading.local()
        self._copiers: list[Copier] = []
        self._pool = ThreadPoolExecutor(migration.jobs, "migrate")
        self._ahead: deque[Future[Copied]] = deque()

    def take(self, ids: Sequence[str], count: Callable[[Copied], None]) -> None:
        """Have ``ids`` copied; ``count`` is told of what was done meanwhile."""
        self._ahead.append(self._pool.submit(self._copy, list(ids)))
        while len(self._ahead) > self._migration.jobs + 1 or (self._ahead and self._ahead[0].done()):
            count(self._ahead.popleft().result())

    def finish(self, count: Callable[[Copied], None]) -> None:
        while self._ahead:
            count(self._ahead.popleft().result())

    def _copy(self, ids: list[str]) -> Copied:
        copier = getattr(self._mine, "copier", None)
        if copier is None:
            m = self._migration
            copier = self._mine.copier = Copier(self.route, m.record, m.lock, bare=m.bare, stop=self._stop)
            self._copiers.append(copier)
        return copier.copy(ids)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for waiting in self._ahead:
            waiting.cancel()
        self._pool.shutdown(wait=True)
        for copier in self._copiers:
            copier.close()
