"""Write selected sessions into files: read whole, chunk by chunk, and handed on as they come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby, islice
from typing import Any

from sessionctl.core.model import Order, SessionRef
from sessionctl.core.plan import Totals
from sessionctl.core.report import Stopped
from sessionctl.core.selector import Query, Selector
from sessionctl.errors import LedgerUnavailable, SessionctlError
from sessionctl.export.base import Exported, Piece
from sessionctl.export.formats import Format
from sessionctl.export.redaction import Redactor
from sessionctl.export.shelf import Layout, Shelf, Split
from sessionctl.ledger import Ledger, Run
from sessionctl.operations.archiving import header_of
from sessionctl.operations.rendering import Batch, Portion, only_named, sessions_for
from sessionctl.operations.selecting import select
from sessionctl.operations.workers import Workers
from sessionctl.stores.base import Store

_CHUNK = 100
"""Sessions at most that are read in one snapshot of the store."""
_CHUNK_BYTES = 2 << 20
"""Octets of items that such sessions have together, about: what a worker made of them then has room on its way."""
_UNDATED = "undated"
_Chunk = tuple[str, list[str]]
"""A day, where that matters, and ids of sessions."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was exported of one store so far.

    ``missing`` counts sessions that were named and do not exist. ``redacted`` is what was taken out, by name;
    ``telling_ids`` counts sessions whose ids hold such things: ids are not changed.
    """

    store: str
    exported: Totals = field(default_factory=Totals)
    missing: int = 0
    redacted: Counter[str] = field(default_factory=Counter)
    telling_ids: int = 0

    def __add__(self, more: Tally) -> Tally:
        return Tally(
            store=self.store,
            exported=self.exported + more.exported,
            missing=self.missing + more.missing,
            redacted=self.redacted + more.redacted,
            telling_ids=self.telling_ids + more.telling_ids,
        )

    def to_json(self) -> dict[str, Any]:
        done = self.exported
        return {
            "store": self.store,
            "exported": {"sessions": done.sessions, "items": done.items, "bytes": done.bytes},
            "skipped": {"missing": self.missing},
            "redacted": dict(sorted(self.redacted.items())),
            "telling_ids": self.telling_ids,
        }


@dataclass(slots=True, kw_only=True)
class Record:
    """Where an export is recorded: the ledger (None: nowhere) and its run of this store, which knows where it goes.

    An export changes nothing that must not go unrecorded: where the ledger goes away, ``warn`` is told and that is all.
    """

    ledger: Ledger | None
    run: Run
    warn: Callable[[str], None] = lambda _: None

    def begin(self) -> AbstractContextManager[object]:
        """To be left behind the last session, before ``finish``."""
        self._write(lambda ledger: ledger.begin(self.run))
        return nullcontext() if self.ledger is None else self.ledger.alive(self.run.run_id)

    def finish(self, tally: Tally, stopped: Stopped, error: str | None = None) -> None:
        counts = {**tally.to_json(), **self.run.counts}
        self._write(lambda ledger: ledger.finish(self.run.run_id, counts, stopped, error))

    def _write(self, write: Callable[[Ledger], None]) -> None:
        if self.ledger is None:
            return
        try:
            write(self.ledger)
        except LedgerUnavailable as error:
            self.warn(f"this export is not recorded: {error.message}")
            self.ledger = None


def export(
    store: Store,
    selector: Selector,
    shelf: Shelf,
    *,
    record: Record,
    redactor: Redactor | None = None,
    several: bool = False,
    workers: Workers[Portion, Batch] | None = None,
    observe: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Put the sessions of ``selector`` on the shelf, each as it is at one instant; those gone meanwhile are left out.

    ``redactor`` must be of this export alone: its counts become the tally's. ``several``: sessions of other
    stores go onto the same shelf. ``workers`` do a ``Rendering`` of the shelf's format with the same redactor; more
    than a few sessions are left to them. ``observe`` is told every few sessions.
    """
    tally = Tally(store=str(store.address), redacted=redactor.found if redactor else Counter())
    job = _Job(store, shelf, tally, redactor, record.run, several=several)
    try:
        with record.begin():
            if not several and _is_copy(store, selector, shelf.layout) and redactor is None:
                _copy(store, shelf, tally)
            else:
                for _ in job.sessions(selector, workers):
                    observe(tally)
    except BaseException as error:
        stopped = Stopped.ERROR if isinstance(error, Exception) else Stopped.SIGNAL
        record.finish(tally, stopped, error.message if isinstance(error, SessionctlError) else type(error).__name__)
        raise
    record.finish(tally, Stopped.DONE)
    return tally


class _Job:
    """One store on its way onto the shelf, here or by way of workers."""

    def __init__(
        self, store: Store, shelf: Shelf, tally: Tally, redactor: Redactor | None, run: Run, *, several: bool
    ) -> None:
        self._store, self._shelf, self._tally, self._redactor = store, shelf, tally, redactor
        self._several = several
        self._origin = header_of(store, run) if shelf.layout.format is Format.ARCHIVE else None

    def sessions(self, selector: Selector, workers: Workers[Portion, Batch] | None) -> Iterator[None]:
        """Bring them all, and stop at times on the way. At the end the missing ones are counted."""
        by_day, is_paged = self._shelf.layout.split is Split.DAY, self._shelf.layout.format.is_paged
        refs = select(self._store, selector, now=self._store.now(), order=Order.ACTIVITY if is_paged else Order.OLDEST)
        # A chunk comes in any order, and the index of pages shall be in that of activity, newest first.
        chunks = _chunks(refs, by_day=by_day, size=(lambda: 1) if is_paged else self._together)
        absent = set(selector.named)
        few = list(islice(chunks, 2))
        bring = self._here if workers is None or len(few) < 2 else partial(self._there, workers)
        for ids in bring(chain(few, chunks)):
            absent.difference_update(ids)
            if self._redactor is not None:
                self._tally.telling_ids += sum(map(self._redactor.touches, ids))
            yield
        self._tally.missing = _missing(self._store, frozenset(absent))

    def _together(self) -> int:
        """How many sessions go into the next chunk, by those that were exported so far."""
        done = self._tally.exported
        fitting = _CHUNK_BYTES * done.sessions // max(1, done.bytes) if done.sessions else _CHUNK // 2
        return max(1, min(_CHUNK, fitting))

    def _here(self, chunks: Iterable[_Chunk]) -> Iterator[Sequence[str]]:
        kind = self._shelf.layout.format.kind()
        for day, ids in chunks:
            more: dict[str, Any] = {"several": self._several, "origin": self._origin}
            for exported in sessions_for(kind, self._store, ids, self._redactor, **more):
                self._tally.exported += self._shelf.add(exported, day=day)
                yield [exported.session.id]

    def _there(self, workers: Workers[Portion, Batch], chunks: Iterable[_Chunk]) -> Iterator[Sequence[str]]:
        numbered = enumerate(chunks)
        portions = (Portion(self._store.address, ids, self._several, day, number) for number, (day, ids) in numbered)
        for portion, batches in workers.each(portions):
            for batch in self._shelf.made(batches):
                self._tally.redacted.update(batch.redacted)
                self._tally.exported += batch.totals()
                if batch.is_packed:
                    self._shelf.take_frames(batch.data)
                elif self._shelf.is_seamless:
                    self._shelf.take(Piece(batch.data))
                else:
                    self._part_by_part(batch, portion.day)
                yield [session_id for session_id, _, _, items, _ in batch.parts if items >= 0]

    def _part_by_part(self, batch: Batch, day: str) -> None:
        for session_id, begins, piece in batch.pieces():
            if begins:
                coming = Exported(
                    store=self._tally.store, session=only_named(session_id), items=(), several=self._several,
                    origin=self._origin,
                )  # fmt: skip
                self._shelf.begin(coming, day=day)
            self._shelf.take(piece)


def _is_copy(store: Store, selector: Selector, layout: Layout) -> bool:
    """Is all of a SQLite file wanted as one?"""
    whole = layout.format is Format.SQLITE and layout.split is None and selector == Selector()
    return whole and store.address.path is not None


def _copy(store: Store, shelf: Shelf, tally: Tally) -> None:
    shelf.copy(store.copy_to)
    volume = store.volume()
    sessions = store.census(store.now()).sessions
    tally.exported = Totals(sessions=sessions, items=volume.items, bytes=volume.bytes)


def _chunks(refs: Iterable[SessionRef], *, by_day: bool, size: Callable[[], int]) -> Iterator[_Chunk]:
    """Ids that belong together: of one day of last activity (UTC), where that matters."""
    for day, group in groupby(refs, _day if by_day else lambda _: ""):
        while chunk := [ref.id for ref in islice(group, size())]:
            yield day, chunk


def _day(ref: SessionRef) -> str:
    return ref.last_activity.date().isoformat() if ref.last_activity else _UNDATED


def _missing(store: Store, named: frozenset[str]) -> int:
    """How many of these do not exist; others may just not match."""
    return len(named) - sum(1 for _ in store.sessions(Query(named=named))) if named else 0
