"""What a store has by now of the sessions in a run's archive, and so what may be done with each.

Only what the run itself removed may come back. A run that was cut off left that open for the sessions of
its last segment; whoever looks next settles it, by what the store still has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from sessionctl.archive.places import Place, place
from sessionctl.core.record import NOWHERE, SessionRecord, StoredItem, instant
from sessionctl.errors import ArchiveDamaged, ArchiveMissing, ArchiveUnavailable, RunUnderWay, UsageError
from sessionctl.ledger import Ledger, Run, Segment
from sessionctl.operations.parts import place_part
from sessionctl.operations.put_back import Case, Placing, Whole, portions
from sessionctl.stores.base import Store


def file_of(run: Run, segment: Segment) -> Place:
    """Where a segment of a run lies."""
    return place(run.archive or "").child(segment.name)


def cases(store: Store, some: Sequence[Whole], segment: Segment) -> list[Placing]:
    """These sessions of ``segment``, in their order, with their cases at this moment."""
    kept = frozenset((*segment.kept, *segment.returned))
    looked_for = [session.id for session, _ in some if session.id not in kept]
    there: dict[str, Whole] = {
        whole.session.id: (whole.session, tuple(whole.items)) for whole in store.whole(looked_for)
    }
    return [
        Placing(session, items, Case.KEPT) if session.id in kept else _placing(session, items, there.get(session.id))
        for session, items in some
    ]


def _placing(session: SessionRecord, items: Sequence[StoredItem], there: Whole | None) -> Placing:
    if session.part is not None:
        return place_part(session, items, there)
    if session.elsewhere is not None:  # keys and times tell
        return Placing(session, items, _case(_untold(items), _untold(there[1]) if there else None))
    return Placing(session, items, _case(items, there[1] if there else None))


def _case(archived: Sequence[StoredItem], there: Sequence[StoredItem] | None) -> Case:
    if there is None:
        return Case.BACK
    # Only appended to: it was never away, or was put back, be it under other keys, and went on since.
    if tuple(there) == tuple(archived) or (archived and _told(there[: len(archived)]) == _told(archived)):
        return Case.ALREADY
    keys = [item.key for item in archived]
    newest = max((key for key in keys if isinstance(key, int)), default=0)
    is_newer = all(isinstance(item.key, int) and item.key > newest for item in there)
    return Case.FRONT if is_newer else Case.REFUSED


def _untold(items: Iterable[StoredItem]) -> tuple[StoredItem, ...]:
    return tuple(item._replace(text=NOWHERE) for item in items)


def _told(items: Iterable[StoredItem]) -> list[tuple[object, str]]:
    """What of items stays the same under whatever keys: texts, and times to the second where there are any."""
    times = ((instant(item.stored_at, item.at), item) for item in items)
    return [(at.replace(microsecond=0) if at else item.key, item.text) for at, item in times]


def cases_anew(store: Store, some: Sequence[Whole], segment: Segment) -> list[Placing]:
    """The same for sessions that could not be put as they were: their keys may be those of other rows by now."""
    placings = cases(store, some, segment)
    return [p if p.session.part is not None else replace(p, exact=p.case is not Case.BACK) for p in placings]


def settle(store: Store, ledger: Ledger, run: Run, segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """The segments, each known to be dealt with: of those left open, what the store still has was kept.

    What a run had not removed when it was cut off must not be taken for removed later.
    """
    for segment in segments:
        if segment.committed_at is None:
            still_there = [
                placing.session.id
                for some in portions(file_of(run, segment))
                for placing in cases(store, some, segment)
                if placing.case in (Case.ALREADY, Case.REFUSED)
            ]
            ledger.committed(run.run_id, segment.number, [*segment.kept, *still_there])
    return ledger.segments(run.run_id)


def settle_cut_off(store: Store, ledger: Ledger) -> None:
    """Settle all runs on ``store`` that were cut off, before anything else changes it.

    One that is at work settles its own. One whose archive cannot be read holds nothing up: what it holds cannot
    be put back either, and one of another host's store is for that host.
    """
    for run in ledger.unsettled(store.address.recorded):
        if ledger.may_mean_another(run, store.address):
            continue
        with suppress(RunUnderWay, ArchiveMissing, ArchiveUnavailable, ArchiveDamaged, UsageError):
            ledger.take_up(run.run_id)
            settle(store, ledger, run, ledger.segments(run.run_id))
