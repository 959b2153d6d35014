"""Undo a run: put back what it removed, where it was, from its archive.

Only what the run itself removed comes back: what the application deleted stays deleted. A session that was
begun anew since gets its items back in front of the new ones; one whose keys are those of other rows by now
gets new ones. What can be put in place in none of these ways is refused.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from sessionctl.archive.reader import verify
from sessionctl.core.address import parse_address
from sessionctl.core.hold import Hold
from sessionctl.core.patience import Trouble
from sessionctl.errors import SessionctlError
from sessionctl.ledger import Ledger, Run, Segment
from sessionctl.operations.placing import cases, cases_anew, file_of
from sessionctl.operations.put_back import Case, Tally, Whole, portions, put_patiently
from sessionctl.operations.rotation.elsewhere import made_whole
from sessionctl.operations.rotation.targets import AddressOf
from sessionctl.operations.stop import Stop
from sessionctl.stores.base import Store

_LEDGER_EVERY_S = 1.0


def check(run: Run, segments: Sequence[Segment], address_of: AddressOf = parse_address) -> None:
    """Read all of a run's archive and check it against the ledger, before anything is written.

    The targets of a rotation are read too; ``address_of`` finds them. Raises ArchiveDamaged, ArchiveMissing,
    ArchiveUnavailable; SessionctlError for a file that is sound but not the one that the run sealed.
    """
    for segment in segments:
        file = file_of(run, segment)
        found = verify(file)
        if found.sha256 != segment.sha256:
            raise SessionctlError(f"{file} is not the file that run {run.run_id} sealed")
        if found.header.elsewhere:
            deque(_sessions(run, segment, address_of), maxlen=0)


def _sessions(run: Run, segment: Segment, address_of: AddressOf) -> Iterator[list[Whole]]:
    """The sessions of a segment that may have to be put back, in portions, with all their texts."""
    settled = frozenset((*segment.kept, *segment.returned))
    return made_whole(portions(file_of(run, segment)), address_of, but=settled)


def foresee_undo(store: Store, run: Run, segments: Iterable[Segment], address_of: AddressOf = parse_address) -> Tally:
    """What undoing would come to at this moment. Nothing is written."""
    foreseen = Tally()
    for segment in segments:
        for some in _sessions(run, segment, address_of):
            for placing in cases(store, some, segment):
                foreseen.count(placing)
    return foreseen


def put_back(
    store: Store, ledger: Ledger, run: Run, segments: Iterable[Segment], done: Tally, *, stop: Stop,
    hold: Hold | None = None, observe: Callable[[], None] = lambda: None, address_of: AddressOf = parse_address,
) -> None:  # fmt: skip
    """Put back all that can be, and count it in ``done``. Trouble that passes is borne; another error comes out.

    Each portion is one transaction, with ``hold`` on what it puts back; ``observe`` is called after each. What
    was put back is found in its place when this is run again; the ledger knows it as returned, and what the
    application deletes later stays away.
    """
    trouble = Trouble()
    for segment in segments:
        returned = list(segment.returned)
        look, again = (partial(find, store, segment=segment) for find in (cases, cases_anew))
        try:
            noted = time.monotonic()
            for some in _sessions(run, segment, address_of):
                if stop:
                    return
                placed = put_patiently(store, some, look, trouble, stop, hold, again=again)
                for placing in placed:
                    done.count(placing)
                returned += [p.session.id for p in placed if p.case.is_writing or p.case is Case.ALREADY]
                observe()
                if time.monotonic() - noted >= _LEDGER_EVERY_S:
                    ledger.returned(run.run_id, segment.number, returned)
                    noted = time.monotonic()
        finally:
            ledger.returned(run.run_id, segment.number, returned)
