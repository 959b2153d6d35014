"""Put archived sessions into a store: the one place that does, for undo and for restore.

Sessions go in portions, each one transaction. Before anything is written somebody looks at what the store
has of each (a ``Look``), and nothing is put where that does not allow it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sessionctl.archive.places import Place
from sessionctl.archive.reader import ArchiveReader
from sessionctl.core.hold import Hold
from sessionctl.core.model import Onto, Outcome, Put
from sessionctl.core.patience import Trouble
from sessionctl.core.plan import Totals
from sessionctl.core.record import SessionRecord, StoredItem, octets_of
from sessionctl.errors import SessionctlError
from sessionctl.operations.ahead import ahead
from sessionctl.stores.base import Store

if TYPE_CHECKING:
    from sessionctl.operations.stop import Stop

_TOGETHER = 500
_BYTES_TOGETHER = 8 * 2**20
"""Sessions put back in one transaction, at most; one larger session goes alone."""
_NAMED_REFUSED = 100
_ATTEMPTS = 3
"""Looks at a session whose application changes it between the look and the writing."""

Whole = tuple[SessionRecord, Sequence[StoredItem]]


class Case(StrEnum):
    """What the store has of an archived session by now, and so what putting it back comes to."""

    BACK = "put back"
    FRONT = "put in front of newer items"
    ALREADY = "there already"
    KEPT = "not removed by the run"
    GONE = "its session is gone"
    REFUSED = "refused"
    UNFIT = "cannot be stored there"
    STALE = "was put there before, and changed since where it came from"

    @property
    def is_writing(self) -> bool:
        """There is something to put into the store."""
        return self in (Case.BACK, Case.FRONT)


NAMED = (Case.REFUSED, Case.GONE, Case.UNFIT)
"""Cases of which the first sessions are named."""


@dataclass(frozen=True, slots=True)
class Placing:
    """One archived session, or what is left to put back of a part, and its case; ``exact`` as in ``Put``.

    ``left_out``: items that have no place there.
    """

    session: SessionRecord
    items: Sequence[StoredItem]
    case: Case
    exact: bool = True
    left_out: int = 0

    @property
    def put(self) -> Put:
        onto = Onto.FRONT if self.case is Case.FRONT else Onto.ABSENT
        onto = onto if self.session.part is None else Onto.AMONG
        return Put(session=self.session, items=self.items, onto=onto, exact=self.exact)

    @property
    def totals(self) -> Totals:
        return Totals(sessions=1, items=len(self.items), bytes=octets_of(self.items))


@dataclass(slots=True)
class Tally:
    """What became, or would become, of archived sessions: totals by case, and the first that were refused."""

    by_case: dict[Case, Totals] = field(default_factory=lambda: dict.fromkeys(Case, Totals()))
    refused: list[str] = field(default_factory=list)
    left_out: int = 0

    @property
    def restored(self) -> Totals:
        return self.by_case[Case.BACK] + self.by_case[Case.FRONT]

    def counts(self) -> dict[str, Any]:
        """For the ledger."""
        done = self.restored
        return {"restored": {"sessions": done.sessions, "items": done.items, "bytes": done.bytes}}

    @property
    def matched(self) -> Totals:
        """All that was to be put back."""
        return sum((totals for case, totals in self.by_case.items() if case is not Case.KEPT), Totals())

    def count(self, placing: Placing) -> None:
        self.add([placing.session.id], placing.case, placing.totals)
        if placing.case.is_writing:
            self.left_out += placing.left_out

    def add(self, session_ids: Sequence[str], case: Case, totals: Totals) -> None:
        """Sessions of these totals together."""
        self.by_case[case] += totals
        if case in NAMED:
            self.refused += session_ids[: max(0, _NAMED_REFUSED - len(self.refused))]


Look = Callable[[Sequence[Whole]], list[Placing]]
"""The cases of archived sessions at this moment, in their order."""


def portions(file: Place, wanted: Callable[[SessionRecord], bool] = lambda _: True) -> Iterator[list[Whole]]:
    """The ``wanted`` sessions of one archive file, in portions that fit into one transaction.

    The next one is read and checked while the last one is dealt with.
    """
    return ahead(_portions(file, wanted))


def _portions(file: Place, wanted: Callable[[SessionRecord], bool]) -> Generator[list[Whole], None, None]:
    with ArchiveReader(file) as reader:
        some: list[Whole] = []
        size = 0
        for session, items in ((whole.session, tuple(whole.items)) for whole in reader.sessions(wanted)):
            some.append((session, items))
            size += sum([len(item.text) for item in items])
            if len(some) == _TOGETHER or size >= _BYTES_TOGETHER:
                yield some
                some, size = [], 0
        if some:
            yield some


def put_patiently(
    store: Store, some: Sequence[Whole], look: Look, trouble: Trouble, stop: Stop, hold: Hold | None = None,
    *, again: Look | None = None,
) -> list[Placing]:  # fmt: skip
    """What became of each, all in place or told why not; none where a stop request came while trouble was borne.

    What is put back gets ``hold`` in the same transaction. ``again`` looks at those that could not be put as
    ``look`` had it; the same one, if it is not given.
    """
    while True:
        try:
            placed = _put_portion(store, look(some), again or look, hold)
        except SessionctlError as error:
            # The answer to a commit may have been lost: the next attempt looks again before it writes.
            _wait(trouble.bear(error), stop)
            if stop:
                return []
        else:
            trouble.passed()
            return placed


def _wait(seconds: float, stop: Stop) -> None:
    until = time.monotonic() + seconds
    while not stop and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))


def _put_portion(store: Store, looked: Sequence[Placing], look: Look, hold: Hold | None) -> list[Placing]:
    """One transaction, and some more for those whose application was faster. What became of each."""
    became: list[Placing] = []
    for _ in range(_ATTEMPTS):
        writing = [placing for placing in looked if placing.case.is_writing]
        became += [placing for placing in looked if not placing.case.is_writing]
        if not writing:
            return became
        outcomes = store.put([placing.put for placing in writing], hold=hold)
        left: list[Placing] = []
        for placing, outcome in zip(writing, outcomes, strict=True):
            if outcome is Outcome.DONE:
                became.append(placing)
            elif outcome is Outcome.FAILED:  # the store refused this one alone, and would again
                became.append(replace(placing, case=Case.UNFIT))
            else:
                left.append(placing)
        looked = look([(placing.session, placing.items) for placing in left]) if left else []
    return became + [replace(p, case=Case.REFUSED) if p.case.is_writing else p for p in looked]
