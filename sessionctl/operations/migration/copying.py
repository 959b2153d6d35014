"""Copying sessions from one store into another: the work of one process or thread, and the crew that shares it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Self

from sessionctl.core.patience import Trouble
from sessionctl.core.record import SessionRecord, StoredItem, instant
from sessionctl.core.serialising import style_of, styled
from sessionctl.errors import SessionctlError
from sessionctl.operations.migration.record import Entry, MigrationRecord
from sessionctl.operations.migration.routes import Route
from sessionctl.operations.put_back import Case, Placing, Whole, put_patiently
from sessionctl.operations.restore import on_main_branch
from sessionctl.operations.stop import Stop
from sessionctl.stores import open_store

SESSIONS, ITEMS, BYTES = 1000, 20_000, 16 * 2**20
"""Of one transaction, at most; one larger session goes alone."""
_ADVANCED = "AdvancedSQLiteSession"

Copied = list[tuple[Case, Entry]]
"""What became of sessions, as they were read."""


class Copier:
    """Reads sessions of one source and puts them into the target; for one thread, with stores of its own."""

    def __init__(self, route: Route, record: MigrationRecord, *, bare: bool, stop: Stop) -> None:
        self._route, self._record, self._stop = route, record, stop
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
            if len(some) == SESSIONS or items >= ITEMS or size >= BYTES:
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


class Crew:
    """One thread, or several processes, that copy, with stores of their own, while their caller looks ahead.

    ``jobs`` processes use as many cores; one thread costs no start.
    """

    def __init__(self, route: Route, record: MigrationRecord, *, jobs: int, bare: bool, stop: Stop) -> None:
        self.route = route
        self._jobs = jobs
        self._copier: Copier | None = None
        self._make: Callable[[], Copier] = lambda: Copier(route, record, bare=bare, stop=stop)
        self._pool: Executor
        if jobs == 1:
            self._pool = ThreadPoolExecutor(1, "migrate")
        else:
            began = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(jobs, began, _begin, (route, record.path, bare))
        self._ahead: deque[Future[Copied]] = deque()

    def take(self, ids: Sequence[str], count: Callable[[Copied], None]) -> None:
        """Have ``ids`` copied; ``count`` is told of what was done meanwhile."""
        work = self._copy if self._jobs == 1 else _copy
        self._ahead.append(self._pool.submit(work, list(ids)))
        while len(self._ahead) > self._jobs + 1 or (self._ahead and self._ahead[0].done()):
            count(self._next())

    def finish(self, count: Callable[[Copied], None]) -> None:
        while self._ahead:
            count(self._next())

    def _next(self) -> Copied:
        try:
            return self._ahead.popleft().result()
        except BrokenProcessPool as error:
            raise SessionctlError("a process that copied was ended from outside", hint="run it again") from error

    def _copy(self, ids: list[str]) -> Copied:
        if self._copier is None:
            self._copier = self._make()
        return self._copier.copy(ids)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for waiting in self._ahead:
            waiting.cancel()
        self._pool.shutdown(wait=True)
        if self._copier is not None:
            self._copier.close()


_make_copier: Callable[[], Copier]


def _begin(route: Route, record: Path, bare: bool) -> None:
    """Of each process of a crew: Ctrl-C is for the one that leads, and without that one nothing goes on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_outlive_nobody, daemon=True).start()
    global _make_copier  # noqa: PLW0603 - a process of a pool has no other place for it
    _make_copier = cache(lambda: Copier(route, MigrationRecord(record), bare=bare, stop=Stop()))


def _outlive_nobody() -> None:
    leader = multiprocessing.parent_process()
    if leader is not None:
        leader.join()
        os._exit(1)


def _copy(ids: list[str]) -> Copied:
    return _make_copier().copy(ids)
