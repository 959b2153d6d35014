"""Undo a run: put back what it removed, where it was, from its archive.

Only what the run itself removed comes back: what the application deleted stays deleted. A session that was
begun anew since gets its items back in front of the new ones. What can be put in place neither way is refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sessionctl.archive.places import Place, place
from sessionctl.archive.reader import ArchiveReader, verify
from sessionctl.core.model import Onto, Outcome, Put
from sessionctl.core.plan import Totals
from sessionctl.core.record import SessionRecord, StoredItem
from sessionctl.errors import SessionctlError
from sessionctl.ledger import Ledger, Run, Segment
from sessionctl.operations.execute import Stop
from sessionctl.operations.patience import Trouble
from sessionctl.stores.base import Store

_RUNS = 100
_DEAD = timedelta(minutes=5)
"""A run that gave no sign of life for so long was cut off; it gives one every second or so."""
_TOGETHER = 100
_BYTES_TOGETHER = 4 * 2**20
"""Sessions put back in one transaction, at most; one larger session goes alone."""


class Case(StrEnum):
    """What the store has of an archived session by now, and so what undoing comes to."""

    BACK = "put back"
    FRONT = "put in front of newer items"
    ALREADY = "there already"
    KEPT = "not removed by the run"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Placing:
    """One archived session and its case."""

    session: SessionRecord
    items: tuple[StoredItem, ...]
    case: Case

    @property
    def put(self) -> Put:
        onto = Onto.FRONT if self.case is Case.FRONT else Onto.ABSENT
        return Put(session=self.session, items=self.items, onto=onto, exact=True)

    @property
    def totals(self) -> Totals:
        size = sum(len(item.text.encode("utf-8", "surrogateescape")) for item in self.items)
        return Totals(sessions=1, items=len(self.items), bytes=size)


@dataclass(slots=True)
class Undone:
    """What became, or would become, of the sessions of a run: totals by case, and some that were refused."""

    by_case: dict[Case, Totals] = field(default_factory=lambda: dict.fromkeys(Case, Totals()))
    refused: list[str] = field(default_factory=list)

    @property
    def restored(self) -> Totals:
        return self.by_case[Case.BACK] + self.by_case[Case.FRONT]

    @property
    def matched(self) -> Totals:
        """All that the run removed."""
        return sum((totals for case, totals in self.by_case.items() if case is not Case.KEPT), Totals())

    def count(self, placing: Placing, case: Case) -> None:
        self.by_case[case] += placing.totals
        if case is Case.REFUSED and len(self.refused) < _TOGETHER:
            self.refused.append(placing.session.id)


def check(run: Run, segments: Sequence[Segment]) -> None:
    """Read all of a run's archive and check it against the ledger, before anything is written.

    Raises ArchiveDamaged, ArchiveMissing, ArchiveUnavailable; SessionctlError for a file that is sound but not
    the one that the run sealed.
    """
    for segment in segments:
        file = _file(run, segment)
        if verify(file).sha256 != segment.sha256:
            raise SessionctlError(f"{file} is not the file that run {run.run_id} sealed")


def placings(store: Store, run: Run, segment: Segment) -> Iterator[list[Placing]]:
    """The archived sessions in portions that fit into one transaction, with their cases at this moment."""
    kept = frozenset(segment.kept)
    with ArchiveReader(_file(run, segment)) as reader:
        wholes = ((whole.session, tuple(whole.items)) for whole in reader.sessions())
        for some in _portions(wholes):
            yield list(_cases(store, some, kept))


def reconcile(store: Store, ledger: Ledger, run: Run, segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """The segments, each known to be dealt with: of those only sealed, what the store still has was kept.

    A run that was cut off left them so. What it had not removed yet must not be taken for removed later.
    """
    for segment in segments:
        if segment.committed_at is None:
            kept = [
                placing.session.id
                for portion in placings(store, run, segment)
                for placing in portion
                if placing.case in (Case.ALREADY, Case.REFUSED)
            ]
            ledger.committed(run.run_id, segment.number, kept)
    return ledger.segments(run.run_id)


def reconcile_cut_off(store: Store, ledger: Ledger, name: str, now: datetime) -> None:
    """Do so for all runs on the store of this masked address that were cut off, before a new one changes it."""
    for run in ledger.runs(store=name, limit=_RUNS):
        if run.archive and (run.ended_at is not None or now - (run.heartbeat_at or run.started_at) > _DEAD):
            segments = ledger.segments(run.run_id)
            if any(segment.committed_at is None for segment in segments):
                reconcile(store, ledger, run, segments)


def foresee_undo(store: Store, run: Run, segments: Iterable[Segment]) -> Undone:
    """What undoing would come to at this moment. Nothing is written."""
    foreseen = Undone()
    for segment in segments:
        for portion in placings(store, run, segment):
            for placing in portion:
                foreseen.count(placing, placing.case)
    return foreseen


def put_back(store: Store, ledger: Ledger, run: Run, segments: Iterable[Segment], done: Undone, *, stop: Stop) -> None:
    """Put back all that can be, and count it in ``done``. Trouble that passes is borne; another error comes out.

    Each portion is one transaction, and what was put back is found in its place when this is run again. From
    then on the ledger knows it as not removed: what the application deletes later does not come back.
    """
    trouble = Trouble()
    for segment in segments:
        back: list[str] = []
        for portion in placings(store, run, segment):
            if stop:
                break
            back += _put_patiently(store, portion, done, trouble)
        ledger.committed(run.run_id, segment.number, [*segment.kept, *back])


def _put_patiently(store: Store, portion: list[Placing], done: Undone, trouble: Trouble) -> list[str]:
    """The ids of what is in its place after this."""
    kept = frozenset(placing.session.id for placing in portion if placing.case is Case.KEPT)
    while True:
        try:
            back = _put_portion(store, portion, done)
        except SessionctlError as error:
            time.sleep(trouble.bear(error))
            # The answer to a commit may have been lost: look again before writing again.
            portion = list(_cases(store, [(placing.session, placing.items) for placing in portion], kept))
        else:
            trouble.passed()
            return back


def _put_portion(store: Store, portion: Sequence[Placing], done: Undone) -> list[str]:
    writing = [placing for placing in portion if placing.case in (Case.BACK, Case.FRONT)]
    outcomes = iter(store.put([placing.put for placing in writing]) if writing else ())
    back = []
    for placing in portion:
        case = placing.case
        if case in (Case.BACK, Case.FRONT) and next(outcomes) is not Outcome.DONE:
            case = Case.REFUSED
        done.count(placing, case)
        if case in (Case.BACK, Case.FRONT, Case.ALREADY):
            back.append(placing.session.id)
    return back


def _file(run: Run, segment: Segment) -> Place:
    return place(run.archive or "").child(segment.name)


Whole = tuple[SessionRecord, tuple[StoredItem, ...]]


def _portions(wholes: Iterable[Whole]) -> Iterator[list[Whole]]:
    some: list[Whole] = []
    size = 0
    for session, items in wholes:
        some.append((session, items))
        size += sum(len(item.text) for item in items)
        if len(some) == _TOGETHER or size >= _BYTES_TOGETHER:
            yield some
            some, size = [], 0
    if some:
        yield some


def _cases(store: Store, some: Sequence[Whole], kept: frozenset[str]) -> Iterator[Placing]:
    there = {whole.session.id: tuple(whole.items) for whole in store.whole([session.id for session, _ in some])}
    for session, items in some:
        case = Case.KEPT if session.id in kept else _case(items, there.get(session.id))
        yield Placing(session, items, case)


def _case(archived: tuple[StoredItem, ...], there: tuple[StoredItem, ...] | None) -> Case:
    if there is None:
        return Case.BACK
    if there == archived:
        return Case.ALREADY
    keys = [item.key for item in archived]
    newest = max((key for key in keys if isinstance(key, int)), default=0)
    if all(isinstance(item.key, int) and item.key > newest for item in there):
        return Case.FRONT
    # Only appended to: it was never away, or was put back and went on since.
    return Case.ALREADY if there[: len(archived)] == archived else Case.REFUSED
