"""Undo a run: put back what it removed, where it was, from its archive.

Only what the run itself removed comes back: what the application deleted stays deleted. A session that was
begun anew since gets its items back in front of the new ones. What can be put in place neither way is refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sessionctl.archive.reader import verify
from sessionctl.core.model import Outcome
from sessionctl.core.plan import Totals
from sessionctl.errors import SessionctlError
from sessionctl.ledger import Ledger, Run, Segment
from sessionctl.operations.execute import Stop
from sessionctl.operations.patience import Trouble
from sessionctl.operations.placing import Case, Placing, Whole, cases, file_of, portions
from sessionctl.stores.base import Store

_NAMED_REFUSED = 100
_ATTEMPTS = 3
"""Looks at a session whose application changes it between the look and the writing."""
_LEDGER_EVERY_S = 1.0


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

    def count(self, placing: Placing) -> None:
        self.by_case[placing.case] += placing.totals
        if placing.case is Case.REFUSED and len(self.refused) < _NAMED_REFUSED:
            self.refused.append(placing.session.id)


def check(run: Run, segments: Sequence[Segment]) -> None:
    """Read all of a run's archive and check it against the ledger, before anything is written.

    Raises ArchiveDamaged, ArchiveMissing, ArchiveUnavailable; SessionctlError for a file that is sound but not
    the one that the run sealed.
    """
    for segment in segments:
        file = file_of(run, segment)
        if verify(file).sha256 != segment.sha256:
            raise SessionctlError(f"{file} is not the file that run {run.run_id} sealed")


def foresee_undo(store: Store, run: Run, segments: Iterable[Segment]) -> Undone:
    """What undoing would come to at this moment. Nothing is written."""
    foreseen = Undone()
    for segment in segments:
        for some in portions(run, segment):
            for placing in cases(store, some, segment):
                foreseen.count(placing)
    return foreseen


def put_back(store: Store, ledger: Ledger, run: Run, segments: Iterable[Segment], done: Undone, *, stop: Stop) -> None:
    """Put back all that can be, and count it in ``done``. Trouble that passes is borne; another error comes out.

    Each portion is one transaction, and what was put back is found in its place when this is run again. The
    ledger knows it as returned from then on: what the application deletes later does not come back.
    """
    trouble = Trouble()
    for segment in segments:
        returned = list(segment.returned)
        try:
            noted = time.monotonic()
            for some in portions(run, segment):
                if stop:
                    return
                returned += _put_patiently(store, some, segment, done, trouble, stop)
                if time.monotonic() - noted >= _LEDGER_EVERY_S:
                    ledger.returned(run.run_id, segment.number, returned)
                    noted = time.monotonic()
        finally:
            ledger.returned(run.run_id, segment.number, returned)


def _put_patiently(
    store: Store, some: Sequence[Whole], segment: Segment, done: Undone, trouble: Trouble, stop: Stop
) -> list[str]:
    """The ids of what is in its place after this; none where a stop request came while trouble was borne."""
    while True:
        try:
            placed = _put_portion(store, cases(store, some, segment), segment)
        except SessionctlError as error:
            # The answer to a commit may have been lost: the next attempt looks again before it writes.
            _wait(trouble.bear(error), stop)
            if stop:
                return []
        else:
            trouble.passed()
            for placing in placed:
                done.count(placing)
            return [p.session.id for p in placed if p.case.is_writing or p.case is Case.ALREADY]


def _wait(seconds: float, stop: Stop) -> None:
    until = time.monotonic() + seconds
    while not stop and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))


def _put_portion(store: Store, placings: Sequence[Placing], segment: Segment) -> list[Placing]:
    """One transaction, and some more for those whose application was faster. What became of each."""
    became: list[Placing] = []
    looked: Sequence[Placing] = placings
    for _ in range(_ATTEMPTS):
        writing = [placing for placing in looked if placing.case.is_writing]
        became += [placing for placing in looked if not placing.case.is_writing]
        if not writing:
            return became
        outcomes = store.put([placing.put for placing in writing])
        left: list[Placing] = []
        for placing, outcome in zip(writing, outcomes, strict=True):
            (became if outcome is Outcome.DONE else left).append(placing)
        looked = cases(store, [(placing.session, placing.items) for placing in left], segment)
    return became + [replace(p, case=Case.REFUSED) if p.case.is_writing else p for p in looked]
