"""Copy stores into another one, and catch up with what changed in them meanwhile.

A pass goes through the sources as they lie; each session that is not in the record as it is now is read whole and
put into the target, if nothing is there under its id. What is there already counts as such where it has the same
items, or was only appended to since. What the migration itself put and nobody touched since, while it changed or
went away in its source, is deleted by a plan like any other, and put anew. All else that is there is left alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice

from sessionctl.core.limits import Limits
from sessionctl.core.model import Order, SessionRef, Want
from sessionctl.core.plan import Totals
from sessionctl.core.report import Stopped
from sessionctl.core.selector import Query
from sessionctl.operations.migration.copying import ITEMS, SESSIONS, Copied, Lot, Processes, by_a_thread, by_processes
from sessionctl.operations.migration.record import Entry, MigrationRecord
from sessionctl.operations.migration.routes import Route
from sessionctl.operations.put_back import Case, Tally
from sessionctl.operations.stop import Stop
from sessionctl.stores import open_store
from sessionctl.stores.base import Store

_AHEAD = 2
"""Portions that wait for a thread."""


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


@dataclass(slots=True, kw_only=True)
class Migration:
    """A migration at work, by ``processes`` where there are any, and where no limit needs every step counted.

    ``observe`` is told what was copied so far; ``bare``: the tables have no index yet; ``left_out`` are sessions
    that have no place in the target, (source, id); ``mean`` is how many items a session has on average.
    """

    routes: Sequence[Route]
    record: MigrationRecord
    limits: Limits
    stop: Stop
    processes: Processes | None = None
    bare: bool = False
    left_out: frozenset[tuple[str, str]] = frozenset()
    mean: int = 0
    observe: Callable[[Totals], None] = lambda _: None
    began: float = field(default_factory=time.monotonic)
    copied: Totals = field(default_factory=Totals)

    def one_pass(self) -> PassTally:
        """Look at every session of the sources, and copy what is not in place."""
        found = PassTally()
        listed: set[int] = set()
        may_be_gone = not self.record.is_empty
        with open_store(self.routes[0].target) as target:
            there = {hash(ref.id) for ref in target.sessions(Query(), order=Order.PHYSICAL)}
        for route in self.routes:
            self._route(route, found, listed, there)
            if found.stopped is not Stopped.DONE:
                return found
        found.gone = self._gone(listed) if may_be_gone else []
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
            lots = (self._lot(route, ids[start : start + SESSIONS], {}) for start in range(0, len(ids), SESSIONS))
            for became in by_a_thread(lots, Stop(), _AHEAD):
                self._count(found, became)
        return found

    def _route(self, route: Route, found: PassTally, listed: set[int], present: set[int]) -> None:
        """``listed`` gets the sessions of the source, by the hashes of their ids in the target; ``present`` are its."""
        with open_store(route.source) as source, closing(self._lots(source, route, found, listed, present)) as lots:
            for became in self._copied(lots):
                self._count(found, became)

    def _copied(self, lots: Iterator[Lot]) -> Iterator[Copied]:
        one_by_one = self.limits.max_sessions is not None or self.limits.rate is not None
        if one_by_one or self.processes is None:
            return by_a_thread(lots, self.stop, 0 if one_by_one else _AHEAD)
        return by_processes(lots, self.processes)

    def _lots(
        self, source: Store, route: Route, found: PassTally, listed: set[int], present: set[int]
    ) -> Generator[Lot, None, None]:
        """What is not in place as it is now, as long as the run goes on."""
        want = Want.NOTHING if self.record.is_empty else Want.VERSION
        recorded = route.source.recorded
        for some in self._batches(source.sessions(Query(), order=Order.PHYSICAL, want=want)):
            listed.update(hash(route.id_there(ref.id)) for ref in some)
            refs = [ref for ref in some if (recorded, ref.id) not in self.left_out]
            there = [route.id_there(ref.id) for ref in refs]
            known = self.record.find(name for name in there if hash(name) in present)
            wanted = [
                ref.id
                for ref, name in zip(refs, there, strict=True)
                if name not in known or known[name].version != ref.version
            ]
            found.in_place += len(refs) - len(wanted)
            while wanted:
                if ended := self._must_end():
                    found.stopped = ended
                    return
                most = self.limits.max_sessions
                room = len(wanted) if most is None else most - self.copied.sessions
                yield self._lot(route, wanted[:room], known)
                wanted = wanted[room:]
                self._pace()

    def _batches(self, refs: Iterator[SessionRef]) -> Iterator[list[SessionRef]]:
        """Portions for about one transaction each; of a second's work where there is a rate."""
        limits = self.limits
        rate = None if limits.rate is None else max(1, round(limits.rate))
        usual = max(1, ITEMS // max(1, self.mean))
        most = min(n for n in (SESSIONS, usual, limits.batch_size, limits.max_sessions, rate) if n is not None)
        while some := list(islice(refs, most)):
            yield some

    def _lot(self, route: Route, ids: Sequence[str], known: Mapping[str, Entry]) -> Lot:
        among = {name: known[name] for name in map(route.id_there, ids) if name in known}
        return Lot(route, self.record.path, self.bare, ids, among)

    def _count(self, found: PassTally, became: Copied) -> None:
        for case, totals in became.totals.items():
            left = became.left.get(case, ())
            if case is Case.STALE:
                found.stale += left
            else:
                found.tally.add([entry.id for entry in left], case, totals)
            if case is Case.BACK:
                self.copied += totals
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
