"""Copying sessions from one store into another: the work of one process or thread, and how several share it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sessionctl.core.patience import Trouble
from sessionctl.core.record import PlainItem, SessionRecord, StoredItem, instant, plain_items, stored_item
from sessionctl.core.serialising import all_styled, style_of
from sessionctl.operations.migration.record import Entry, MigrationRecord
from sessionctl.operations.migration.routes import Route
from sessionctl.operations.put_back import Case, Placing, Whole, put_patiently
from sessionctl.operations.restore import on_main_branch
from sessionctl.operations.stop import Stop
from sessionctl.operations.workers import Workers
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

    def copy(self, ids: Sequence[str]) -> Iterator[Copied]:
        """Those of ``ids`` that are there still, in portions of a transaction each."""
        for portion in self._portions(ids):
            versions = {session.id: session.version for session, _ in portion}
            placed = put_patiently(self._target, portion, self._as_absent, self._trouble, self._stop, again=self._look)
            yield [(placing.case, _entry_of(self._route, placing, versions[placing.session.id])) for placing in placed]

    def _portions(self, ids: Sequence[str]) -> Iterator[list[Whole]]:
        some: list[Whole] = []
        items = size = 0
        for session, stored in self._source.whole(ids):
            # Of stamps the instant is asked for alone; where there are branches, keys are as well.
            kept: Sequence[PlainItem] = self._visible(session, stored) if session.extras else tuple(plain_items(stored))
            texts = all_styled([item[3] for item in kept], self._style)
            made = [stored_item((key, at, told, text)) for (key, at, told, _), text in zip(kept, texts, strict=True)]
            some.append((self._named(session), tuple(made)))
            items += len(texts)
            size += sum(map(len, texts))
            if len(some) == SESSIONS or items >= ITEMS or size >= BYTES:
                yield some
                some, items, size = [], 0, 0
        if some:
            yield some

    def _named(self, session: SessionRecord) -> SessionRecord:
        """Under its id in the target."""
        return replace(session, id=self._route.id_there(session.id)) if self._route.prefix else session

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


class Lot(NamedTuple):
    """Sessions of one source to be copied. ``record`` is where the record lies; ``bare`` as in ``Migration``."""

    route: Route
    record: Path
    bare: bool
    ids: Sequence[str]


class Copying:
    """The work of a process or a thread beside the one that lists, with stores and a record of its own."""

    def __init__(self, stop: Stop | None = None) -> None:
        self._stop = stop or Stop()
        self._of: object = None
        self._at_hand = ExitStack()

    def __call__(self, lot: Lot) -> Iterator[Copied]:
        """What became of the sessions of each transaction."""
        if self._of != lot[:-1]:
            self.close()
            record = self._at_hand.enter_context(MigrationRecord(lot.record))
            copier = Copier(lot.route, record, bare=lot.bare, stop=self._stop)
            self._copier = self._at_hand.enter_context(closing(copier))
            self._of = lot[:-1]
        yield from self._copier.copy(lot.ids)

    def close(self) -> None:
        self._of = None
        self._at_hand.close()


Processes = Workers[Lot, Copied]


def by_processes(lots: Iterable[Lot], processes: Processes) -> Iterator[Copied]:
    """What becomes of ``lots``, of which some are taken ahead of what is done."""
    for _, became in processes.each(lots):
        yield from became


def by_a_thread(lots: Iterator[Lot], stop: Stop, ahead: int) -> Iterator[Copied]:
    """The same with at most so many ``ahead``: it costs no start, and takes turns with its caller."""
    coming: deque[Future[list[Copied]]] = deque()
    with closing(Copying(stop)) as work, ThreadPoolExecutor(1, "migrate") as thread:
        try:
            for lot in lots:
                coming.append(thread.submit(lambda lot: list(work(lot)), lot))
                while len(coming) > ahead or (coming and coming[0].done()):
                    yield from coming.popleft().result()
            while coming:
                yield from coming.popleft().result()
        finally:
            for waiting in coming:
                waiting.cancel()
