"""Copying sessions from one store into another: the work of one process or thread, and how several share it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

from sessionctl.core.patience import Trouble
from sessionctl.core.plan import Totals
from sessionctl.core.record import ItemColumns, SessionRecord, StoredItem, columns, instant, octets_of, plain_items
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
_IN_PLACE = (Case.BACK, Case.ALREADY)


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of the sessions of a portion: totals by case, and those that are not in place, as they were read."""

    totals: Mapping[Case, Totals]
    left: Mapping[Case, Sequence[Entry]]

    @classmethod
    def of(cls, by_case: Mapping[Case, Sequence[Entry]]) -> Self:
        totals = {
            case: Totals(
                sessions=len(some), items=sum(each.items for each in some), bytes=sum(each.bytes for each in some)
            )
            for case, some in by_case.items()
        }
        return cls(totals, {case: some for case, some in by_case.items() if case not in _IN_PLACE})


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

    def copy(self, ids: Sequence[str], known: Mapping[str, Entry]) -> Iterator[Copied]:
        """Those of ``ids`` that are there still, in portions of a transaction each; ``known`` as in ``Lot``."""
        look = partial(self._look, known=known)
        for portion in self._portions(ids):
            entries = {session.id: _entry_of(self._route, session, items) for session, items in portion}
            number = self._record.begin(entry for name, entry in entries.items() if name not in known)
            placed = put_patiently(self._target, portion, _as_absent, self._trouble, self._stop, again=look)
            if not placed:  # and nobody knows whether they are there
                return
            by_case: dict[Case, list[Entry]] = {}
            for placing in placed:
                by_case.setdefault(placing.case, []).append(entries[placing.session.id])
            became = Copied.of(by_case)
            others = {entry.id for some in became.left.values() for entry in some}
            more = [entries[name] for name in known.keys() & entries.keys() - others] if known else ()
            self._record.settle(number, but=others - known.keys(), more=more)
            yield became

    def _portions(self, ids: Sequence[str]) -> Iterator[list[Whole]]:
        some: list[Whole] = []
        items = size = 0
        for session, stored in self._source.whole(ids):
            # Of stamps the instant is asked for alone; where there are branches, keys are as well.
            kept = columns(self._visible(session, stored) if session.extras else plain_items(stored))
            texts = all_styled(kept.texts, self._style)
            some.append((self._named(session), ItemColumns(kept.keys, kept.stored, kept.at, texts)))
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

    def _visible(self, session: SessionRecord, items: Iterable[StoredItem]) -> Sequence[StoredItem]:
        """All of it where both stores know branches, else the main one."""
        return tuple(items) if self._is_branched else on_main_branch(session, tuple(items))

    def _look(self, some: Sequence[Whole], known: Mapping[str, Entry]) -> list[Placing]:
        ids = [session.id for session, _ in some]
        there = {whole.session.id: self._visible(whole.session, whole.items) for whole in self._target.whole(ids)}
        found = []
        for session, items in some:
            case = _case(items, there.get(session.id), known.get(session.id))
            found.append(Placing(session, items, case, exact=False))
        return found


def _as_absent(some: Sequence[Whole]) -> list[Placing]:
    """Most are; the store looks again where it puts them."""
    return [Placing(session, items, Case.BACK, exact=False) for session, items in some]


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


def _entry_of(route: Route, session: SessionRecord, items: Sequence[StoredItem]) -> Entry:
    return Entry(
        id=session.id,
        source=route.source.recorded,
        version=session.version,
        items=len(items),
        bytes=octets_of(items),
        updated=instant(session.stamps.updated, session.stamps.updated_at),
    )


class Lot(NamedTuple):
    """Sessions of one source to be copied. ``record`` is where the record lies; ``bare`` as in ``Migration``.

    ``known``: what is recorded, by id in the target, of those that are there already.
    """

    route: Route
    record: Path
    bare: bool
    ids: Sequence[str]
    known: Mapping[str, Entry]


class Copying:
    """The work of a process or a thread beside the one that lists, with stores and a record of its own."""

    def __init__(self, stop: Stop | None = None) -> None:
        self._stop = stop or Stop()
        self._of: object = None
        self._at_hand = ExitStack()

    def __call__(self, lot: Lot) -> Iterator[Copied]:
        """What became of the sessions of each transaction."""
        if self._of != lot[:3]:
            self.close()
            record = self._at_hand.enter_context(MigrationRecord(lot.record))
            copier = Copier(lot.route, record, bare=lot.bare, stop=self._stop)
            self._copier = self._at_hand.enter_context(closing(copier))
            self._of = lot[:3]
        yield from self._copier.copy(lot.ids, lot.known)

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
